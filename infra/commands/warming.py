"""The candles before a command, put into the journal for the strategy to step through.

The stream of candles ends where the fold has come to; what the journal holds behind that is folded here, for
its candles alone. So the first record of candles leaves out none that closed before it, and from that record
on the fold keeps what closes (`projections.fold.warm`).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias
from uuid import uuid4

from infra.commands.journal_view import newest
from projections.fold.warm import CANDLES_MAX
from projections.history import END, NONE, Rows, bars_of, closed, joined, rows_of
from projections.replay import replay
from streams.events import Timeframe, named_above
from streams.journal import bars_entry
from streams.log import Log
from streams.records import Position, Record, partition_of
from streams.topics import CANDLES

Warm: TypeAlias = int | Literal["all"] | None
"""How many candles to warm on, 0 for none; None: as many as the strategy needs."""
RECORDS_AT_ONCE = 1024


class WarmUp(NamedTuple):
    """Candles in the journal, under a name for their command; `needed`: for indicators that are those of a
    bot that saw all before them too."""

    name: str = ""
    candles: int = 0
    needed: int = 0


def warm_up(
    log: Log, market: str, needs: Mapping[Timeframe, int], warm: Warm, time_ms: int
) -> dict[Timeframe, WarmUp]:
    """Append the market's newest candles; nothing for 0. `needs`: by timeframe, the bot's own first; of the
    others it is always as many as they need, or all."""
    frames: list[Timeframe] = list(needs)
    own, higher = frames[0], frames[1:]
    count = needs[own] if warm is None else CANDLES_MAX if warm == "all" else warm
    if not count:
        return {timeframe: WarmUp(needed=needed) for timeframe, needed in needs.items()}
    counts: dict[Timeframe, int] = {own: count}
    counts.update((above, CANDLES_MAX if warm == "all" else needs[above]) for above in higher)
    behind = _Behind(log, market, needs)  # first: the stream holds what the snapshot does
    rows = _newest(log, market, counts, behind.candles())
    name = uuid4().hex
    names = {own: name} | {timeframe: named_above(name, timeframe) for timeframe in higher}

    def append(timeframe: Timeframe, rows: Rows) -> list[Position]:
        return log.append(
            bars_entry(bars, behind.partition, time_ms)
            for bars in bars_of(rows, market, timeframe, names[timeframe])
        )

    firsts = [append(timeframe, rows[timeframe])[0].offset for timeframe in frames]
    warmed: dict[Timeframe, WarmUp] = {}
    for timeframe, first in zip(frames, firsts, strict=True):
        known, more = rows[timeframe], behind.candles(first)[timeframe]
        more = more[more[:, END] > (known[-1, END] if len(known) else 0)]
        if len(more):
            append(timeframe, more)
        warmed[timeframe] = WarmUp(names[timeframe], len(known) + len(more), needs[timeframe])
    return warmed


def _newest(
    log: Log, market: str, counts: Mapping[Timeframe, int], behind: Mapping[Timeframe, Rows]
) -> dict[Timeframe, Rows]:
    """So many, and of all timeframes together not more than a market keeps."""
    rows: dict[Timeframe, Rows] = {}
    for timeframe, count in counts.items():
        most = min(count, CANDLES_MAX - sum(map(len, rows.values())))
        found = joined(closed(log, market, timeframe, count=most), behind[timeframe])
        rows[timeframe] = found[max(len(found) - most, 0) :]
    return rows


class _Behind:
    """Candles of the journal that its newest snapshot has not folded."""

    def __init__(self, log: Log, market: str, timeframes: Iterable[Timeframe]) -> None:
        self.partition = partition_of(market.encode(), log.partitions)
        self._log, self._market = log, market
        self._found: dict[Timeframe, list[Rows]] = {timeframe: [NONE] for timeframe in timeframes}
        self._pipeline = newest(log, self.partition, bots=False)

    def candles(self, stop: int | None = None) -> Mapping[Timeframe, Rows]:
        """Those of the records before offset `stop`."""
        derived = self._derived(stop)
        while records := list(islice(derived, RECORDS_AT_ONCE)):
            for timeframe, found in self._found.items():
                found.append(rows_of(records, self._market, timeframe))
        return dict(zip(self._found, (joined(*found) for found in self._found.values()), strict=True))

    def _derived(self, stop: int | None) -> Iterator[Record]:
        for record, derived in replay(self._pipeline, self._log, stop):
            for item in derived:
                if item.topic == CANDLES:
                    yield Record(CANDLES, self.partition, record.offset, item.time_ms, item.key, item.value)
