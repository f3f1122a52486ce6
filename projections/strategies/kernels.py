"""The arithmetic of the building blocks: one candle's step of each, as plain functions of numbers.

Every block has the form `block(values, i, seen, <arguments>, <state>) -> (<outputs>, <state>)`:

* `values` is the price history, f8[L, 5] with the columns open, high, low, close, volume; row `i` is the
  candle that just closed, and rows after it do not exist for a block. It may read back `seen - 1` rows, where
  `seen` counts the candles that this bot has seen, this one included.
* the state is a few floats, all zero for a fresh bot, whatever the window is long.
* an output is NaN until the block is warm.
* a block whose last step alone needs some of its arguments is written as two calls and their return, the
  second without candles and state: sets of a sweep that differ there alone share the first (`sharing.py`).

Those of one column stand here, those of whole candles in `kernels_of_bars.py`. The text of these functions
is copied into every generated module (`generate.py`), where numba compiles it; here it is plain Python, and
gives the same bits. For that the blocks use nothing but + − × ÷, square root and comparisons: exp, log and
pow differ between processors. Running sums carry their rounding errors along, so they do not drift.
"""

from math import sqrt

import numpy as np
import numpy.typing as npt

NAN = float("nan")
HIGH, LOW, CLOSE = 1, 2, 3
SPLITTER = 134217729.0
"""2**27 + 1 cuts a float64 into two halves whose products are exact (Dekker 1971)."""

Values = npt.NDArray[np.float64]


def two_sum(a: float, b: float) -> tuple[float, float]:
    """The rounded sum and its exact error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: float, b: float) -> tuple[float, float]:
    """The rounded product and its exact error (Dekker)."""
    product = a * b
    scaled = SPLITTER * a
    a_high = scaled - (scaled - a)
    a_low = a - a_high
    scaled = SPLITTER * b
    b_high = scaled - (scaled - b)
    b_low = b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def add_pair(high: float, low: float, a: float, b: float) -> tuple[float, float]:
    """(high + low) + (a + b) as such a pair of about 106 bits."""
    total, error = two_sum(high, a)
    return two_sum(total, error + (low + b))


def add_square(
    large: float, large_low: float, small: float, small_low: float, value: float, sign: float
) -> tuple[float, float, float, float]:
    """A sum of squares ± value²: its leading and its other halves, each an exact pair."""
    high, low = two_product(value, value)
    large, large_low = add_pair(large, large_low, sign * high, 0.0)
    small, small_low = add_pair(small, small_low, sign * low, 0.0)
    return large, large_low, small, small_low


def exponential(level: float, value: float, count: int, n: int) -> float:
    """Next exponential average of `count` values; the sum of the first values until there are n of them."""
    if count < n:
        return level + value
    if count == n:
        return (level + value) / n
    return level + (value - level) * (2.0 / (n + 1))


def wilder(level: float, value: float, count: int, n: int) -> float:
    """Like `exponential`, with Wilder's weight 1/n for the newest value."""
    if count < n:
        return level + value
    if count == n:
        return (level + value) / n
    return (level * (n - 1) + value) / n


def sma(
    values: Values, i: int, seen: int, column: int, n: int, total: float, carry: float
) -> tuple[float, float, float]:
    """Mean of the last n; `carry` holds the rounding errors of `total` (Neumaier 1974)."""
    total, error = two_sum(total, values[i, column])
    carry += error
    if seen > n:
        total, error = two_sum(total, -values[i - n, column])
        carry += error
    mean = (total + carry) / n if seen >= n else NAN
    return mean, total, carry


def ema(values: Values, i: int, seen: int, column: int, n: int, level: float) -> tuple[float, float]:
    """Exponential average with weight 2/(n+1), seeded with the mean of the first n (as TA-Lib)."""
    level = exponential(level, values[i, column], seen, n)
    return (level if seen >= n else NAN), level


def rsi(
    values: Values, i: int, seen: int, column: int, n: int, gain: float, loss: float
) -> tuple[float, float, float]:
    """Wilder's relative strength index, 0..100; 50 where nothing has moved at all."""
    if seen < 2:
        return NAN, gain, loss
    change = values[i, column] - values[i - 1, column]
    gain = wilder(gain, change if change > 0.0 else 0.0, seen - 1, n)
    loss = wilder(loss, -change if change < 0.0 else 0.0, seen - 1, n)
    if seen <= n:
        return NAN, gain, loss
    moved = gain + loss
    return (100.0 * (gain / moved) if moved > 0.0 else 50.0), gain, loss


def atr(values: Values, i: int, seen: int, n: int, level: float) -> tuple[float, float]:
    """Wilder's average true range; the first candle, without a close before it, has none."""
    if seen < 2:
        return NAN, level
    high, low, before = values[i, HIGH], values[i, LOW], values[i - 1, CLOSE]
    true_range = max(high - low, abs(high - before), abs(low - before))
    level = wilder(level, true_range, seen - 1, n)
    return (level if seen > n else NAN), level


def deviations(
    values: Values,
    i: int,
    seen: int,
    column: int,
    n: int,
    total: float,
    total_low: float,
    large: float,
    large_low: float,
    small: float,
    small_low: float,
) -> tuple[float, float, float, float, float, float, float, float]:
    """Mean and population standard deviation of the last n.

    The sums are kept in about 106 bits, that of squares once for their leading and once for their other
    halves. The difference of sums of squares would otherwise eat the variance of a price that is large beside
    its changes; and so every sum is exact, of prices within a factor of a million: the numbers depend on the
    last n alone, and on nothing that rounding left of older ones.
    """
    value = values[i, column]
    total, total_low = add_pair(total, total_low, value, 0.0)
    large, large_low, small, small_low = add_square(large, large_low, small, small_low, value, 1.0)
    if seen > n:
        value = values[i - n, column]
        total, total_low = add_pair(total, total_low, -value, 0.0)
        large, large_low, small, small_low = add_square(large, large_low, small, small_low, value, -1.0)
    if seen < n:
        return NAN, NAN, total, total_low, large, large_low, small, small_low
    square, square_low = add_pair(large, large_low, small, small_low)
    # n² × variance = n × square − total², of which the leading digits cancel
    high, low = two_product(float(n), square)
    other, other_low = two_product(total, total)
    spread = (high - other) + ((low - other_low) + (n * square_low - 2.0 * total * total_low))
    sigma = sqrt(spread) / n if spread > 0.0 else 0.0
    return total / n, sigma, total, total_low, large, large_low, small, small_low


def bands(middle: float, reach: float, width: float) -> tuple[float, float, float]:
    """Middle, upper and lower band, `width` times so far away."""
    return middle, middle + width * reach, middle - width * reach


def bollinger(
    values: Values,
    i: int,
    seen: int,
    column: int,
    n: int,
    width: float,
    total: float,
    total_low: float,
    large: float,
    large_low: float,
    small: float,
    small_low: float,
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Middle, upper and lower band: mean ± width × population standard deviation of the last n."""
    mean, sigma, total, total_low, large, large_low, small, small_low = deviations(
        values, i, seen, column, n, total, total_low, large, large_low, small, small_low
    )
    middle, upper, lower = bands(mean, sigma, width)
    return middle, upper, lower, total, total_low, large, large_low, small, small_low


def macd(
    values: Values,
    i: int,
    seen: int,
    column: int,
    fast: int,
    slow: int,
    signal: int,
    fast_level: float,
    slow_level: float,
    signal_level: float,
) -> tuple[float, float, float, float, float, float]:
    """Fast less slow exponential average, its exponential average, and the difference of the two.

    The fast average is seeded so that it begins together with the slow one (as TA-Lib).
    """
    value = values[i, column]
    if seen > slow - fast:
        fast_level = exponential(fast_level, value, seen - (slow - fast), fast)
    slow_level = exponential(slow_level, value, seen, slow)
    if seen < slow:
        return NAN, NAN, NAN, fast_level, slow_level, signal_level
    line = fast_level - slow_level
    signal_level = exponential(signal_level, line, seen - slow + 1, signal)
    if seen < slow + signal - 1:
        return line, NAN, NAN, fast_level, slow_level, signal_level
    return line, signal_level, line - signal_level, fast_level, slow_level, signal_level


def wma(
    values: Values,
    i: int,
    seen: int,
    column: int,
    n: int,
    total: float,
    total_low: float,
    weighted: float,
    weighted_low: float,
) -> tuple[float, float, float, float, float]:
    """Mean of the last n with the weights 1 … n, the newest with the most; the sums are exact pairs."""
    if seen > n:
        weighted, weighted_low = add_pair(weighted, weighted_low, -total, -total_low)
        total, total_low = add_pair(total, total_low, -values[i - n, column], 0.0)
    value = values[i, column]
    high, low = two_product(float(min(seen, n)), value)
    weighted, weighted_low = add_pair(weighted, weighted_low, high, low)
    total, total_low = add_pair(total, total_low, value, 0.0)
    average = weighted / (n * (n + 1) / 2) if seen >= n else NAN
    return average, total, total_low, weighted, weighted_low


def roc(values: Values, i: int, seen: int, column: int, n: int) -> float:
    """Change over n candles in percent; 0 where the older value is 0 (as TA-Lib)."""
    if seen <= n:
        return NAN
    old = values[i - n, column]
    return 100.0 * ((values[i, column] - old) / old) if old != 0.0 else 0.0


def lowest(values: Values, i: int, seen: int, column: int, n: int) -> float:
    """The least of the last n."""
    if seen < n:
        return NAN
    least = values[i, column]
    for back in range(1, n):
        value = values[i - back, column]
        least = value if value < least else least
    return least


def highest(values: Values, i: int, seen: int, column: int, n: int) -> float:
    """The greatest of the last n."""
    if seen < n:
        return NAN
    greatest = values[i, column]
    for back in range(1, n):
        value = values[i - back, column]
        greatest = value if value > greatest else greatest
    return greatest


def stdev(
    values: Values,
    i: int,
    seen: int,
    column: int,
    n: int,
    total: float,
    total_low: float,
    large: float,
    large_low: float,
    small: float,
    small_low: float,
) -> tuple[float, float, float, float, float, float, float]:
    """Population standard deviation of the last n."""
    _, sigma, total, total_low, large, large_low, small, small_low = deviations(
        values, i, seen, column, n, total, total_low, large, large_low, small, small_low
    )
    return sigma, total, total_low, large, large_low, small, small_low


def zscore(
    values: Values,
    i: int,
    seen: int,
    column: int,
    n: int,
    total: float,
    total_low: float,
    large: float,
    large_low: float,
    small: float,
    small_low: float,
) -> tuple[float, float, float, float, float, float, float]:
    """The newest less the mean of the last n, in standard deviations; 0 where nothing deviates."""
    _, sigma, total, total_low, large, large_low, small, small_low = deviations(
        values, i, seen, column, n, total, total_low, large, large_low, small, small_low
    )
    # from the exact sum, since the mean may be a rounding off where all values are one
    high, low = two_product(float(n), values[i, column])
    distance = ((high - total) + (low - total_low)) / n
    score = distance / sigma if sigma != 0.0 else 0.0
    return score, total, total_low, large, large_low, small, small_low
