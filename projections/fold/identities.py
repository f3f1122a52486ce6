"""The compiled part of `projections.fold.seen_ids`: which identities a market has had, in bounded room.

Everything compiled stands in this one file: numba's disk cache does not notice a change in another.

**What is kept.** An identity is (id, time, price, size). The newest `RING` stand in `ring` in their order of
arrival, each as `KEY` (the id; of one of 128 bits a hash), `TIME`, and `CHECK`, a hash of 63 bits over price,
size and a wide id, whose lowest bit tells wide ids from others. It is taken of the numbers without their
trailing zeros, so that a market whose scale grows keeps its identities as they are. An identity that leaves
the ring joins a *span*: ids without a hole, with the lowest and the highest of their times. Spans end where a
block of ids ends, of 1,024 at first.

**How it is found.** `heads` gives the newest row of a hash of the key, `nexts` the row before it of the same
hash, as in the window of a compressor: nothing is ever taken out, a chain ends where it leads to a newer
row. A walk takes at most `WALK` steps, so that no choice of ids makes it slow; one that had to stop there
can't tell. Spans are found by their block in the same way.

**Room.** When the spans are full, blocks become twice as long, and spans that meet join. Where they are
short, the ids have holes, and the older half of the spans is forgotten.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types

from streams.ticks import I8

U2 = npt.NDArray[np.uint16]

RING: Final = 65_536
SPANS: Final = 4_096
WALK: Final = 64
NEAR: Final = 8
BLOCK_BITS: Final = 10
NONE: Final = 65_535
"""No span; a row of the ring that leads nowhere leads to itself."""

KEY, TIME, CHECK = range(3)
LOW, HIGH, FIRST, LAST = range(4)
"""Columns of a ring's row and of a span, whose times are those of its earliest and its latest trade."""

WRITTEN, NEWEST_ID, NEWEST_TIME, FORGOTTEN, REUSED, UNDECIDED, SPANS_USED, BITS, SINCE = range(9)
"""Of `head`: identities ever put into the ring, the highest id of 64 bits, the latest time, the latest time
of what was forgotten; how many trades had an id that another trade has, and how many can't be decided any
more; spans in use, and the length of a block as a power of two; the time of the last trade before ids began
anew, −1 where they never did: the highest id is of those behind it."""


class Table(NamedTuple):
    """All of a market: what is state (`head`, `ring`, `spans`), and the index over it."""

    head: I8
    ring: I8
    spans: I8
    heads: U2
    nexts: U2
    span_heads: U2
    span_nexts: U2


def table() -> Table:
    """An empty one. What is not written yet takes no memory."""
    head = np.zeros(SINCE + 1, np.int64)
    head[[NEWEST_ID, NEWEST_TIME, FORGOTTEN, SINCE]] = -1
    head[BITS] = BLOCK_BITS
    return Table(
        head,
        np.zeros((RING, 3), np.int64),
        np.zeros((SPANS, 4), np.int64),
        np.zeros(RING, np.uint16),
        np.zeros(RING, np.uint16),
        np.full(SPANS, NONE, np.uint16),
        np.zeros(SPANS, np.uint16),
    )


_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": False}


@njit(**_OPTIONS)
def mixed(seed: Any, value: int) -> Any:
    """64 bits of both, well mixed (the finaliser of MurmurHash3)."""
    h = seed ^ np.uint64(value)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


@njit(**_OPTIONS)
def normal(seed: Any, value: int, scale: int) -> Any:
    """A hash of a decimal, the same at every scale."""
    while value != 0 and value % 10 == 0:
        value //= 10
        scale -= 1
    return mixed(mixed(seed, value), scale if value != 0 else 0)


@njit(**_OPTIONS)
def bucket(key: int, bits: int) -> Any:
    return np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))


@njit(**_OPTIONS)
def put(t: Table, position: int) -> None:
    """Put the ring's row of `position` into the index."""
    slot = position % RING
    at = bucket(t.ring[slot, KEY], 16)
    former = np.int64(t.heads[at])
    alive = former < position and former != slot and bucket(t.ring[former, KEY], 16) == at
    t.nexts[slot] = former if alive else slot
    t.heads[at] = slot


@njit(**_OPTIONS)
def put_span(t: Table, span: int) -> None:
    at = bucket(t.spans[span, LOW] >> t.head[BITS], 12)
    t.span_nexts[span] = t.span_heads[at]
    t.span_heads[at] = span


@njit(**_OPTIONS)
def in_ring(t: Table, row: I8) -> tuple[bool, bool, bool]:
    """Whether the identity `row` is there, whether another of its id is, and whether the walk had to stop."""
    written, at = t.head[WRITTEN], bucket(row[KEY], 16)
    slot = np.int64(t.heads[at])
    if slot >= written or bucket(t.ring[slot, KEY], 16) != at:
        return False, False, False
    reused = False
    age = (written - 1 - slot) % RING
    for _ in range(WALK):
        if t.ring[slot, KEY] == row[KEY] and (t.ring[slot, CHECK] ^ row[CHECK]) & 1 == 0:
            if t.ring[slot, TIME] == row[TIME] and t.ring[slot, CHECK] == row[CHECK]:
                return True, False, False
            reused = True
        slot, before = np.int64(t.nexts[slot]), age
        age = (written - 1 - slot) % RING
        if age <= before:
            return False, reused, False
    return False, reused, True


@njit(**_OPTIONS)
def in_spans(t: Table, key: int, time: int) -> tuple[bool, bool, bool]:
    """As `in_ring`, by id and time alone."""
    span = np.int64(t.span_heads[bucket(key >> t.head[BITS], 12)])
    reused = False
    for _ in range(WALK):
        if span == NONE:
            return False, reused, False
        low, high, first, last = t.spans[span]
        if low <= key <= high:
            if first <= time <= last:
                return True, False, False
            reused = True
        span = np.int64(t.span_nexts[span])
    return False, reused, span != NONE


@njit(**_OPTIONS)
def neighbours(t: Table, new: I8) -> tuple[Any, Any, bool]:
    """The spans that end before and begin behind `new`, of several the nearest in time, on its side of the
    time at which ids began anew; and whether one holds it already."""
    anew = new[LAST] > t.head[SINCE]
    left, right = NONE, NONE
    left_gap, right_gap = np.int64(2**63 - 1), np.int64(2**63 - 1)
    block = new[LOW] >> t.head[BITS]
    span = np.int64(t.span_heads[bucket(block, 12)])
    for _ in range(NEAR):
        if span == NONE:
            break
        low, high, first, last = t.spans[span]
        if low <= high and low >> t.head[BITS] == block and (last > t.head[SINCE]) == anew:
            if low <= new[LOW] and new[HIGH] <= high and first <= new[FIRST] and new[LAST] <= last:
                return NONE, NONE, True
            gap = max(new[FIRST] - last, first - new[LAST], 0)
            if high + 1 == new[LOW] and gap < left_gap:
                left, left_gap = span, gap
            if new[HIGH] + 1 == low and gap < right_gap:
                right, right_gap = span, gap
        span = np.int64(t.span_nexts[span])
    return left, right, False


@njit(**_OPTIONS)
def join(t: Table, span: int, new: I8) -> None:
    """Make a span longer by its neighbour."""
    row = t.spans[span]
    row[LOW], row[HIGH] = min(row[LOW], new[LOW]), max(row[HIGH], new[HIGH])
    row[FIRST], row[LAST] = min(row[FIRST], new[FIRST]), max(row[LAST], new[LAST])


@njit(**_OPTIONS)
def absorb(t: Table, new: I8) -> None:
    """Take ids without a hole, of one block, into the spans, where there is room for one more."""
    left, right, held = neighbours(t, new)
    if held:
        return
    if left != NONE:
        join(t, left, new)
        if right != NONE:
            join(t, left, t.spans[right])
            t.spans[right, HIGH] = t.spans[right, LOW] - 1  # it is empty now
    elif right != NONE:
        join(t, right, new)
    else:
        used = t.head[SPANS_USED]
        t.spans[used] = new
        put_span(t, used)
        t.head[SPANS_USED] = used + 1


@njit(**_OPTIONS)
def absorb_all(t: Table, old: I8) -> None:
    """Make the spans anew of `old`."""
    t.head[SPANS_USED] = 0
    t.span_heads[:] = NONE
    for n in range(len(old)):
        if old[n, LOW] <= old[n, HIGH]:
            absorb(t, old[n])


@njit(**_OPTIONS)
def make_room(t: Table) -> None:
    """Join spans to longer ones, where they fill a quarter of their blocks; else forget the older half."""
    old = t.spans[: t.head[SPANS_USED]].copy()
    if (old[:, HIGH] - old[:, LOW] + 1).sum() >= len(old) << (t.head[BITS] - 2):
        t.head[BITS] += 1
        absorb_all(t, old)
        if t.head[SPANS_USED] <= 3 * SPANS // 4:
            return
        old = t.spans[: t.head[SPANS_USED]].copy()
    half = len(old) // 2
    t.head[FORGOTTEN] = max(t.head[FORGOTTEN], old[:half, LAST].max())
    absorb_all(t, old[half:])


@njit(**_OPTIONS)
def leave(t: Table, row: I8, span: I8) -> None:
    """An identity leaves the ring: one of 64 bits joins a span, one of 128 is forgotten. `span` is room."""
    if row[CHECK] & 1:
        t.head[FORGOTTEN] = max(t.head[FORGOTTEN], row[TIME])
        return
    if t.head[SPANS_USED] == SPANS:
        make_room(t)
    span[LOW], span[HIGH], span[FIRST], span[LAST] = row[KEY], row[KEY], row[TIME], row[TIME]
    absorb(t, span)


@njit(**_OPTIONS)
def identity(ids: I8, time: int, price: int, size: int, scales: tuple[int, int], row: I8) -> bool:
    """Write the identity of a trade into `row`; False for one without an id."""
    check = normal(normal(np.uint64(0), price, scales[0]), size, scales[1])
    row[KEY], row[TIME], wide = ids[0], time, len(ids) == 2
    if wide:
        if ids[0] == -1 and ids[1] == -1:
            return False
        row[KEY] = np.int64(mixed(mixed(np.uint64(0), ids[0]), ids[1]))
        check = mixed(mixed(check, ids[0]), ids[1])
    row[CHECK] = np.int64(check) & ~1 | wide
    return wide or ids[0] >= 0


@njit(**_OPTIONS)
def take(t: Table, row: I8, span: I8) -> tuple[bool, bool]:
    """Put an identity in unless it is there. Whether it is a repeat, and whether another trade has its id."""
    wide, time, written = row[CHECK] & 1, row[TIME], t.head[WRITTEN]
    known, reused, stopped = in_ring(t, row)
    if not known and not wide:
        known, also, cut = in_spans(t, row[KEY], time)
        reused, stopped = reused or also, stopped or cut
    if known:
        return True, False
    t.head[REUSED] += reused
    t.head[UNDECIDED] += time <= t.head[FORGOTTEN] or (stopped and time <= t.head[NEWEST_TIME])
    if written >= RING:
        leave(t, t.ring[written % RING], span)
    t.ring[written % RING] = row
    put(t, written)
    t.head[WRITTEN] = written + 1
    t.head[NEWEST_TIME] = max(t.head[NEWEST_TIME], time)
    if not wide and time > t.head[SINCE]:
        t.head[NEWEST_ID] = max(t.head[NEWEST_ID], row[KEY])
    return False, reused


_TABLE = types.NamedTuple(
    [*[types.int64[::1], types.int64[:, ::1], types.int64[:, ::1]], *[types.uint16[::1]] * 4], Table
)
_ROWS = types.Array(types.int64, 1, "C", readonly=True)
_IDS = types.Array(types.int64, 2, "C", readonly=True)
_SCALES = types.UniTuple(types.int64, 2)


@njit(types.int64(_TABLE, _IDS, _ROWS, _ROWS, _ROWS, _SCALES, types.boolean[::1]), **_OPTIONS)
def add(
    t: Table,
    ids: I8,
    time: I8,
    price: I8,
    size: I8,
    scales: tuple[int, int],
    fresh: npt.NDArray[np.bool_],
) -> int:
    """Take trades [n] at `scales` (of price and size) into the table. `ids`: [n, 1], or [n, 2] of 128 bits,
    the low half first. Writes `fresh` [n]: False for a repeat. Returns the first row whose id another trade
    has, or −1."""
    first, row, span = -1, np.empty(3, np.int64), np.empty(4, np.int64)
    for n in range(len(ids)):
        fresh[n] = True
        if identity(ids[n], time[n], price[n], size[n], scales, row):
            known, reused = take(t, row, span)
            fresh[n] = not known
            if reused and first < 0:
                first = n
    return first


@njit(types.void(_TABLE), **_OPTIONS)
def index(t: Table) -> None:
    """Make the index anew."""
    t.heads[:] = 0
    for position in range(max(0, t.head[WRITTEN] - RING), t.head[WRITTEN]):
        put(t, position)
    t.span_heads[:] = NONE
    for span in range(t.head[SPANS_USED]):
        put_span(t, span)
