"""The candles before a command, put into the journal for the strategy to step through.

The stream of candles ends where the fold has come to; what the journal holds behind that is folded here, for
its candles alone. So the first record of candles leaves out none that closed before it, and from that record
on the fold keeps what closes (`projections.fold.warm`).
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias
from uuid import uuid4

from infra.commands.journal_view import newest
from projections.fold.warm import CANDLES_MAX
from projections.history import END, NONE, Rows, bars_of, closed, joined, rows_of
from projections.replay import replay
from streams.events import Timeframe
from streams.journal import bars_entry
from streams.log import Log
from streams.records import Position, Record, partition_of
from streams.topics import CANDLES

Warm: TypeAlias = int | Literal["all"] | None
"""How many candles to warm on, 0 for none; None: as many as the strategy needs."""


class WarmUp(NamedTuple):
    """Candles in the journal, under a name for their command; `needed`: for indicators that are those of a
    bot that saw all before them too."""

    name: str = ""
    candles: int = 0
    needed: int = 0


def warm_up(log: Log, market: str, timeframe: Timeframe, needed: int, warm: Warm, time_ms: int) -> WarmUp:
    """Append the market's newest candles; nothing for 0."""
    count = needed if warm is None else CANDLES_MAX if warm == "all" else warm
    if not count:
        return WarmUp(needed=needed)
    behind = _Behind(log, market, timeframe)  # first: the stream holds what the snapshot does
    rows = joined(closed(log, market, timeframe, count=count), behind.candles())[-count:]
    name = uuid4().hex

    def append(rows: Rows) -> list[Position]:
        return log.append(
            bars_entry(bars, behind.partition, time_ms) for bars in bars_of(rows, market, timeframe, name)
        )

    first = append(rows)[0]
    more = behind.candles(first.offset)
    more = more[more[:, END] > (rows[-1, END] if len(rows) else 0)]
    if len(more):
        append(more)
    return WarmUp(name, len(rows) + len(more), needed)


class _Behind:
    """Candles of the journal that its newest snapshot has not folded."""

    def __init__(self, log: Log, market: str, timeframe: str) -> None:
        self.partition = partition_of(market.encode(), log.partitions)
        self._log, self._market, self._timeframe = log, market, timeframe
        self._pipeline = newest(log, self.partition, bots=False)

    def candles(self, stop: int | None = None) -> Rows:
        """Those of the records that follow, before offset `stop`."""
        return joined(NONE, rows_of(self._derived(stop), self._market, self._timeframe))

    def _derived(self, stop: int | None) -> Iterator[Record]:
        for record, derived in replay(self._pipeline, self._log, stop):
            for item in derived:
                if item.topic == CANDLES:
                    yield Record(CANDLES, self.partition, record.offset, item.time_ms, item.key, item.value)
