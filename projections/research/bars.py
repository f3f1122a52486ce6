"""Bars alone, without the trades that they were made of: checked, rolled up, and filled by an assumption.

A journal knows which trade fills what a close decides; bars do not. So one of four rules is assumed, all of
which fill within the next bar that has trades in it, and every result says which.
"""

from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from projections.research.columns import BAR, I8, NONE_YET, TRADE, Columns, Floats, Table
from streams.events import TIMEFRAMES_NS, CandleFlag, Market, Timeframe

Fill: TypeAlias = Literal["next-open", "next-close", "next-mid", "worst"]
FILLS: Final[dict[Fill, str]] = {
    "next-open": "fills at the next bar's open, an assumption",
    "next-close": "fills at the next bar's close, an assumption",
    "next-mid": "fills halfway between the next bar's high and low, an assumption",
    "worst": "buys fill at the next bar's high and sales at its low, an assumption",
}
PRICE_MAX: Final = 2**53
"""At its scale; larger ones have no exact float."""
NEARLY_ALL: Final = 0.99
USUAL: Final = 0.05
"""A step between bars that is rarer is none of the file's."""
OPEN, HIGH, LOW, CLOSE = range(4)
_NAMES = ("open", "high", "low", "close")
_JUST_BEFORE = (1, 10**3, 10**6, 10**9)
"""Closes written as the last ns, µs, ms or second of a bar."""


class BarsError(ValueError):
    """Bars that nothing can be tested on; the message names the row, the value and the way out."""


class Bars(NamedTuple):
    """Of one market, oldest first: `ends` int64[L] ns UTC, `prices` int64[L, 4] open, high, low, close,
    `volume` int64[L], at these scales. `flags` int64[L]: `CandleFlag`. `rows` int64[L]: where each stands in
    its source, from 1."""

    ends: I8
    prices: I8
    volume: I8
    flags: I8
    rows: I8
    price_scale: int
    size_scale: int

    def take(self, which: "slice | npt.NDArray[np.intp | np.bool_]") -> "Bars":
        return self._replace(
            ends=self.ends[which],
            prices=self.prices[which],
            volume=self.volume[which],
            flags=self.flags[which],
            rows=self.rows[which],
        )


class Checked(NamedTuple):
    """Bars of one timeframe, and what is to be known of them, in sentences."""

    bars: Bars
    notes: tuple[str, ...]


# ------------------------------------------------------------------ checks


def checked(bars: Bars, timeframe: Timeframe, *, starts: bool = False) -> Checked:
    """Bars of a timeframe out of those of a source, whose times are their ends, or with `starts` their
    starts. Finer ones are rolled up.

    Raises `BarsError` for what cannot be mended without guessing; what can be lived with is a note.
    """
    if not len(bars.ends):
        raise BarsError("there is no bar in it")
    notes: list[str] = []
    if len(bars.ends) > 1 and (np.diff(bars.ends) < 0).all():
        bars = bars.take(slice(None, None, -1))
        notes.append("The newest bar stands first: they are read from the end.")
    _check_order(bars)
    step = _step(bars, timeframe)
    if starts:
        bars = bars._replace(ends=bars.ends + step)
    else:
        bars, note = _rounded_up(bars, step)
        notes += note
    _check_grid(bars, step, starts=starts)
    _check_prices(bars)
    notes += [*_outside(bars), *_missing(bars, step)]
    if step < TIMEFRAMES_NS[timeframe]:
        bars, note = rolled_up(bars, step, timeframe)
        notes += note
    return Checked(bars, tuple(notes))


def _check_order(bars: Bars) -> None:
    gaps = np.diff(bars.ends)
    for wrong, why in ((gaps == 0, "the same as that of"), (gaps < 0, "before that of")):
        if wrong.any():
            at = int(np.argmax(wrong)) + 1
            hint = "keep one of them" if not gaps[at - 1] else "sort the rows by time"
            time = _time(bars.ends[at])
            raise BarsError(f"row {bars.rows[at]}: its time {time} is {why} row {bars.rows[at - 1]}; {hint}")


def _step(bars: Bars, timeframe: Timeframe) -> int:
    """The length of the bars: the shortest step between them that is no exception.

    Raises `BarsError` where the timeframe cannot be made of them.
    """
    wanted = TIMEFRAMES_NS[timeframe]
    if len(bars.ends) == 1:
        return wanted
    steps, counts = np.unique(np.diff(bars.ends), return_counts=True)
    usual = counts >= max(2, USUAL * counts.sum())
    step = int(steps[np.argmax(usual if usual.any() else counts)])
    if wanted % step:
        why = f"longer than {timeframe}" if step > wanted else f"of which none of {timeframe} is made"
        raise BarsError(f"its bars are {_length(step)} long, {why}: {_choose(step)}")
    return step


def _choose(step: int) -> str:
    able = [name for name, length in TIMEFRAMES_NS.items() if length % step == 0]
    return f"choose {' or '.join(able)}" if able else "no timeframe can be made of them"


def _rounded_up(bars: Bars, step: int) -> tuple[Bars, list[str]]:
    """Ends such as 09:04:59.999 as the 09:05:00 that they mean."""
    short = np.unique(-bars.ends % step)
    if len(short) != 1 or int(short[0]) not in _JUST_BEFORE:
        return bars, []
    note = f"Its times end {_length(int(short[0]))} before the bar does: they are taken as the bar's end."
    return bars._replace(ends=bars.ends + short[0]), [note]


def _check_grid(bars: Bars, step: int, *, starts: bool) -> None:
    off = bars.ends % step != 0
    if not off.any():
        return
    at = int(np.argmax(off))
    time = int(bars.ends[at]) - step * starts
    raise BarsError(
        f"row {bars.rows[at]}: its time {_time(time)} is none of bars of {_length(step)}, which"
        f" {'begin' if starts else 'end'} at whole ones of UTC; take it out, or import the trades"
    )


def _check_prices(bars: Bars) -> None:
    _, high, low, close = bars.prices.T
    for name, column in zip(_NAMES, bars.prices.T, strict=True):
        _refuse(bars, column <= 0, name, column, "it must be above 0")
        _refuse(bars, column > PRICE_MAX, name, column, f"it is beyond 2^53 at {bars.price_scale} decimals")
    _refuse(bars, high < low, "high", high, "it is below the low", ("low", low))
    _refuse(bars, (close > high) | (close < low), "close", close, "it is outside of low … high", ("low", low))
    negative = bars.volume < 0
    if negative.any():
        at = int(np.argmax(negative))
        value = _decimal(bars.volume[at], bars.size_scale)
        raise BarsError(f"row {bars.rows[at]}: volume {value}: it must not be below 0")


def _refuse(
    bars: Bars,
    wrong: npt.NDArray[np.bool_],
    name: str,
    column: I8,
    why: str,
    beside: tuple[str, I8] | None = None,
) -> None:
    if wrong.any():
        at = int(np.argmax(wrong))
        value = _decimal(column[at], bars.price_scale)
        other = "" if beside is None else f" ({beside[0]} {_decimal(beside[1][at], bars.price_scale)})"
        raise BarsError(f"row {bars.rows[at]}: {name} {value}{other}: {why}; mend it")


def _outside(bars: Bars) -> list[str]:
    open_, high, low, _ = bars.prices.T
    outside = (open_ > high) | (open_ < low)
    if not outside.any():
        return []
    at = int(np.argmax(outside))
    return [
        f"In {_of(int(outside.sum()), len(open_))} bars the open lies outside of low … high, first in row"
        f" {bars.rows[at]} ({_decimal(open_[at], bars.price_scale)}), as where a venue opens a bar at"
        " the close before."
    ]


def _missing(bars: Bars, step: int) -> list[str]:
    jumps = np.diff(bars.ends) // step - 1
    if not jumps.any():
        return []
    at = int(np.argmax(jumps > 0))
    return [
        f"{int(jumps.sum()):,} bars are missing in {np.count_nonzero(jumps):,} places, first behind row"
        f" {bars.rows[at]} ({_time(bars.ends[at])}): nothing is put there."
    ]


def rolled_up(bars: Bars, step: int, timeframe: Timeframe) -> tuple[Bars, list[str]]:
    """Bars of a coarser timeframe. Incomplete ones at both ends are left out."""
    length = TIMEFRAMES_NS[timeframe]
    rolled, counts = merged(bars, length)
    keep = np.ones(len(rolled.ends), np.bool_)
    keep[0] = bars.ends[0] == rolled.ends[0] - length + step
    keep[-1] &= bars.ends[-1] == rolled.ends[-1]
    if not keep.any():
        raise BarsError(f"no bar of {timeframe} lies whole in it: choose a shorter timeframe")
    whole = length // step
    rolled = rolled.take(keep)
    notes = [f"Its bars of {_length(step)} are rolled up to {timeframe}."]
    if not keep.all():
        notes.append(f"{np.count_nonzero(~keep)} of these at its ends are not whole, and are left out.")
    poor = int(np.count_nonzero(counts[keep] < whole))
    if poor:
        notes.append(f"{_of(poor, len(rolled.ends))} of these are made of fewer than {whole} bars.")
    return rolled, notes


def merged(bars: Bars, length: int) -> tuple[Bars, I8]:
    """Bars of `length` ns, and of how many each is made: as the fold merges minutes, so that those which
    stand still without a trade give no price, unless there are no others."""
    still = (bars.flags & int(CandleFlag.EMPTY) != 0) & (bars.prices == bars.prices[:, :1]).all(axis=1)
    ends, first, whose, counts = _in_turn(bars.ends, length)
    priced = ~still | np.bitwise_and.reduceat(still, first)[whose]
    prices = _prices(bars.prices[priced], np.searchsorted(whose[priced], np.arange(len(ends))))
    volume, flags = np.add.reduceat(bars.volume, first), np.bitwise_and.reduceat(bars.flags, first)
    return Bars(ends, prices, volume, flags, bars.rows[first], bars.price_scale, bars.size_scale), counts


def merged_values(ends: I8, values: Floats, length: int) -> tuple[I8, Floats]:
    """The same of open, high, low, close, volume f8[L, 5], none of which stands still."""
    ends, first, _, _ = _in_turn(ends, length)
    return ends, np.column_stack([_prices(values[:, :4], first), np.add.reduceat(values[:, 4], first)])


def _in_turn(ends: I8, length: int) -> tuple[I8, I8, I8, I8]:
    """The ends of the longer bars; the first bar of each, whose each bar is, and how many each has."""
    return np.unique(-(-ends // length) * length, return_index=True, return_inverse=True, return_counts=True)


def _prices(prices: npt.NDArray[Any], first: I8) -> npt.NDArray[Any]:
    """Open, high, low, close of stretches [n, 4] that begin with these rows."""
    return np.column_stack(
        [
            prices[first, OPEN],
            np.maximum.reduceat(prices[:, HIGH], first),
            np.minimum.reduceat(prices[:, LOW], first),
            prices[np.append(first[1:], len(prices)) - 1, CLOSE],
        ]
    )


# ------------------------------------------------------------------ columns


def columns_of(
    bars: Bars, market: Market, timeframe: Timeframe, fill: Fill, final: Bars | None = None
) -> Columns:
    """Columns that a backtest runs over; bars and market at the same scales. `final`: the same bars in their
    last revision.

    Raises `BarsError` where prices do not fit the decimal more that "next-mid" needs.
    """
    if fill == "next-mid" and bool(((bars.prices[:, HIGH] + bars.prices[:, LOW]) % 2).any()):
        bars, final = finer(bars), None if final is None else finer(final)
        market = grown(market, bars.price_scale, bars.size_scale)
    filling = (bars.flags & int(CandleFlag.EMPTY)) == 0
    filling[:1] = False  # the first follows no close
    table, trades = _table(bars), _trades(bars.take(filling), np.flatnonzero(filling), timeframe, fill)
    following = np.cumsum(filling)
    table["trade"] = np.where(following < len(trades), following, NONE_YET)
    last, revisions = table, np.zeros(len(table), np.int64)
    if final is not None:
        last = _table(final)
        last["trade"] = table["trade"]
        revisions[:] = (bars.prices != final.prices).any(axis=1) | (bars.volume != final.volume)
    return Columns(
        market.key, timeframe, (market,), table, last, revisions, trades, (), -1, -1, "", FILLS[fill]
    )


def above(columns: Columns, timeframe: Timeframe) -> Columns:
    """The candles of a higher timeframe that its bars make, as the fold merges minutes: the first of what
    there is, and the last only where its end is reached."""
    bars, market = columns.bars, columns.eras[0]
    prices = np.column_stack([bars[name] for name in _NAMES])
    own = Bars(
        bars["end"], prices, bars["volume"], bars["flags"], np.arange(len(bars)), market.price_scale,
        market.size_scale,
    )  # fmt: skip
    made, _ = merged(own, TIMEFRAMES_NS[timeframe]) if len(bars) else (own, None)
    table = _table(made.take(made.ends <= own.ends[-1:].max(initial=0)))
    return columns._replace(timeframe=timeframe, bars=table, final=table, trades=columns.trades[:0])


def finer(bars: Bars) -> Bars:
    """With a decimal more for prices."""
    if int(bars.prices.max(initial=0)) > PRICE_MAX // 10:
        raise BarsError("the middle of its prices needs a decimal more than fits: choose another fill")
    return bars._replace(prices=bars.prices * 10, price_scale=bars.price_scale + 1)


def grown(market: Market, price_scale: int, size_scale: int) -> Market:
    """The market at scales that are at least these; every amount of it stays what it is."""
    price, size = max(price_scale - market.price_scale, 0), max(size_scale - market.size_scale, 0)
    return replace(
        market,
        price_scale=market.price_scale + price,
        price_step=market.price_step * 10**price,
        size_scale=market.size_scale + size,
        size_step=market.size_step * 10**size,
        min_size=market.min_size * 10**size,
    )


def _table(bars: Bars) -> Table:
    table = np.zeros(len(bars.ends), BAR)
    table["end"], table["volume"], table["flags"] = bars.ends, bars.volume, bars.flags
    for column, name in enumerate(_NAMES):
        table[name] = bars.prices[:, column]
    table["place"] = 2 * np.arange(len(table)) + 1
    table["now"], table["live"] = bars.ends, 1
    for name in ("first_offset", "last_offset", "offset"):
        table[name] = -1
    return table


def _trades(bars: Bars, numbers: I8, timeframe: Timeframe, fill: Fill) -> Table:
    """One before the close of each of these bars, which are those with `numbers`."""
    open_, high, low, close = bars.prices.T
    length = TIMEFRAMES_NS[timeframe]
    price, age = {
        "next-open": (open_, length),
        "next-close": (close, 0),
        "next-mid": ((high + low) // 2, length // 2),
        "worst": (high, 0),
    }[fill]
    trades = np.zeros(len(numbers), TRADE)
    trades["time"], trades["price"], trades["size"] = bars.ends - age, price, bars.volume
    trades["sell"] = low if fill == "worst" else 0
    trades["place"], trades["live"] = 2 * numbers, 1
    trades["offset"], trades["row"] = -1, -1
    trades["next"][:-1] = np.arange(1, len(numbers))
    trades["next"][-1:] = NONE_YET
    return trades


def opens_are_closes(bars: Bars) -> str:
    """A sentence where nearly every bar opens at the close before, so that the next open tells nothing."""
    equal = int(np.count_nonzero(bars.prices[1:, OPEN] == bars.prices[:-1, CLOSE]))
    count = len(bars.ends) - 1
    if count < 1 or equal < NEARLY_ALL * count:
        return ""
    return (
        f"In {_of(equal, count)} bars the open is the close before, so the next open is the price of the"
        " decision itself, which nobody gets: choose --fill next-close, next-mid or worst, or give"
        " --slippage-bp."
    )


# ------------------------------------------------------------------ words


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,}"


def _decimal(value: int, scale: int) -> str:
    return f"{Decimal(int(value)).scaleb(-scale):f}"


def _time(ns: int) -> str:
    text = str(np.datetime64(int(ns), "ns"))
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}Z"


def _length(ns: int) -> str:
    for unit, size in (
        ("d", 86_400 * 10**9),
        ("h", 3_600 * 10**9),
        ("m", 60 * 10**9),
        ("s", 10**9),
        ("ms", 10**6),
    ):
        if ns % size == 0:
            return f"{ns // size}{unit}"
    return f"{ns} ns"
