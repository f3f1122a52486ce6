"""One market of a partition: its candles, and its bots at their desk, in the order of the journal.

The order within a record, row by row, is the heart of "live equals backtest":

1. a row that closes candles closes them (1m … 1d), and each steps the bots of its timeframe by bot id;
2. the row fills orders that were decided at an earlier row.

So the closing trade never fills what it decided, and a strategy never sees a candle that is not closed.
"""

from itertools import groupby

import numpy as np
from msgspec import Struct

from projections.fold.candles import CandleBook, candle_event
from projections.fold.desk import SCALE_MAX, CommandError, Desk, DeskState, Emit, Ints, Kinds, grown
from projections.fold.seen_ids import SeenIds
from projections.strategies.code import Strategies
from streams.events import BACKFILL, E8, MINUTE_NS, LateTick, Market
from streams.topics import CANDLES

FIXED = (
    "base", "quote", "settle", "contract", "multiplier", "multiplier_scale",
    "closed", "grace_ms", "horizon_min",
)  # fmt: skip
"""What of a specification never changes: recorded candles and money were made with it."""


class TapeState(Struct, frozen=True, array_like=True):
    """Everything of a `Tape`, canonical: the same history gives the same bytes."""

    market: Market
    book: bytes
    seen: list[list[int]]
    repeats: int
    desk: DeskState


class Tape:
    """State of one market. Folding emits derived events through `emit`."""

    def __init__(self, market: Market, strategies: Strategies) -> None:
        self.market = market
        self.book = CandleBook(
            closed=market.closed,
            grace_ns=market.grace_ms * 1_000_000,
            horizon_ns=market.horizon_min * MINUTE_NS,
        )
        self.desk = Desk(market, strategies)
        self.seen = SeenIds()
        self.repeats = 0
        self._offset = -1
        self._emit: Emit

    def begin(self, offset: int, emit: Emit) -> None:
        """A new journal record."""
        self._offset, self._emit = offset, emit
        self.desk.begin(self.book.watermark, emit)

    def fold_rows(
        self, time: Ints, price: Ints, size: Ints, kind: Kinds, ids: Ints | None, rows: Ints | None = None
    ) -> None:
        """Fold rows of this market, shape (n,) each, in order, at the market's scales.

        `rows` are their numbers in the journal record; None: 0 … n − 1.
        """
        if ids is not None:
            fresh = self.seen.add(ids)
            if not fresh.all():
                self.repeats += len(fresh) - int(fresh.sum())
                time, price, size, kind = time[fresh], price[fresh], size[fresh], kind[fresh]
                rows = np.flatnonzero(fresh) if rows is None else rows[fresh]
        folded = self.book.fold(time, price, size, kind, self._offset)
        if len(folded.late) or len(folded.revising):
            kind = kind.copy()
            kind[folded.late] |= BACKFILL
            kind[folded.revising] |= BACKFILL
        self.desk.trades(time, price, kind, rows)
        late = folded.late.tolist()
        cursor = 0
        for row, closed in groupby(folded.closed.tolist(), key=lambda c: c[0]):
            while late and late[0] < row:
                self._late(late.pop(0), time, price, size)
            self.desk.fill(cursor, row)
            for candle in closed:
                self._candle(candle, int(time[row]))
            cursor = row
        self.desk.fill(cursor, len(time))
        for row in late:
            self._late(row, time, price, size)

    def gap(self, start: int, end: int, *, filled: bool) -> None:
        """Mark (start, end] as possibly missing, or as complete again."""
        mark = self.book.gap_filled if filled else self.book.gap
        for candle in mark(start, end, self._offset).closed.tolist():
            self._candle(candle, self.book.watermark)

    def _late(self, row: int, time: Ints, price: Ints, size: Ints) -> None:
        m = self.market
        late = LateTick(int(time[row]), int(price[row]), int(size[row]), m.price_scale, m.size_scale)
        self._emit(CANDLES, late)

    def _candle(self, closed: tuple[int, ...], now: int) -> None:
        candle = candle_event(closed, self.market)
        self._emit(CANDLES, candle)
        if candle.revision == 0:
            self.desk.candle(candle, now, closed[0])

    def respecify(self, market: Market) -> None:
        """Take a changed specification; grown scales rescale the state exactly. Raises `CommandError`."""
        old = self.market
        for field in FIXED:
            if getattr(old, field) != getattr(market, field):
                raise CommandError(
                    f"{market.key}: {field} can't change from {getattr(old, field)!r} to "
                    f"{getattr(market, field)!r}; record it as a market of another name"
                )
        grown(old.cash_scale, market.cash_scale, f"{market.key}: cash_scale")
        price = grown(old.price_scale, market.price_scale, f"{market.key}: price_scale")
        size = grown(old.size_scale, market.size_scale, f"{market.key}: size_scale")
        self.book.rescale(price, size)
        self.desk.rescale(market)
        self.market = market

    def state(self) -> TapeState:
        return TapeState(self.market, self.book.state(), self.seen.ranges, self.repeats, self.desk.state())

    @classmethod
    def restore(cls, state: TapeState, strategies: Strategies) -> "Tape":
        tape = cls(state.market, strategies)
        tape.book = CandleBook.restore(state.book)
        tape.seen, tape.repeats = SeenIds(state.seen), state.repeats
        tape.desk = Desk.restore(state.market, state.desk, strategies)
        return tape


def check_specification(market: Market) -> None:
    """Raises `CommandError` naming the field that no market can have."""
    limits = {
        "price_scale": (0, SCALE_MAX), "size_scale": (0, SCALE_MAX), "cash_scale": (0, SCALE_MAX),
        "multiplier_scale": (0, SCALE_MAX),
        "price_step": (1, 2**53), "size_step": (1, 2**53), "min_size": (1, 2**53), "multiplier": (1, 2**53),
        "grace_ms": (0, 3_600_000), "horizon_min": (0, 10_080), "fee": (0, E8 - 1), "slippage": (0, E8 - 1),
    }  # fmt: skip
    for field, (low, high) in limits.items():
        value = getattr(market, field)
        if not low <= value <= high:
            raise CommandError(f"market {market.key}: {field} is {value}, it must be from {low} to {high}")
