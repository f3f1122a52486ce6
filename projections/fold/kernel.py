"""The compiled part of `projections.fold.candles`: rows of one market → closed candles, in integers.

Everything compiled stands in this one file, because numba's disk cache does not notice a change in
another.

**One rule for both conventions.** With `left` = 1 for markets grouped [start, end) and 0 for (start, end],
let u = time + left. Then the minute of a trade ends at u rounded up to minutes, and it closes the candle
with end E when u > E + grace. A clock row promises everything up to its time, so there u = time + 1 in
both.

**Where candles are.** `candles` is one int64 array of rows with the columns below. First come six rings, one
per timeframe; the candle with end E of a timeframe stands in slot (E / length) mod capacity. The rings hold
the closed candles that can still be revised, and in the higher ones the candle that is being merged: a candle
that closes is merged into the one of the next timeframe, and into that only. A candle is closed when its end
is before `head[NEXT_END]`, the end of the first open minute. Behind the rings is the queue of open minutes
that have trades, by end, from `head[FIRST]` to before `head[LAST]`. There are several when there is a grace
time, or when a backfill runs ahead of the clock.

**Room.** A row that finds no room (in `out`, `late` or the queue) returns before it changes anything that
a second attempt would change again; the caller makes room and calls again from `head[ROW]`.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit, types

from streams.events import BACKFILL, MINUTE_NS, TIMEFRAMES_NS, CandleFlag, RowKind

I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]

# Columns of a candle. In `out` the first is the row that closed it; in the state, how many of its minutes are
# incomplete.
ROW_OF: Final = 0
HOLES: Final = 0
TIMEFRAME: Final = 1
END: Final = 2
REVISION: Final = 3
FIRST_TIME: Final = 4
OPEN: Final = 5
HIGH: Final = 6
LOW: Final = 7
LAST_TIME: Final = 8
CLOSE: Final = 9
VOLUME: Final = 10
TRADES: Final = 11
FLAGS: Final = 12
FIRST_OFFSET: Final = 13
LAST_OFFSET: Final = 14
COLUMNS: Final = 15

# The head: what is not a candle. The first `KEPT` are state, the rest follows from the configuration or is
# written by the last call.
WATERMARK: Final = 0
FIRST_END: Final = 1  # end of the first candle, −1 before the first trade
NEXT_END: Final = 2
PREVIOUS_CLOSE: Final = 3
KEPT: Final = 4
LEFT: Final = 4
GRACE: Final = 5
HORIZON: Final = 6
QUEUE: Final = 7  # the first row behind the rings
FIRST: Final = 8
LAST: Final = 9
ROW: Final = 10
CLOSED: Final = 11
LATE: Final = 12
REVISING: Final = 13
FAULT: Final = 14
SLOTS: Final = 15  # six starts of the rings, then six capacities
HEAD: Final = SLOTS + 2 * len(TIMEFRAMES_NS)

# What a call says
NOTHING: Final = 0
DONE: Final = 1
OUT_FULL: Final = 2
QUEUE_FULL: Final = 3
FAULTY: Final = 4

# Faults
BAD_LENGTH: Final = 1
BAD_KIND: Final = 2
BAD_TIME: Final = 3
BAD_SILENCE: Final = 4
BAD_PRICE: Final = 5
BAD_SIZE: Final = 6
BAD_VOLUME: Final = 7

LENGTHS: Final = tuple(TIMEFRAMES_NS.values())
FRAMES: Final = len(LENGTHS)
VALUE_MAX: Final = 2**53
VOLUME_MAX: Final = 2**62
TIME_MAX: Final = 2**62
BLOCK: Final = 16
SILENCE_MAX: Final = 5 * 366 * 1440 * MINUTE_NS
RUN: Final = 1023
"""Rows taken at once: 1023 sizes up to 2**53 do not wrap when summed, so one check behind a run is enough."""

_CLOCK: Final = int(RowKind.CLOCK)
_EMPTY: Final = int(CandleFlag.EMPTY)
_INCOMPLETE: Final = int(CandleFlag.INCOMPLETE)

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


@njit(**_OPTIONS)
def up_to(u: int, length: int) -> int:
    """The first multiple of `length` that is not before u ≥ 0."""
    return (u + length - 1) // length * length


@njit(**_OPTIONS)
def slot(head: I8, frame: int, end: int) -> int:
    return head[SLOTS + frame] + end // LENGTHS[frame] % head[SLOTS + FRAMES + frame]


@njit(**_OPTIONS)
def in_gap(gaps: I8, end: int, left: int) -> bool:
    """Whether the minute overlaps one of the ranges (start, end], which are disjoint and sorted."""
    for g in range(gaps.shape[0]):
        if up_to(gaps[g, 1] + left, MINUTE_NS) >= end:
            return up_to(gaps[g, 0] + 1 + left, MINUTE_NS) <= end
    return False


@njit(**_OPTIONS)
def merge(into: I8, later: I8) -> bool:
    """`into` becomes the candle of both; False when the volume overflows. Prices come from minutes with
    trades."""
    into[HOLES] += later[HOLES]
    if later[TRADES] == 0:
        return True
    if into[TRADES] == 0:
        into[FIRST_TIME : TRADES + 1] = later[FIRST_TIME : TRADES + 1]
        into[FIRST_OFFSET] = later[FIRST_OFFSET]
        into[LAST_OFFSET] = later[LAST_OFFSET]
        return True
    into[HIGH] = max(into[HIGH], later[HIGH])
    into[LOW] = min(into[LOW], later[LOW])
    into[LAST_TIME] = later[LAST_TIME]
    into[CLOSE] = later[CLOSE]
    into[TRADES] += later[TRADES]
    into[FIRST_OFFSET] = min(into[FIRST_OFFSET], later[FIRST_OFFSET])
    into[LAST_OFFSET] = max(into[LAST_OFFSET], later[LAST_OFFSET])
    return add_volume(into, later[VOLUME])


@njit(**_OPTIONS)
def add_volume(candle: I8, volume: int) -> bool:
    if volume > VOLUME_MAX - candle[VOLUME]:
        return False
    candle[VOLUME] += volume
    return True


@njit(**_OPTIONS)
def absorb(candle: I8, time: I8, price: I8, size: I8, first: int, stop: int, offset: int) -> int:
    """The candle takes the trades [first, stop), at most `RUN`, in order of time; returns a fault or 0."""
    high = price[first]
    low = high
    most = size[first]
    least = most
    volume = 0
    for i in range(first, stop):
        high = max(high, price[i])
        low = min(low, price[i])
        most = max(most, size[i])
        least = min(least, size[i])
        volume += size[i]
    if low <= 0 or high > VALUE_MAX:
        return BAD_PRICE
    if least <= 0 or most > VALUE_MAX:
        return BAD_SIZE
    if candle[TRADES] == 0:
        candle[FIRST_TIME] = TIME_MAX
        candle[LAST_TIME] = -1
        candle[HIGH] = high
        candle[LOW] = low
        candle[VOLUME] = 0
        candle[FIRST_OFFSET] = offset
        candle[LAST_OFFSET] = offset
    if time[first] < candle[FIRST_TIME]:
        candle[FIRST_TIME] = time[first]
        candle[OPEN] = price[first]
    if time[stop - 1] >= candle[LAST_TIME]:
        candle[LAST_TIME] = time[stop - 1]
        candle[CLOSE] = price[stop - 1]
    candle[HIGH] = max(candle[HIGH], high)
    candle[LOW] = min(candle[LOW], low)
    candle[TRADES] += stop - first
    candle[FIRST_OFFSET] = min(candle[FIRST_OFFSET], offset)
    candle[LAST_OFFSET] = max(candle[LAST_OFFSET], offset)
    return 0 if add_volume(candle, volume) else BAD_VOLUME


@njit(**_OPTIONS)
def copy(candle: I8, into: I8) -> None:
    """In a loop, since numba looks for an overlap before it assigns an array."""
    for column in range(COLUMNS):
        into[column] = candle[column]


@njit(**_OPTIONS)
def emit(head: I8, candle: I8, row: int, out: I8) -> None:
    """Writes the candle as it is now to `out`."""
    candle[FLAGS] = (_EMPTY if candle[TRADES] == 0 else 0) | (_INCOMPLETE if candle[HOLES] > 0 else 0)
    closed = out[head[CLOSED]]
    copy(candle, closed)
    closed[ROW_OF] = row
    head[CLOSED] += 1


@njit(**_OPTIONS)
def make_flat(minute: I8, price: int, end: int, offset: int) -> None:
    minute[FIRST_TIME] = end
    minute[LAST_TIME] = end
    minute[OPEN] = price
    minute[HIGH] = price
    minute[LOW] = price
    minute[CLOSE] = price
    minute[VOLUME] = 0
    minute[TRADES] = 0
    minute[FIRST_OFFSET] = offset
    minute[LAST_OFFSET] = offset


@njit(**_OPTIONS)
def close_minute(head: I8, candles: I8, gaps: I8, row: int, offset: int, out: I8) -> None:
    """Closes the minute `head[NEXT_END]` and what ends with it; at most six candles."""
    end = head[NEXT_END]
    minute = candles[slot(head, 0, end)]
    first = head[FIRST]
    if first < head[LAST] and candles[first, END] == end:
        copy(candles[first], minute)
        head[FIRST] = first + 1
        if first + 1 == head[LAST]:
            head[FIRST] = head[QUEUE]
            head[LAST] = head[QUEUE]
    else:
        make_flat(minute, head[PREVIOUS_CLOSE], end, offset)
        minute[END] = end
    minute[TIMEFRAME] = 0
    minute[REVISION] = 0
    minute[HOLES] = in_gap(gaps, end, head[LEFT])
    emit(head, minute, row, out)
    head[NEXT_END] = end + MINUTE_NS
    head[PREVIOUS_CLOSE] = minute[CLOSE]
    part = minute
    for frame in range(1, FRAMES):
        higher_end = up_to(end, LENGTHS[frame])
        higher = candles[slot(head, frame, higher_end)]
        if higher[END] != higher_end:
            copy(part, higher)
            higher[TIMEFRAME] = frame
            higher[END] = higher_end
            higher[REVISION] = 0
        elif not merge(higher, part):
            head[FAULT] = BAD_VOLUME
            return
        if higher_end != end:
            return
        if higher[TRADES] == 0:
            make_flat(higher, higher[CLOSE], end, offset)
        emit(head, higher, row, out)
        part = higher


@njit(**_OPTIONS)
def can_revise(head: I8, end: int) -> bool:
    return head[FIRST_END] <= end < head[NEXT_END] and end > head[WATERMARK] - head[HORIZON]


@njit(**_OPTIONS)
def revise(
    head: I8, candles: I8, time: I8, price: I8, size: I8, row: int, end: int, offset: int, out: I8
) -> None:
    """The trade enters its closed minute, the closed candles around it (revisions) and the first open one."""
    for frame in range(FRAMES):
        around = up_to(end, LENGTHS[frame])
        candle = candles[slot(head, frame, around)]
        fault = absorb(candle, time, price, size, row, row + 1, offset)
        if fault != 0:
            head[FAULT] = fault
            return
        if around >= head[NEXT_END]:
            return
        candle[REVISION] += 1
        emit(head, candle, row, out)
        if frame == 0 and end == head[NEXT_END] - MINUTE_NS:
            head[PREVIOUS_CLOSE] = candle[CLOSE]


@njit(**_OPTIONS)
def open_minute(head: I8, candles: I8, end: int) -> int:
    """Index of the open minute, begun when it is new; −1 when there is no room in the queue."""
    at = head[LAST]
    while at > head[FIRST] and candles[at - 1, END] >= end:
        at -= 1
    if at < head[LAST] and candles[at, END] == end:
        return at
    if head[LAST] == candles.shape[0]:
        return -1
    for i in range(head[LAST], at, -1):
        candles[i] = candles[i - 1]
    head[LAST] += 1
    candles[at] = 0
    candles[at, END] = end
    return at


@njit(**_OPTIONS)
def run_end(time: I8, kind: U1, row: int, time_max: int) -> int:
    """End of the run of live trades from `row`, in order of time, up to `time_max`."""
    stop = min(row + RUN, time.size)
    i = row + 1
    while (
        i + BLOCK <= stop and time[i + BLOCK - 1] <= time_max
    ):  # without branches inside: a vector instruction
        times = time[i - 1 : i + BLOCK]
        kinds = kind[i : i + BLOCK]
        bad = 0
        for k in range(BLOCK):
            bad |= (times[k + 1] < times[k]) | (kinds[k] >= _CLOCK)
        if bad:
            break
        i += BLOCK
    while i < stop and time[i - 1] <= time[i] <= time_max and kind[i] < _CLOCK:
        i += 1
    return i


@njit(**_OPTIONS)
def close_before(head: I8, candles: I8, gaps: I8, u: int, row: int, offset: int, out: I8) -> int:
    """Closes all minutes that end before u − grace."""
    if u - head[GRACE] - head[NEXT_END] > SILENCE_MAX:
        head[FAULT] = BAD_SILENCE
        return FAULTY
    while u - head[GRACE] > head[NEXT_END]:
        if head[CLOSED] + FRAMES > out.shape[0]:
            return OUT_FULL
        close_minute(head, candles, gaps, row, offset, out)
        if head[FAULT] != 0:
            return FAULTY
    return DONE


@njit(**_OPTIONS)
def is_value(price: int, size: int) -> int:
    if price <= 0 or price > VALUE_MAX:
        return BAD_PRICE
    if size <= 0 or size > VALUE_MAX:
        return BAD_SIZE
    return 0


@njit(**_OPTIONS)
def trade(
    time: I8, price: I8, size: I8, kind: U1, row: int, offset: int, head: I8, candles: I8, out: I8, late: I8
) -> int:
    """Takes the trade at `row` and, when it is live, the run which it begins; `head[ROW]` is then behind
    them."""
    end = up_to(time[row] + head[LEFT], MINUTE_NS)
    if head[FIRST_END] < 0:
        head[FIRST_END] = end
        head[NEXT_END] = end
    stop = row + 1
    if end >= head[NEXT_END]:
        at = open_minute(head, candles, end)
        if at < 0:
            return QUEUE_FULL
        if kind[row] < _CLOCK:
            time_max = min(end, head[NEXT_END] + head[GRACE]) - head[LEFT]
            stop = run_end(time, kind, row, time_max)
            head[WATERMARK] = max(head[WATERMARK], time[stop - 1])
        head[FAULT] = absorb(candles[at], time, price, size, row, stop, offset)
    elif head[CLOSED] + FRAMES > out.shape[0] or head[LATE] == late.size:
        return OUT_FULL
    elif can_revise(head, end):
        revise(head, candles, time, price, size, row, end, offset, out)
        head[REVISING] += 1
    else:
        late[head[LATE]] = row
        head[LATE] += 1
        head[FAULT] = is_value(price[row], size[row])
    if head[FAULT] != 0:
        return FAULTY
    head[ROW] = stop
    return DONE


_ROWS = types.Array(types.int64, 1, "C", readonly=True)
_KINDS = types.Array(types.uint8, 1, "C", readonly=True)
_LIST = types.int64[::1]
_TABLE = types.int64[:, ::1]


@njit(
    types.int64(_ROWS, _ROWS, _ROWS, _KINDS, types.int64, _LIST, _TABLE, _TABLE, _TABLE, _LIST),
    **_OPTIONS,
)
def fold_rows(
    time: I8, price: I8, size: I8, kind: U1, offset: int, head: I8, candles: I8, gaps: I8, out: I8, late: I8
) -> int:
    """Folds the rows from `head[ROW]` on. Returns NOTHING (all folded, nothing written), DONE, OUT_FULL,
    QUEUE_FULL or FAULTY (`head[FAULT]` at `head[ROW]`)."""
    rows = time.size
    head[FAULT] = 0
    head[CLOSED] = 0
    head[LATE] = 0
    head[REVISING] = 0
    if price.size != rows or size.size != rows or kind.size != rows:
        head[FAULT] = BAD_LENGTH
        return FAULTY
    while head[ROW] < rows:
        row = head[ROW]
        side = kind[row] & ~BACKFILL
        if side > _CLOCK or kind[row] == _CLOCK | BACKFILL:
            head[FAULT] = BAD_KIND
            return FAULTY
        if time[row] < 0 or time[row] > TIME_MAX:
            head[FAULT] = BAD_TIME
            return FAULTY
        if kind[row] == side:
            if head[FIRST_END] >= 0:
                u = int(time[row]) + (1 if side == _CLOCK else int(head[LEFT]))
                told = close_before(head, candles, gaps, u, row, offset, out)
                if told != DONE:
                    return told
            head[WATERMARK] = max(head[WATERMARK], time[row])
        if side == _CLOCK:
            head[ROW] = row + 1
            continue
        told = trade(time, price, size, kind, row, offset, head, candles, out, late)
        if told != DONE:
            return told
    head[ROW] = 0
    return DONE if head[CLOSED] + head[LATE] > 0 else NOTHING


@njit(types.void(types.int64, types.int64, types.int64, _LIST, _TABLE, _TABLE, _TABLE), **_OPTIONS)
def mark_gap(start: int, end: int, offset: int, head: I8, candles: I8, gaps: I8, out: I8) -> None:
    """Looks again at the closed minutes that overlap (start, end]: those which `gaps` makes incomplete, or
    complete again, are revised, and the closed candles around them whose flag changes."""
    head[CLOSED] = 0
    minute_end = max(up_to(start + 1 + head[LEFT], MINUTE_NS), head[FIRST_END])
    last_end = min(up_to(end + head[LEFT], MINUTE_NS), head[NEXT_END] - MINUTE_NS)
    while minute_end <= last_end:
        change = int(in_gap(gaps, minute_end, head[LEFT]))
        if can_revise(head, minute_end):
            change -= candles[slot(head, 0, minute_end), HOLES]
        else:
            change = 0
        for frame in range(FRAMES if change != 0 else 0):
            around = up_to(minute_end, LENGTHS[frame])
            candle = candles[slot(head, frame, around)]
            was = candle[HOLES] > 0
            candle[HOLES] += change
            if around >= head[NEXT_END]:
                break
            if was != (candle[HOLES] > 0):
                candle[REVISION] += 1
                if candle[TRADES] == 0:
                    candle[FIRST_OFFSET] = offset
                    candle[LAST_OFFSET] = offset
                emit(head, candle, 0, out)
        minute_end += MINUTE_NS
