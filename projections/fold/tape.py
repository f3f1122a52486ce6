"""One market of a partition: its candles and its bots, in the order of the journal.

The order within a record, row by row, is the heart of "live equals backtest":

1. a row that closes candles closes them (1m … 1d), and each steps the bots of its timeframe by bot id; those
   that read higher timeframes step behind all candles with that end;
2. the row fills orders that were decided at an earlier row.

So the closing trade never fills what it decided, and a strategy never sees a candle that is not closed.
"""

from collections.abc import Iterable
from itertools import groupby

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from projections.fold import desk
from projections.fold.book import BookState, BotBook
from projections.fold.candles import CandleBook, candle_event
from projections.fold.kernel import SILENCE_MAX
from projections.fold.matching import fill_waiting
from projections.fold.seen_ids import SeenIds, SeenState
from projections.fold.specification import check_change
from projections.fold.stale import vouch
from projections.fold.turn import CommandError, Rows, Turn
from projections.strategies.code import Strategies
from streams.events import (
    BACKFILL,
    MINUTE_NS,
    Feed,
    Gap,
    GapFilled,
    IdsReset,
    IdsReused,
    LateTick,
    Market,
    Repeats,
)
from streams.feeds import Feeds, KnownFeed
from streams.gaps import Gaps, KnownGap
from streams.ticks import I8, U1, Ids, trade_id
from streams.topics import CANDLES, SYSTEM

CLOSING_MAX = 10_080
"""So many minutes of a market one record may close: those of a week, about 2.5 MB of candles."""


class TapeState(Struct, frozen=True, array_like=True):
    """Everything of a `Tape`, canonical: the same history gives the same bytes."""

    market: Market
    candles: bytes
    seen: SeenState
    repeats: int
    bots: BookState
    gaps: list[KnownGap]
    source: str
    feeds: list[KnownFeed]


class Tape:
    """State of one market: `candles`, `bots`, `gaps`, `feeds`, and which trades it has `seen`."""

    def __init__(self, market: Market, strategies: Strategies) -> None:
        self.market = market
        self.candles = CandleBook(
            closed=market.closed,
            grace_ns=market.grace_ms * 1_000_000,
            horizon_ns=market.horizon_min * MINUTE_NS,
        )
        self.bots = BotBook(market.key, strategies)
        self.seen = SeenIds()
        self.repeats = 0
        self.gaps = Gaps()
        self.feeds = Feeds()

    def fold_rows(
        self,
        turn: Turn,
        time: I8,
        price: I8,
        size: I8,
        kind: U1,
        ids: Ids | None,
        numbers: I8 | None = None,
    ) -> None:
        """Fold rows of this market, shape (n,) each, in order, at the market's scales.

        `numbers` are those of the rows in the journal record; None: 0 … n − 1.
        """
        if ids is not None:
            fresh = self._fresh(turn, time, price, size, ids)
            if not fresh.all():
                time, price, size, kind = time[fresh], price[fresh], size[fresh], kind[fresh]
                numbers = np.flatnonzero(fresh) if numbers is None else numbers[fresh]
        if int(time.max(initial=0)) - turn.watermark > CLOSING_MAX * MINUTE_NS:
            self._check_silence(time, kind)
        self._rows_of(turn, time, kind)
        folded = self.candles.fold(time, price, size, kind, turn.offset)
        if len(folded.late) or len(folded.revising):
            kind = kind.copy()
            kind[folded.late] |= BACKFILL
            kind[folded.revising] |= BACKFILL
        rows = Rows(time, price, kind, numbers)
        late = folded.late.tolist()
        cursor = 0
        for row, closed in groupby(folded.closed.tolist(), key=lambda c: c[0]):
            while late and late[0] < row:
                self._late(turn, late.pop(0), time, price, size)
            fill_waiting(turn, self.bots, rows, cursor, row)
            self._candles(turn, closed, time)
            cursor = row
        fill_waiting(turn, self.bots, rows, cursor, len(time))
        for row in late:
            self._late(turn, row, time, price, size)

    def _fresh(self, turn: Turn, time: I8, price: I8, size: I8, ids: Ids) -> npt.NDArray[np.bool_]:
        """Which rows are no repeats, shape (n,). That ids were used again is told once a record, unless they
        began anew."""
        market, account = self.market, turn.account
        found = self.seen.add(ids, time, price, size, (market.price_scale, market.size_scale))
        repeats = len(ids) - int(found.fresh.sum())
        self.repeats += repeats
        account.repeats += repeats
        if repeats:
            turn.emit(SYSTEM, Repeats(trades=repeats))
        account.ids_reused += found.reused
        account.undecided += found.undecided
        if found.reused and not 0 <= self.seen.since < time[found.first_reused]:
            row = found.first_reused
            told = IdsReused(trades=found.reused, venue_id=trade_id(ids, row), timestamp=int(time[row]))
            turn.emit(SYSTEM, told)
        return found.fresh

    def take(self, turn: Turn, event: Feed | Gap | GapFilled | IdsReset) -> None:
        """Take what a source says of its data. Raises `CommandError`."""
        if isinstance(event, Feed):
            self.feeds.note(event)
            vouch(turn, self.bots, live=self.feeds.live)
        elif isinstance(event, IdsReset):
            self.seen.begin_anew(event.since)
        else:
            self._gap(turn, event)

    def _rows_of(self, turn: Turn, time: I8, kind: U1) -> None:
        """Rows have come from the record's source, whose word on this market counts from here on."""
        if turn.source == self.feeds.source and not self.feeds.known:
            return
        live = kind & BACKFILL == 0
        if live.any():
            self.feeds.rows(turn.source, int(time[live].max()))
            vouch(turn, self.bots, live=self.feeds.live)

    def _gap(self, turn: Turn, event: Gap | GapFilled) -> None:
        """Mark a range as possibly missing, or as complete again. Raises `CommandError`."""
        try:
            self.gaps.note(event)
        except ValueError as error:
            raise CommandError(str(error)) from error
        mark = self.candles.gap if isinstance(event, Gap) else self.candles.gap_filled
        for candle in mark(event.start, event.end, turn.offset).closed.tolist():
            turn.emit(CANDLES, candle_event(candle, self.market))

    def _check_silence(self, time: I8, kind: U1) -> None:
        minutes = self.candles.closing(time, kind)
        if minutes > CLOSING_MAX:
            way_out = "append clock records of at most a day each before it"
            if minutes * MINUTE_NS > SILENCE_MAX:
                way_out = "that is more than five years: if the time is right, give the market a new journal"
            raise CommandError(
                f"market {self.market.key}: the record would close {minutes} minutes, and may close"
                f" {CLOSING_MAX}; {way_out}"
            )

    def _late(self, turn: Turn, row: int, time: I8, price: I8, size: I8) -> None:
        late = LateTick(
            timestamp=int(time[row]),
            price=int(price[row]),
            size=int(size[row]),
            price_scale=self.market.price_scale,
            size_scale=self.market.size_scale,
        )
        turn.emit(CANDLES, late)

    def _candles(self, turn: Turn, told: Iterable[tuple[int, ...]], time: I8) -> None:
        """What a row closes and revises, in turn."""
        behind: list[desk.Behind] = []
        for one in told:
            candle = candle_event(one, self.market)
            if behind and behind[0].candle.timestamp < candle.timestamp:
                desk.all_closed(turn, self.bots, behind)
                behind = []
            cause = turn.emit(CANDLES, candle)
            if candle.revision:
                continue
            row = one[0]
            waits = desk.closed(turn, self.bots, candle, cause, int(time[row]), row)
            if waits is not None:
                behind.append(waits)
        desk.all_closed(turn, self.bots, behind)

    def respecify(self, market: Market) -> None:
        """Take a changed specification; grown scales rescale the state exactly. Raises `CommandError`."""
        old = self.market
        check_change(old, market)
        self.candles.rescale(
            10 ** (market.price_scale - old.price_scale), 10 ** (market.size_scale - old.size_scale)
        )
        self.bots.rescale(old, market)
        self.market = market

    def state(self, *, identities: bool = True) -> TapeState:
        """Without `identities` it is much smaller; they go back by themselves (`SeenIds.go_back`)."""
        return TapeState(
            self.market,
            self.candles.state(),
            self.seen.state() if identities else SeenState(),
            self.repeats,
            self.bots.state(),
            self.gaps.known,
            self.feeds.source,
            list(self.feeds.known.values()),
        )

    @classmethod
    def restore(cls, state: TapeState, strategies: Strategies) -> "Tape":
        tape = cls(state.market, strategies)
        tape.candles = CandleBook.restore(state.candles)
        tape.seen, tape.repeats = SeenIds(state.seen), state.repeats
        tape.gaps = Gaps(state.gaps)
        tape.feeds = Feeds(state.source, state.feeds)
        tape.bots = BotBook.restore(state.market.key, state.bots, strategies)
        tape.bots.live = tape.feeds.live
        return tape
