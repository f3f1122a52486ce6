"""Bars of a file or a frame, checked: what is refused, what is mended, and what is told of them."""

from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from projections.research.arrays import Zeros, stretches
from projections.research.bars import (
    CLOSE,
    NAMES,
    OPEN,
    PRICE_MAX,
    Bars,
    BarsError,
    longer,
    merged,
    undivided,
)
from projections.research.columns import I8
from streams.events import TIMEFRAMES_NS, Timeframe

NEARLY_ALL: Final = 0.99
USUAL: Final = 0.05
"""A step between bars that is rarer is none of the file's."""
_JUST_BEFORE = (1, 10**3, 10**6, 10**9)
"""Closes written as the last ns, µs, ms or second of a bar."""


class Checked(NamedTuple):
    """Bars of one timeframe, and what is to be known of them, in sentences."""

    bars: Bars
    notes: tuple[str, ...]


def checked(bars: Bars, timeframe: Timeframe, zeros: Zeros, *, starts: bool = False) -> Checked:
    """Bars of a timeframe out of those of a source, whose times are their ends, or with `starts` their
    starts; these are changed in place. Finer ones are rolled up.

    Raises `BarsError` for what cannot be mended without guessing; what can be lived with is a note.
    """
    if not len(bars.ends):
        raise BarsError("there is no bar in it")
    notes: list[str] = []
    if len(bars.ends) > 1 and all((np.diff(part.ends) < 0).all() for part in bars.parts(1)):
        bars = bars.take(slice(None, None, -1))
        notes.append("The newest bar stands first: they are read from the end.")
    for part in bars.parts(1):
        _check_order(part)
    step = _step(bars, timeframe)
    notes += _as_ends(bars, step, starts=starts)
    for part in bars.parts():
        _check_grid(part, step, starts=starts)
        _check_prices(part)
    notes += [*_outside(bars), *_missing(bars, step)]
    if step < TIMEFRAMES_NS[timeframe]:
        bars, note = rolled_up(bars, step, timeframe, zeros)
        notes += note
    return Checked(bars, tuple(notes))


def steps_of(ends: I8) -> tuple[I8, I8]:
    """The distinct steps between neighbours, rising, and how often each is."""
    steps = counts = np.empty(0, np.int64)
    for rows in stretches(len(ends), 1):
        more, times = np.unique(np.diff(ends[rows]), return_counts=True)
        steps, which = np.unique(np.concatenate([steps, more]), return_inverse=True)
        counts = np.bincount(which, np.concatenate([counts, times]), len(steps)).astype(np.int64)
    return steps, counts


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
    steps, counts = steps_of(bars.ends)
    usual = counts >= max(2, USUAL * counts.sum())
    step = int(steps[np.argmax(usual if usual.any() else counts)])
    if wanted % step:
        why = f"longer than {timeframe}" if step > wanted else f"of which none of {timeframe} is made"
        raise BarsError(f"its bars are {_length(step)} long, {why}: {_choose(step)}")
    return step


def _choose(step: int) -> str:
    able = [name for name, length in TIMEFRAMES_NS.items() if length % step == 0]
    return f"choose {' or '.join(able)}" if able else "no timeframe can be made of them"


def _as_ends(bars: Bars, step: int, *, starts: bool) -> list[str]:
    """Make ends of starts, and of such as 09:04:59.999 the 09:05:00 that they mean."""
    shift, notes = step, list[str]()
    if not starts:
        short = {each for part in bars.parts() for each in np.unique(-part.ends % step)[:2].tolist()}
        if len(short) != 1 or not short <= set(_JUST_BEFORE):
            return []
        shift = short.pop()
        notes = [f"Its times end {_length(shift)} before the bar does: they are taken as the bar's end."]
    for part in bars.parts():
        np.add(part.ends, shift, out=part.ends)
    return notes


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
    for name, column in zip(NAMES, bars.prices.T, strict=True):
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
    count, shown = 0, ""
    for part in bars.parts():
        open_, high, low, _ = part.prices.T
        outside = (open_ > high) | (open_ < low)
        if not count and outside.any():
            at = int(np.argmax(outside))
            shown = f"{part.rows[at]} ({_decimal(open_[at], bars.price_scale)})"
        count += int(outside.sum())
    if not count:
        return []
    return [
        f"In {_of(count, len(bars.ends))} bars the open lies outside of low … high, first in row {shown}, as"
        " where a venue opens a bar at the close before."
    ]


def _missing(bars: Bars, step: int) -> list[str]:
    missing = places = 0
    shown = ""
    for part in bars.parts(1):
        jumps = np.diff(part.ends) // step - 1
        if not places and jumps.any():
            at = int(np.argmax(jumps > 0))
            shown = f"{part.rows[at]} ({_time(part.ends[at])})"
        missing, places = missing + int(jumps.sum()), places + np.count_nonzero(jumps)
    if not places:
        return []
    return [
        f"{missing:,} bars are missing in {places:,} places, first behind row {shown}: nothing is put there."
    ]


def rolled_up(bars: Bars, step: int, timeframe: Timeframe, zeros: Zeros) -> tuple[Bars, list[str]]:
    """Bars of a coarser timeframe. Incomplete ones at both ends are left out."""
    length = TIMEFRAMES_NS[timeframe]
    count = longer(bars.ends, length)
    rolled = bars._replace(
        ends=zeros(count, np.int64), prices=zeros((count, 4), np.int64), volume=zeros(count, np.int64),
        flags=zeros(count, np.int64), rows=range(0),
    )  # fmt: skip
    counts, done = zeros(count, np.int64), 0
    for rows in undivided(bars.ends, length):
        part, of = merged(bars.take(rows), length)
        to = slice(done, done + len(of))
        rolled.ends[to], rolled.prices[to], rolled.volume[to] = part.ends, part.prices, part.volume
        rolled.flags[to], counts[to] = part.flags, of
        done = to.stop
    first = int(bars.ends[0] != rolled.ends[0] - length + step)
    keep = slice(first, count - int(bars.ends[-1] != rolled.ends[-1]))
    rolled, left = rolled.take(keep), count - max(keep.stop - first, 0)
    if left == count:
        raise BarsError(f"no bar of {timeframe} lies whole in it: choose a shorter timeframe")
    whole = length // step
    notes = [f"Its bars of {_length(step)} are rolled up to {timeframe}."]
    if left:
        notes.append(f"{left} of these at its ends are not whole, and are left out.")
    poor = int(np.count_nonzero(counts[keep] < whole))
    if poor:
        notes.append(f"{_of(poor, len(rolled.ends))} of these are made of fewer than {whole} bars.")
    return rolled, notes


def opens_are_closes(bars: Bars) -> str:
    """A sentence where nearly every bar opens at the close before, so that the next open tells nothing."""
    equal = sum(
        int(np.count_nonzero(part.prices[1:, OPEN] == part.prices[:-1, CLOSE])) for part in bars.parts(1)
    )
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
