"""The compiled part of `projections.fold.candles`: rows of one market → closed candles, in integers.

Everything compiled stands in this one file: numba's disk cache does not notice a change in another. A change
of the records, which stand in `projections.fold.kernel_records`, is a change of `RECORDS_SHA256` here.

**One rule for both conventions.** With `left` = 1 for markets grouped [start, end) and 0 for (start, end],
let u = time + left. Then the minute of a trade ends at u rounded up to minutes, and it closes the candle
with end E when u > E + grace. A clock row promises everything up to its time: there u = time + 1 in both.

**Where candles are.** `candles` is one array of records. First come six rings, one per timeframe; the candle
with end E of a timeframe stands in slot (E / length) mod capacity. The rings hold the closed candles that can
still be revised, and in the higher ones the candle that is being merged: a candle that closes is merged into
the one of the next timeframe, and into that only. A candle is closed when its end is before `head.next_end`,
the end of the first open minute. Behind the rings is the queue of open minutes that have trades, by end, from
`head.first` to before `head.last`. There are several when there is a grace time, or when a backfill runs
ahead of the clock.

**Room.** A row that finds no room (in `out`, `late` or the queue) returns before it changes anything that
a second attempt would change again; the caller makes room and calls again from `head.row`.
"""

from typing import Any, Final

from numba import njit, types

from projections.fold.kernel_records import CANDLE, FRAMES, GAP, HEAD, LENGTHS, Candle, Head, V
from streams.events import BACKFILL, MINUTE_NS, CandleFlag, RowKind
from streams.ticks import I8, U1

RECORDS_SHA256: Final = "88507db0e7abf254482f0f13010bd0198d0cae9edf51b043b4caa1cb3b05226c"

NOTHING, DONE, OUT_FULL, QUEUE_FULL, FAULTY = range(5)
"""What a call says."""
BAD_LENGTH, BAD_KIND, BAD_TIME, BAD_SILENCE, BAD_PRICE, BAD_SIZE, BAD_VOLUME = range(1, 8)
"""Faults."""

VALUE_MAX: Final = 2**53
VOLUME_MAX: Final = 2**62
TIME_MAX: Final = 2**62
BLOCK: Final = 16
SILENCE_MAX: Final = 5 * 366 * 1440 * MINUTE_NS
RUN: Final = 1023
"""Rows taken at once: 1023 sizes up to 2**53 do not wrap when summed, so one check behind a run is enough."""

_CLOCK: Final = int(RowKind.CLOCK)
EMPTY: Final = int(CandleFlag.EMPTY)
INCOMPLETE: Final = int(CandleFlag.INCOMPLETE)
CHANGED: Final = 4
"""In `flags` of a closed candle: changed since it was told."""

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


@njit(**_OPTIONS)
def up_to(u: int, length: int) -> int:
    """The first multiple of `length` that is not before u ≥ 0."""
    return (u + length - 1) // length * length


@njit(**_OPTIONS)
def slot(head: Head, frame: int, end: int) -> int:
    return head.starts[frame] + end // LENGTHS[frame] % head.capacities[frame]


@njit(**_OPTIONS)
def in_gap(gaps: V, end: int, left: int) -> bool:
    """Whether the minute overlaps one of the ranges (start, end], which are disjoint and sorted."""
    for g in range(gaps.shape[0]):
        if up_to(gaps[g].end + left, MINUTE_NS) >= end:
            return up_to(gaps[g].start + 1 + left, MINUTE_NS) <= end
    return False


@njit(**_OPTIONS)
def merge(into: Candle, later: Candle) -> bool:
    """`into` becomes the candle of both; False when the volume overflows. Prices come from minutes with
    trades."""
    into.holes += later.holes
    if later.trades == 0:
        return True
    if into.trades == 0:
        into.first_time, into.open = later.first_time, later.open
        into.high, into.low = later.high, later.low
        into.first_offset, into.last_offset = later.first_offset, later.last_offset
    into.high = max(into.high, later.high)
    into.low = min(into.low, later.low)
    into.last_time = later.last_time
    into.close = later.close
    into.trades += later.trades
    into.first_offset = min(into.first_offset, later.first_offset)
    into.last_offset = max(into.last_offset, later.last_offset)
    return add_volume(into, later.volume)


@njit(**_OPTIONS)
def add_volume(candle: Candle, volume: int) -> bool:
    if volume > VOLUME_MAX - candle.volume:
        return False
    candle.volume += volume
    return True


@njit(**_OPTIONS)
def out_of_range(low: int, high: int, least: int, most: int) -> int:
    """The fault of trades with prices from `low` to `high` and sizes from `least` to `most`."""
    if low <= 0 or high > VALUE_MAX:
        return BAD_PRICE
    return BAD_SIZE if least <= 0 or most > VALUE_MAX else 0


@njit(**_OPTIONS)
def absorb(candle: Candle, time: I8, price: I8, size: I8, first: int, stop: int, offset: int) -> int:
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
    fault = out_of_range(low, high, least, most)
    if fault != 0:
        return fault
    if candle.trades == 0:
        candle.first_time = TIME_MAX + 1
        candle.last_time = -1
        candle.high = high
        candle.low = low
        candle.volume = 0
        candle.first_offset = candle.last_offset = offset
    if time[first] < candle.first_time:
        candle.first_time = time[first]
        candle.open = price[first]
    if time[stop - 1] >= candle.last_time:
        candle.last_time = time[stop - 1]
        candle.close = price[stop - 1]
    candle.high = max(candle.high, high)
    candle.low = min(candle.low, low)
    candle.trades += stop - first
    candle.first_offset = min(candle.first_offset, offset)
    candle.last_offset = max(candle.last_offset, offset)
    return 0 if add_volume(candle, volume) else BAD_VOLUME


@njit(**_OPTIONS)
def emit(head: Head, candle: Candle, row: int, out: V) -> None:
    """Writes the candle as it is now to `out`."""
    if candle.flags & CHANGED:
        head.changed -= 1
    candle.flags = (EMPTY if candle.trades == 0 else 0) | (INCOMPLETE if candle.holes > 0 else 0)
    out[head.closed] = candle
    out[head.closed].holes = row
    head.closed += 1


@njit(**_OPTIONS)
def make_flat(minute: Candle, price: int, end: int, offset: int) -> None:
    minute.first_time = minute.last_time = end
    minute.open = minute.high = minute.low = minute.close = price
    minute.volume = minute.trades = 0
    minute.first_offset = minute.last_offset = offset


@njit(**_OPTIONS)
def close_minute(head: Head, candles: V, gaps: V, row: int, offset: int, out: V) -> None:
    """Closes the minute `head.next_end` and what ends with it, and tells what makes room for it and has
    changed: at most twelve candles."""
    end = head.next_end
    at = slot(head, 0, end)
    minute: Candle = candles[at]
    if minute.flags & CHANGED:
        emit(head, minute, row, out)
    first = head.first
    if first < head.last and candles[first].end == end:
        candles[at] = candles[first]
        head.first = first + 1
        if first + 1 == head.last:
            head.first = head.last = head.queue
    else:
        make_flat(minute, head.previous_close, end, offset)
        minute.end = end
    minute.timeframe = 0
    minute.revision = 0
    minute.holes = in_gap(gaps, end, head.left)
    emit(head, minute, row, out)
    head.next_end = end + MINUTE_NS
    head.previous_close = minute.close
    part = minute
    for frame in range(1, FRAMES):
        higher_end = up_to(end, LENGTHS[frame])
        at = slot(head, frame, higher_end)
        higher: Candle = candles[at]
        if higher.end != higher_end:
            if higher.flags & CHANGED:
                emit(head, higher, row, out)
            candles[at] = part
            higher.timeframe = frame
            higher.end = higher_end
            higher.revision = 0
        elif not merge(higher, part):
            head.fault = BAD_VOLUME
            return
        if higher_end != end:
            return
        if higher.trades == 0:
            make_flat(higher, higher.close, end, offset)
        emit(head, higher, row, out)
        part = higher


@njit(**_OPTIONS)
def can_revise(head: Head, end: int) -> bool:
    return head.first_end <= end < head.next_end and end > head.watermark - head.horizon


@njit(**_OPTIONS)
def change(head: Head, candle: Candle) -> None:
    """The closed candle is another now, and will be told again, once a record."""
    if candle.flags & CHANGED == 0:
        candle.flags |= CHANGED
        candle.revision += 1
        head.changed += 1


@njit(**_OPTIONS)
def revise(head: Head, candles: V, time: I8, price: I8, size: I8, row: int, end: int, offset: int) -> None:
    """The trade enters its closed minute, the closed candles around it and the first open one."""
    head.changed_from = end if head.changed_from == 0 else min(end, head.changed_from)
    head.unsettled = end if head.unsettled == 0 else min(end, head.unsettled)
    for frame in range(FRAMES):
        around = up_to(end, LENGTHS[frame])
        candle: Candle = candles[slot(head, frame, around)]
        head.fault = absorb(candle, time, price, size, row, row + 1, offset)
        if head.fault != 0 or around >= head.next_end:
            return
        change(head, candle)


@njit(**_OPTIONS)
def settle(head: Head, candles: V, offset: int) -> None:
    """Closed minutes without trades behind the changed ones take their close, and so do the longer candles
    without trades around them."""
    price = candles[slot(head, 0, head.unsettled)].close
    for end in range(head.unsettled + MINUTE_NS, head.next_end, MINUTE_NS):
        minute: Candle = candles[slot(head, 0, end)]
        if minute.trades > 0:
            price = minute.close
        elif minute.close != price:
            for frame in range(FRAMES):
                around = up_to(end, LENGTHS[frame])
                candle: Candle = candles[slot(head, frame, around)]
                if candle.trades == 0:
                    candle.open = candle.high = candle.low = candle.close = price
                if around >= head.next_end:
                    break
                if candle.trades == 0:
                    candle.first_offset = candle.last_offset = offset
                    change(head, candle)
    head.previous_close = price
    head.unsettled = 0


@njit(**_OPTIONS)
def tell_changed(head: Head, candles: V, row: int, out: V) -> int:
    """Tells the changed candles as they are now, by timeframe and end."""
    for frame in range(FRAMES):
        for end in range(up_to(head.changed_from, LENGTHS[frame]), head.next_end, LENGTHS[frame]):
            candle: Candle = candles[slot(head, frame, end)]
            if candle.flags & CHANGED and candle.end == end:
                if head.closed == out.shape[0]:
                    return OUT_FULL
                emit(head, candle, row, out)
    return DONE


@njit(**_OPTIONS)
def open_minute(head: Head, candles: V, end: int) -> int:
    """Index of the open minute, begun when it is new; −1 when there is no room in the queue."""
    at = head.last
    while at > head.first and candles[at - 1].end >= end:
        at -= 1
    if at < head.last and candles[at].end == end:
        return at
    if head.last == candles.shape[0]:
        return -1
    for i in range(head.last, at, -1):
        candles[i] = candles[i - 1]
    head.last += 1
    candles[at].end = end
    candles[at].trades = 0  # what `absorb` does not write is 0 in all of the queue
    return at


@njit(**_OPTIONS)
def run_end(time: I8, kind: U1, row: int, time_max: int) -> int:
    """End of the run of live trades from `row`, in order of time, up to `time_max`."""
    stop = min(row + RUN, time.size)
    i = row + 1
    while i + BLOCK <= stop and time[i + BLOCK - 1] <= time_max:
        times = time[i - 1 : i + BLOCK]
        kinds = kind[i : i + BLOCK]
        bad = 0  # no branches below: they become vector instructions
        for k in range(BLOCK):
            bad |= (times[k + 1] < times[k]) | (kinds[k] >= _CLOCK)
        if bad:
            break
        i += BLOCK
    while i < stop and time[i - 1] <= time[i] <= time_max and kind[i] < _CLOCK:
        i += 1
    return i


@njit(**_OPTIONS)
def close_before(head: Head, candles: V, gaps: V, u: int, row: int, offset: int, out: V) -> int:
    """Closes all minutes that end before u − grace."""
    if u - head.grace - head.next_end > SILENCE_MAX:
        head.fault = BAD_SILENCE
        return FAULTY
    while u - head.grace > head.next_end:
        if head.unsettled > 0:
            settle(head, candles, offset)
        if head.closed + 2 * FRAMES > out.shape[0]:
            return OUT_FULL
        close_minute(head, candles, gaps, row, offset, out)
        if head.fault != 0:
            return FAULTY
    return DONE


@njit(**_OPTIONS)
def trade(
    time: I8, price: I8, size: I8, kind: U1, row: int, offset: int, head: Head, candles: V, late: I8
) -> int:
    """Takes the trade at `row` and, when it is live, the run which it begins; `head.row` is then behind
    them."""
    end = up_to(time[row] + head.left, MINUTE_NS)
    if head.first_end < 0:
        head.first_end = head.next_end = end
    stop = row + 1
    if end >= head.next_end:
        at = open_minute(head, candles, end)
        if at < 0:
            return QUEUE_FULL
        if kind[row] < _CLOCK:
            time_max = min(end, head.next_end + head.grace) - head.left
            stop = run_end(time, kind, row, time_max)
            head.watermark = max(head.watermark, time[stop - 1])
        head.fault = absorb(candles[at], time, price, size, row, stop, offset)
    elif head.late == late.size:
        return OUT_FULL
    elif can_revise(head, end):
        revise(head, candles, time, price, size, row, end, offset)
        late[head.late] = ~row
        head.late += 1
    else:
        late[head.late] = row
        head.late += 1
        head.fault = out_of_range(price[row], price[row], size[row], size[row])
    if head.fault != 0:
        return FAULTY
    head.row = stop
    return DONE


_ROWS = types.Array(types.int64, 1, "C", readonly=True)
_COLUMNS = (_ROWS, _ROWS, _ROWS, types.Array(types.uint8, 1, "C", readonly=True))
_WORDS = types.int64[::1]


@njit(**_OPTIONS)
def records(head: I8, candles: I8, gaps: I8, out: I8) -> tuple[V, V, V, V]:
    return head.view(HEAD), candles.view(CANDLE), gaps.view(GAP), out.view(CANDLE)


@njit(types.int64(*_COLUMNS, types.int64, _WORDS, _WORDS, _WORDS, _WORDS, _WORDS), **_OPTIONS)
def fold_rows(
    time: I8, price: I8, size: I8, kind: U1, offset: int, head_: I8, words: I8, gaps_: I8, out_: I8, late: I8
) -> int:
    """Folds the rows from `head.row` on. `late` takes rows beyond the horizon, and ~row of those that change
    closed candles, which are told behind all rows. Returns NOTHING (all folded, nothing written), DONE,
    OUT_FULL, QUEUE_FULL or FAULTY (`head.fault` at `head.row`)."""
    rows = time.size
    heads, candles, gaps, out = records(head_, words, gaps_, out_)
    head: Head = heads[0]
    head.fault = head.closed = head.late = 0
    if price.size != rows or size.size != rows or kind.size != rows:
        head.fault = BAD_LENGTH
        return FAULTY
    while head.row < rows:
        row = head.row
        side = kind[row] & ~BACKFILL
        if side > _CLOCK or kind[row] == _CLOCK | BACKFILL:
            head.fault = BAD_KIND
            return FAULTY
        if time[row] < 0 or time[row] > TIME_MAX:
            head.fault = BAD_TIME
            return FAULTY
        if kind[row] == side:
            if head.first_end >= 0:
                u = int(time[row]) + (1 if side == _CLOCK else int(head.left))
                told = close_before(head, candles, gaps, u, row, offset, out)
                if told != DONE:
                    return told
            head.watermark = max(head.watermark, time[row])
        if side == _CLOCK:
            head.row = row + 1
            continue
        told = trade(time, price, size, kind, row, offset, head, candles, late)
        if told != DONE:
            return told
    if head.unsettled > 0:
        settle(head, candles, offset)
    if head.changed > 0 and tell_changed(head, candles, rows, out) != DONE:
        return OUT_FULL
    head.row = head.changed_from = 0
    return DONE if head.closed + head.late > 0 else NOTHING


@njit(types.void(types.int64, types.int64, types.int64, _WORDS, _WORDS, _WORDS, _WORDS), **_OPTIONS)
def mark_gap(start: int, end: int, offset: int, head_: I8, words: I8, gaps_: I8, out_: I8) -> None:
    """Looks again at the closed minutes that overlap (start, end]: those which `gaps` makes incomplete, or
    complete again, are revised, and the closed candles around them whose flag changes."""
    heads, candles, gaps, out = records(head_, words, gaps_, out_)
    head: Head = heads[0]
    head.closed = 0
    minute_end = max(up_to(start + 1 + head.left, MINUTE_NS), head.first_end)
    last_end = min(up_to(end + head.left, MINUTE_NS), head.next_end - MINUTE_NS)
    while minute_end <= last_end:
        change = 0
        if can_revise(head, minute_end):
            change = int(in_gap(gaps, minute_end, head.left)) - candles[slot(head, 0, minute_end)].holes
        for frame in range(FRAMES if change != 0 else 0):
            around = up_to(minute_end, LENGTHS[frame])
            candle: Candle = candles[slot(head, frame, around)]
            was = candle.holes > 0
            candle.holes += change
            if around >= head.next_end:
                break
            if was != (candle.holes > 0):
                candle.revision += 1
                if candle.trades == 0:
                    candle.first_offset = candle.last_offset = offset
                emit(head, candle, 0, out)
        minute_end += MINUTE_NS
