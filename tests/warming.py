"""A journal that is written while it is folded, with bots that are warmed on what was folded of it."""

from collections.abc import Iterable

import numpy as np

from projections.fold.bots import Group
from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from projections.history import BARS_MAX, END, Rows, bars_of, joined, rows_of
from projections.strategies.code import Strategies
from streams.codec import encode
from streams.events import Bars, Command, JournalEvent, Market, Timeframe
from streams.records import Input, Record
from streams.topics import CANDLES, JOURNAL
from tests.journal import batch, begun


class Live:
    """The fold of one market, record by record."""

    def __init__(self, market: Market, strategies: Strategies) -> None:
        self.market, self.strategies = market, strategies
        self.pipeline = Pipeline(0, strategies)
        self.journal: list[Record] = []
        self.derived: list[Derived] = []
        self.minutes = 0
        self._sequence = 0
        self._fold(begun())
        self.give(market)

    def give(self, *events: JournalEvent) -> list[Derived]:
        """Append events, each a record; returns what followed."""
        made: list[Derived] = []
        for event in events:
            ours = isinstance(event, Command | Bars)
            entry = Input("", 0, 0, event) if ours else Input("tester", 1, self._sequence, event)
            self._sequence += not ours
            offset, key = len(self.journal), self.market.key.encode()
            made += self._fold(Record(JOURNAL, 0, offset, 1_000 + offset, key, encode(entry)))
        return made

    def trade(self, prices: Iterable[int]) -> list[Derived]:
        """A record with a trade in each of the next minutes, which closes the minute before."""
        first = self.minutes
        rows = [(60 * n + 1, price, 1 + n % 7) for n, price in enumerate(prices, first)]
        self.minutes += len(rows)
        return self.give(batch(self.market, rows)) if rows else []

    def restart(self) -> None:
        """Go on from a snapshot, as after a kill."""
        self.pipeline, snapshot = Pipeline(0, self.strategies), self.pipeline.snapshot()
        self.pipeline.restore(snapshot)

    def candles(self, timeframe: str) -> Rows:
        """What has closed so far."""
        topic = [item for item in self.derived if item.topic == CANDLES]
        stored = [Record(CANDLES, 0, n, 0, item.key, item.value) for n, item in enumerate(topic)]
        return joined(rows_of(stored, self.market.key, timeframe))

    def bars(self, timeframe: Timeframe, count: int | None, name: str, size: int = BARS_MAX) -> list[Bars]:
        """The newest candles, `size` a record; all for None."""
        rows = self.candles(timeframe)
        rows = rows if count is None else rows[max(len(rows) - count, 0) :]
        parts = [rows[at : at + size] for at in range(0, max(len(rows), 1), size)]
        return [bars for part in parts for bars in bars_of(part, self.market.key, timeframe, name)]

    def lane(self, bot_id: int) -> tuple[bytes, float]:
        """The bits of a bot's indicators after its last step, and its target."""
        book = self.pipeline._tapes[self.market.key].bots
        group = book.group_of(book.bots[bot_id])
        assert isinstance(group, Group)
        return group._lanes.values[group.rows[bot_id]].tobytes(), group.target(bot_id)

    def _fold(self, record: Record) -> list[Derived]:
        self.journal.append(record)
        made = self.pipeline.fold(record).derived
        self.derived += made
        return made


def candles_in(bars: Iterable[Bars]) -> int:
    return sum(len(one.timestamp) for one in bars)


def wander(seed: int, count: int) -> list[int]:
    """Prices that often stand still."""
    random = np.random.default_rng(seed)
    moves = random.integers(-6, 7, count) * (random.random(count) < random.choice([0.2, 0.6, 1.0]))
    return np.maximum(1_000 + np.cumsum(moves), 1).tolist()


def ends_of(bars: Iterable[Bars]) -> list[int]:
    return [end for one in bars for end in one.timestamp]


def last_end(rows: Rows) -> int:
    return int(rows[-1, END])
