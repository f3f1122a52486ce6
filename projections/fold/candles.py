"""One market's trades and clock rows → closed candles of all timeframes, revisions and late trades.

A candle is labelled with its end. Nothing closes by itself: a *row* closes it, when its time says that the
candle's end has passed by the grace time. Minutes without trades are flat at the close before, and
`EMPTY`; higher timeframes are merges of minutes. A trade for a minute that is closed revises it while the
minute ended less than the horizon before the watermark; afterwards it is late, and changes nothing. Prices
and sizes are integers at the market's scales. `projections.fold.kernel` does the work.

Why: ADR 7.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, Self, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from projections.fold import kernel
from projections.fold.kernel_records import CANDLE, HEAD, KEPT, LENGTHS, WIDTH
from streams.events import BACKFILL, MINUTE_NS, TIMEFRAMES_NS, Candle, Closed, Market, RowKind, Timeframe
from streams.ticks import I8, U1

TIMEFRAMES: tuple[Timeframe, ...] = get_args(Timeframe)

CLOSED = np.dtype([(name, np.int64) for name in ("row", *tuple(CANDLE.fields or ())[1:])])
"""A closed or revised candle: a `Candle` of the kernel, with the `row` at which it is told first."""

_OUT_ROWS = 1024
_QUEUE_ROWS = 32
_FORM = 1
_WATERMARK_AT, _CLOSED_AT = map(tuple(HEAD.fields or ()).index, ("watermark", "closed"))
_COUNTS = slice(_CLOSED_AT, _CLOSED_AT + 2)
"""Of the head: candles closed and trades late or revising, as integers at once: by name is slower."""
_LENGTHS = np.array(LENGTHS)


class Folded(NamedTuple):
    """What rows did. `closed` are in order of rows, then of closing; a candle that rows have revised is told
    once behind all of them, or where it makes room for a new one. `late` and `revising` are indices of rows:
    of trades beyond the horizon, and of trades that revised instead of entering an open candle."""

    closed: npt.NDArray[np.void]
    late: I8
    revising: I8


_NONE = Folded(np.empty(0, CLOSED), np.empty(0, np.int64), np.empty(0, np.int64))


def candle_event(closed: Sequence[int], market: Market) -> Candle:
    """The event of a record of `CLOSED`, given as its values."""
    _, frame, end, revision, _, open_, high, low, _, close, volume, trades, flags, first, last = closed
    return Candle(
        timeframe=TIMEFRAMES[frame],
        timestamp=end,
        revision=revision,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=trades,
        price_scale=market.price_scale,
        size_scale=market.size_scale,
        empty=bool(flags & kernel.EMPTY),
        incomplete=bool(flags & kernel.INCOMPLETE),
        first_offset=first,
        last_offset=last,
    )


class _State(msgspec.Struct, frozen=True, array_like=True):
    form: int
    left: bool
    grace_ns: int
    horizon_ns: int
    head: bytes
    open: bytes
    rings: bytes
    gaps: tuple[tuple[int, int], ...]


class CandleBook:
    """The candles of one market.

    closed: `right` groups (start, end], `left` [start, end). grace_ns: how long after its end a candle
    waits. horizon_ns: how long before the watermark a minute may have ended that a late trade still
    revises.
    """

    def __init__(self, *, closed: Closed, grace_ns: int, horizon_ns: int) -> None:
        if closed not in ("right", "left"):
            raise ValueError(f"closed is {closed!r}; it must be 'right' or 'left'")
        if grace_ns < 0 or horizon_ns < 0:
            raise ValueError(f"grace_ns {grace_ns} and horizon_ns {horizon_ns} must not be negative")
        capacities = [horizon_ns // length + 2 for length in TIMEFRAMES_NS.values()]
        self._ring_rows = sum(capacities)
        self._head_words = np.zeros(HEAD.itemsize // 8, np.int64)
        self._head = self._head_words.view(HEAD)[0]
        for name in ("watermark", "first_end", "next_end"):
            self._head[name] = -1
        self._head["left"] = closed == "left"
        self._head["grace"] = grace_ns
        self._head["horizon"] = horizon_ns
        for name in ("queue", "first", "last"):
            self._head[name] = self._ring_rows
        self._head["starts"] = list(accumulate(capacities[:-1], initial=0))
        self._head["capacities"] = capacities
        self._set_candles(np.zeros((self._ring_rows + _QUEUE_ROWS) * WIDTH, np.int64))
        self._candles["end"] = -1
        self._set_gaps([])
        self._out = np.empty(_OUT_ROWS * WIDTH, np.int64)
        self._late = np.empty(_OUT_ROWS, np.int64)

    @property
    def watermark(self) -> int:
        """The latest time of a clock row or of a trade that is no backfill, in ns; −1 before the first."""
        return int(self._head_words.item(_WATERMARK_AT))

    def fold(self, time: I8, price: I8, size: I8, kind: U1, offset: int) -> Folded:
        """Folds rows of this market, as aligned contiguous columns [n] in order of arrival: ns, integers
        at the market's scales, `RowKind` with `BACKFILL`. `offset` is the journal record's.

        Raises ValueError or OverflowError naming the row and its value; the book is then half folded, and
        must be restored.
        """
        parts: list[Folded] = []
        while True:
            told = kernel.fold_rows(
                time,
                price,
                size,
                kind,
                offset,
                self._head_words,
                self._words,
                self._gap_words,
                self._out,
                self._late,
            )
            if told == kernel.NOTHING and not parts:
                return _NONE
            if told == kernel.FAULTY:
                raise self._error(time, price, size, kind)
            parts.append(self._taken())
            if told == kernel.QUEUE_FULL:
                self._make_room()
            elif told != kernel.OUT_FULL:
                return _joined(parts)

    def closing(self, time: I8, kind: U1) -> int:
        """How many minutes these rows would close, from where the market's time is to the newest row."""
        since = int(self._head["next_end"])
        if since < 0:
            trades = kind & ~np.uint8(BACKFILL) != RowKind.CLOCK
            since = int(time[trades][0]) if trades.any() else kernel.TIME_MAX
        newest = int(time[kind < BACKFILL].max(initial=0))
        return (newest - int(self._head["grace"]) - max(since, self.watermark)) // MINUTE_NS

    def gap(self, start: int, end: int, offset: int) -> Folded:
        """Trades of (start, end] ns may be missing: its minutes are incomplete, closed ones by a revision,
        others when they close."""
        kept = [(s, e) for s, e in self._live_gaps() if e < start or s > end]
        joined = [(s, e) for s, e in self._live_gaps() if not (e < start or s > end)]
        joined.append((start, end))
        kept.append((min(s for s, _ in joined), max(e for _, e in joined)))
        return self._with_gaps(sorted(kept), start, end, offset)

    def gap_filled(self, start: int, end: int, offset: int) -> Folded:
        """The trades of (start, end] ns have been filled in: what no other gap overlaps is complete again."""
        kept = [
            (max(s, low), min(e, high))
            for s, e in self._live_gaps()
            for low, high in ((s, start), (end, e))
            if max(s, low) < min(e, high)
        ]
        return self._with_gaps(kept, start, end, offset)

    def forming(self) -> np.void | None:
        """A copy of the open 1m candle, the latest when several are open, as a record of `CLOSED`; None
        before its first trade. Its `row` is −1 and its `flags` are not known yet (0)."""
        first, last = self._queue()
        if first == last:
            return None
        candle = _closed(self._words[(last - 1) * WIDTH : last * WIDTH])[0]
        candle["row"] = -1
        return candle

    def rescale(self, price_factor: int, size_factor: int) -> None:
        """Multiplies all prices and sizes, when the market's scales have grown. Raises OverflowError, and
        changes nothing, when one would leave its range."""
        if price_factor < 1 or size_factor < 1:
            raise ValueError(
                f"factors {price_factor} and {size_factor} must be whole numbers from 1: scales only grow"
            )
        first, last = self._queue()
        rows = np.concatenate([self._live_rows(), np.arange(first, last)])
        high = max(self._previous_close(), int(self._candles["high"][rows].max(initial=0)))
        volume = int(self._candles["volume"][rows].max(initial=0))
        if high * price_factor > kernel.VALUE_MAX:
            raise OverflowError(
                f"price {high} × {price_factor} is beyond 2**53; choose a smaller price scale"
            )
        if volume * size_factor > kernel.VOLUME_MAX:
            raise OverflowError(
                f"volume {volume} × {size_factor} is beyond 2**62; choose a smaller size scale"
            )
        for name in ("open", "high", "low", "close"):
            self._candles[name][rows] *= price_factor
        self._candles["volume"][rows] *= size_factor
        self._head["previous_close"] *= price_factor

    def state(self) -> bytes:
        """All that later rows depend on, and nothing else: the same history gives the same bytes."""
        first, last = self._queue()
        head = self._head
        return msgspec.msgpack.encode(
            _State(
                form=_FORM,
                left=bool(head["left"]),
                grace_ns=int(head["grace"]),
                horizon_ns=int(head["horizon"]),
                head=self._head_words[:KEPT].tobytes(),
                open=self._words[first * WIDTH : last * WIDTH].tobytes(),
                rings=self._words.reshape(-1, WIDTH)[self._live_rows()].tobytes(),
                gaps=tuple(self._live_gaps()),
            )
        )

    @classmethod
    def restore(cls, state: bytes) -> Self:
        """The book whose `state` it was. Raises ValueError for other bytes."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.form != _FORM:
            raise ValueError(
                f"candle state has form {kept.form}, this program reads {_FORM}: fold the journal again"
            )
        book = cls(
            closed="left" if kept.left else "right", grace_ns=kept.grace_ns, horizon_ns=kept.horizon_ns
        )
        book._head_words[:KEPT] = np.frombuffer(kept.head, np.int64)
        rings = np.frombuffer(kept.rings, CANDLE)
        slots = book._slots(rings["timeframe"], rings["end"])
        book._words.reshape(-1, WIDTH)[slots] = np.frombuffer(kept.rings, np.int64).reshape(-1, WIDTH)
        first, queue = book._ring_rows, np.frombuffer(kept.open, np.int64)
        book._set_candles(
            np.concatenate([book._words[: first * WIDTH], queue, np.zeros(_QUEUE_ROWS * WIDTH, np.int64)])
        )
        book._head["last"] = first + len(queue) // WIDTH
        book._set_gaps(list(kept.gaps))
        return book

    def _queue(self) -> tuple[int, int]:
        return int(self._head["first"]), int(self._head["last"])

    def _previous_close(self) -> int:
        return int(self._head["previous_close"])

    def _slots(self, frame: I8, end: I8) -> I8:
        return self._head["starts"][frame] + end // _LENGTHS[frame] % self._head["capacities"][frame]

    def _live_rows(self) -> I8:
        """Rows of the rings that can still change: revisable candles and those being merged."""
        end = self._candles["end"][: self._ring_rows]
        revisable = int(self._head["watermark"] - self._head["horizon"]) + 1
        live = np.flatnonzero(end >= max(0, min(revisable, int(self._head["next_end"]))))
        return live[np.lexsort((end[live], self._candles["timeframe"][live]))]

    def _live_gaps(self) -> list[tuple[int, int]]:
        """The gaps, without what lies in minutes that can no longer change."""
        head = self._head
        if not self._gaps or head["first_end"] < 0:
            return self._gaps
        revisable = int(head["watermark"] - head["horizon"]) // MINUTE_NS * MINUTE_NS
        settled = min(int(head["next_end"]) - MINUTE_NS, revisable) - int(head["left"])
        return [(max(start, settled), end) for start, end in self._gaps if end > settled]

    def _set_candles(self, words: I8) -> None:
        self._words, self._candles = words, words.view(CANDLE)

    def _set_gaps(self, gaps: list[tuple[int, int]]) -> None:
        self._gaps = gaps
        self._gap_words = np.array(gaps, np.int64).reshape(-1)

    def _with_gaps(self, gaps: list[tuple[int, int]], start: int, end: int, offset: int) -> Folded:
        if not 0 <= start < end <= kernel.TIME_MAX:
            raise ValueError(
                f"gap ({start}, {end}] is no range of times in ns: the start must be before the end"
            )
        self._set_gaps(gaps)
        out = np.empty(self._ring_rows * len(TIMEFRAMES) * WIDTH, np.int64)
        kernel.mark_gap(start, end, offset, self._head_words, self._words, self._gap_words, out)
        return _NONE._replace(closed=_closed(out[: int(self._head["closed"]) * WIDTH]))

    def _taken(self) -> Folded:
        """Copies what the last call wrote."""
        closed_rows, late_rows = self._head_words[_COUNTS].tolist()
        closed = _closed(self._out[: closed_rows * WIDTH])
        if not late_rows:
            return Folded(closed, _NONE.late, _NONE.revising)
        late = self._late[:late_rows]
        return Folded(closed, late[late >= 0], ~late[late < 0])

    def _make_room(self) -> None:
        """Moves the queue of open minutes to its beginning, and doubles its room when it needs it."""
        first, last = self._queue()
        start, queue = self._ring_rows * WIDTH, self._words[first * WIDTH : last * WIDTH].copy()
        room = len(self._words) - start
        if 2 * len(queue) > room:
            self._set_candles(np.concatenate([self._words, np.zeros(room, np.int64)]))
        self._head["first"] = self._ring_rows
        self._head["last"] = self._ring_rows + last - first
        self._words[start : start + len(queue)] = queue

    def _error(self, time: I8, price: I8, size: I8, kind: U1) -> Exception:
        fault, row = int(self._head["fault"]), int(self._head["row"])
        self._head["row"] = 0
        if fault == kernel.BAD_LENGTH:
            return ValueError(
                f"columns differ in length: {len(time)}, {len(price)}, {len(size)}, {len(kind)}"
            )
        if fault == kernel.BAD_KIND:
            return ValueError(f"row {row}: kind {kind[row]} is none of RowKind, with or without BACKFILL")
        if fault == kernel.BAD_TIME:
            return ValueError(f"row {row}: time {time[row]} is outside 0..2**62 ns")
        if fault == kernel.BAD_SILENCE:
            last = int(self._head["next_end"])
            return ValueError(
                f"row {row}: time {time[row]} is more than five years after the candle that ends at {last};"
                " if the time is right, give the market a new journal"
            )
        if fault == kernel.BAD_VOLUME:
            return OverflowError(f"row {row} (size {size[row]}): the volume of a candle would pass 2**62")
        name, column = ("price", price) if fault == kernel.BAD_PRICE else ("size", size)
        return _value_error(name, column, kind)


def _value_error(name: str, column: I8, kind: U1) -> Exception:
    """Of the first trade whose value is out of range: those before it were taken."""
    row = int(np.flatnonzero((kind != RowKind.CLOCK) & ((column <= 0) | (column > kernel.VALUE_MAX)))[0])
    if column[row] > 0:
        return OverflowError(
            f"row {row}: {name} {column[row]} is beyond 2**53; choose a smaller {name} scale"
        )
    return ValueError(f"row {row}: {name} {column[row]} is not positive")


def _closed(words: I8) -> npt.NDArray[np.void]:
    return words.copy().view(CLOSED)


def _joined(parts: list[Folded]) -> Folded:
    if len(parts) == 1:
        return parts[0]
    closed, late, revising = zip(*parts, strict=True)
    columns = np.concatenate([part.view(np.int64) for part in closed])  # numpy joins records slowly
    return Folded(columns.view(CLOSED), np.concatenate(late), np.concatenate(revising))
