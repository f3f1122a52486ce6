"""The arithmetic of the blocks that read whole candles: their ranges, their volume, where they close.

Of the form and by the rules of `kernels.py`.
"""

from projections.strategies.kernels import (
    CLOSE,
    HIGH,
    LOW,
    NAN,
    Values,
    add_pair,
    atr,
    bands,
    ema,
    highest,
    lowest,
    wilder,
)

VOLUME = 4
DAY_NS = 86_400_000_000_000
ROUNDING = 2.0**-50
"""Typical prices that are nearer to each other, in proportion, may have been equal."""


def typical(values: Values, i: int) -> float:
    """A third of high + low + close."""
    return (values[i, HIGH] + values[i, LOW] + values[i, CLOSE]) / 3.0


def adx(
    values: Values, i: int, seen: int, n: int, plus: float, minus: float, moved: float, level: float
) -> tuple[float, float, float, float, float, float, float]:
    """Wilder's average directional index, +DI and −DI, 0..100 each, seeded as by TA-Lib; 0 where no
    candle has moved up or down."""
    if seen < 2:
        return NAN, NAN, NAN, plus, minus, moved, level
    high, low, before = values[i, HIGH], values[i, LOW], values[i - 1, CLOSE]
    up, down = high - values[i - 1, HIGH], values[i - 1, LOW] - low
    if seen > n:
        plus, minus, moved = plus - plus / n, minus - minus / n, moved - moved / n
    plus += up if up > 0.0 and up > down else 0.0
    minus += down if down > 0.0 and down > up else 0.0
    moved += max(high - low, abs(high - before), abs(low - before))
    if seen <= n:
        return NAN, NAN, NAN, plus, minus, moved, level
    directed = plus + minus
    index = 100.0 * (abs(plus - minus) / directed) if directed > 0.0 else 0.0
    level = wilder(level, index, seen - n, n)
    plus_index = 100.0 * (plus / moved) if moved > 0.0 else 0.0
    minus_index = 100.0 * (minus / moved) if moved > 0.0 else 0.0
    return (level if seen >= 2 * n else NAN), plus_index, minus_index, plus, minus, moved, level


def place_in_range(values: Values, i: int, seen: int, n: int) -> float:
    """Where the close stands between the lowest low and the highest high of the last n, 0..100; 50 where
    these are one."""
    bottom, top = lowest(values, i, seen, LOW, n), highest(values, i, seen, HIGH, n)
    return 100.0 * ((values[i, CLOSE] - bottom) / (top - bottom)) if top > bottom else 50.0


def stochastic(
    values: Values, i: int, seen: int, n: int, d: int, places: float, places_low: float
) -> tuple[float, float, float, float]:
    """%K of the last n, and %D, the mean of the last d of it."""
    if seen < n:
        return NAN, NAN, places, places_low
    place = place_in_range(values, i, seen, n)
    places, places_low = add_pair(places, places_low, place, 0.0)
    if seen >= n + d:
        places, places_low = add_pair(places, places_low, -place_in_range(values, i - d, seen - d, n), 0.0)
    return place, (places / d if seen >= n + d - 1 else NAN), places, places_low


def donchian(values: Values, i: int, seen: int, n: int) -> tuple[float, float, float]:
    """Middle, highest high and lowest low of the last n, this candle included."""
    top, bottom = highest(values, i, seen, HIGH, n), lowest(values, i, seen, LOW, n)
    return (top + bottom) / 2.0, top, bottom


def channel(
    values: Values, i: int, seen: int, n: int, average: float, ranges: float
) -> tuple[float, float, float, float]:
    """Exponential average of closes and Wilder's average true range, both warm."""
    middle, average = ema(values, i, seen, CLOSE, n, average)
    reach, ranges = atr(values, i, seen, n, ranges)
    return (middle if seen > n else NAN), reach, average, ranges


def keltner(
    values: Values, i: int, seen: int, n: int, width: float, average: float, ranges: float
) -> tuple[float, float, float, float, float]:
    """Middle, upper and lower: exponential average of closes ± width × Wilder's average true range."""
    mean, reach, average, ranges = channel(values, i, seen, n, average, ranges)
    middle, upper, lower = bands(mean, reach, width)
    return middle, upper, lower, average, ranges


def vwap(
    values: Values, i: int, seen: int, n: int, paid: float, paid_low: float, amount: float, amount_low: float
) -> tuple[float, float, float, float, float]:
    """Mean typical price of the last n, weighted with volume; the newest one where there was no volume."""
    price, volume = typical(values, i), values[i, VOLUME]
    paid, paid_low = add_pair(paid, paid_low, price * volume, 0.0)
    amount, amount_low = add_pair(amount, amount_low, volume, 0.0)
    if seen > n:
        volume = values[i - n, VOLUME]
        paid, paid_low = add_pair(paid, paid_low, -(typical(values, i - n) * volume), 0.0)
        amount, amount_low = add_pair(amount, amount_low, -volume, 0.0)
    if seen < n:
        return NAN, paid, paid_low, amount, amount_low
    return (paid / amount if amount > 0.0 else price), paid, paid_low, amount, amount_low


def day_vwap(
    values: Values, i: int, seen: int, end: int, day: float, whole: float, paid: float, amount: float
) -> tuple[float, float, float, float, float]:
    """Mean typical price since midnight UTC, weighted with volume; the newest one where there was no volume.

    `end` is the candle's, in ns. NaN until the first midnight that it sees: before, it knows a part of a day.
    """
    today = float((end - 1) // DAY_NS)
    if seen > 1 and today != day:
        whole, paid, amount = 1.0, 0.0, 0.0
    price, volume = typical(values, i), values[i, VOLUME]
    paid += price * volume
    amount += volume
    average = paid / amount if amount > 0.0 else price
    return (average if whole > 0.0 else NAN), today, whole, paid, amount


def signed_volume(values: Values, i: int) -> float:
    """The volume of a candle that closes above the one before, less than 0 where it closes below."""
    close, before = values[i, CLOSE], values[i - 1, CLOSE]
    volume = values[i, VOLUME]
    return volume if close > before else -volume if close < before else 0.0


def obv(values: Values, i: int, seen: int, n: int, net: float, net_low: float) -> tuple[float, float, float]:
    """On-balance volume of the last n: that of candles which closed higher, less that of lower ones."""
    if seen < 2:
        return NAN, net, net_low
    net, net_low = add_pair(net, net_low, signed_volume(values, i), 0.0)
    if seen > n + 1:
        net, net_low = add_pair(net, net_low, -signed_volume(values, i - n), 0.0)
    return (net if seen > n else NAN), net, net_low


def cci(values: Values, i: int, seen: int, n: int) -> float:
    """Commodity channel index: distance of the typical price from its mean of n, by 0.015 × the mean distance
    from there; 0 where prices stand still."""
    if seen < n:
        return NAN
    price = typical(values, i)
    total, least, greatest = 0.0, price, price
    for k in range(i - n + 1, i + 1):
        one = typical(values, k)
        total += one
        least, greatest = min(least, one), max(greatest, one)
    if greatest - least <= ROUNDING * greatest:
        return 0.0
    mean, distances = total / n, 0.0
    for k in range(i - n + 1, i + 1):
        distances += abs(typical(values, k) - mean)
    return (price - mean) / (0.015 * (distances / n))
