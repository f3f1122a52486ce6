"""Replay into a fresh home: the journal copied, whole or a range of it, and folded again without Faust.

With bots given here, the recorded bot commands are left out, and each given bot is created and started right
behind the specification of its market: a first backtest, over the same path as a live run.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from infra.commands.given import RefusedError, params_of, sizing_of
from infra.commands.manager import BotSpec, Signed, create_command
from projections.fold.pipeline import Pipeline, linked
from projections.replay import replay
from projections.strategies.code import Strategies
from streams.codec import DAMAGED, UndecodableError, decode_input, encode, input_of
from streams.events import (
    Bars,
    Clock,
    Command,
    Feed,
    Gap,
    GapFilled,
    JournalEvent,
    Market,
    RegisterBot,
    Rules,
    TickBatch,
    WarmedCommand,
)
from streams.genesis import genesis
from streams.journal import command_entry, genesis_at, genesis_entry, new_home
from streams.log import Log
from streams.records import Entry, Input, Position, Record, partition_of, time_ns
from streams.snapshots import SnapshotWriter
from streams.ticks import Ticks, pack, trades, unpack
from streams.topics import JOURNAL, SNAPSHOTS

ENTRIES_PER_APPEND = 256
WHO = "replay"


class Range(NamedTuple):
    """Event times in ns: `after` exclusive, `until` inclusive; None: no bound."""

    after: int | None = None
    until: int | None = None

    def holds(self, time_ns: int) -> bool:
        return (self.after is None or time_ns > self.after) and (self.until is None or time_ns <= self.until)


WHOLE = Range()


class Copied(NamedTuple):
    """records: read; ticks: copied; left_out: records that hold no event, and so no time within a range."""

    records: int = 0
    ticks: int = 0
    left_out: int = 0


def copy_journal(
    source: Log,
    target: Log,
    strategies: Strategies,
    span: Range = WHOLE,
    bots: Sequence[BotSpec] | None = None,
    progress: Callable[[int], None] = lambda records: None,
) -> Copied:
    """Append the journal of `source` to the empty log `target`, which has as many partitions.

    Each partition of the copy begins with a genesis that names its source, and the chain there.
    `bots` None: with the recorded bots. A whole copy is the same bytes at the same offsets, those that nobody
    can decode too; in a range they are left out and each source is numbered anew. Raises `RefusedError`,
    `LookupError` and `StrategyParameterError` for bots that cannot be.
    """
    given = _Given(strategies, bots or (), source)
    records = ticks = left_out = 0
    home = new_home()
    for partition in range(source.partitions):
        stop = source.highwater(JOURNAL, partition)
        begun = _genesis(source, partition, stop, home)
        target.append([begun, *(given.registrations() if not partition else ())])
        cutter = _Cutter(partition, span, with_commands=bots is None)
        waiting: list[Entry] = []
        for record in source.read(JOURNAL, partition, 1, stop):  # the copy has a genesis of its own
            for entry, rows in cutter.entries(record):
                waiting.append(entry)
                ticks += rows
                waiting.extend(given.creations(entry))
            records += 1
            progress(records)
            if len(waiting) >= ENTRIES_PER_APPEND:
                target.append(waiting, sync=False)
                waiting = []
        target.append([*waiting, *cutter.last()])
        left_out += cutter.left_out
    return Copied(records, ticks, left_out)


def _genesis(source: Log, partition: int, stop: int, home: str) -> Entry:
    begun, chain = genesis_at(source, partition), bytes(32)
    for record in source.read(JOURNAL, partition, 0, stop):
        chain = linked(chain, record)
    copy = genesis(
        home, begun.partitions, rules=begun.rules, source_home=begun.home, source_sha256=chain.hex()
    )
    return genesis_entry(copy, partition)


def fold_home(
    log: Log, strategies: Strategies, progress: Callable[[int], None] = lambda records: None
) -> list[Pipeline]:
    """Fold every journal partition of `log` from its beginning, and append what follows from it."""
    pipelines = [Pipeline(partition, strategies) for partition in range(log.partitions)]
    folded = 0
    for pipeline in pipelines:
        waiting: list[Entry] = []
        for _record, derived in replay(pipeline, log):
            waiting.extend(
                Entry(item.topic, item.key, item.value, item.time_ms, pipeline.partition) for item in derived
            )
            folded += 1
            progress(folded)
            if len(waiting) >= ENTRIES_PER_APPEND:
                log.append(waiting, sync=False)
                waiting = []
        log.append(waiting)
        if pipeline.applied >= 0:
            _write_snapshot(log, pipeline)
    return pipelines


def _write_snapshot(log: Log, pipeline: Pipeline) -> None:
    """So that an engine goes on behind what is folded here."""

    async def send(key: bytes, value: bytes) -> Awaitable[Position]:
        position = log.append([Entry(SNAPSHOTS, key, value, 0, pipeline.partition)])[0]

        async def acknowledged() -> Position:
            return position

        return acknowledged()

    asyncio.run(SnapshotWriter(send, epoch=0, former=None).write(pipeline.applied, pipeline.snapshot()))


class _Cutter:
    """The journal records of one partition that are within a range."""

    def __init__(self, partition: int, span: Range, *, with_commands: bool) -> None:
        self._partition = partition
        self._span = span
        self._with_commands = with_commands
        self._held: list[Entry] = []
        """Commands that are kept if a kept trade comes after them."""
        self._sequences: dict[str, int] = defaultdict(int)
        self._due: dict[str, tuple[int, int]] = {}
        self._passed: set[str] = set()
        self._time_ms = 0
        self.left_out = 0
        """Records that hold no event: only a whole copy has a place for them."""

    def entries(self, record: Record) -> Iterator[tuple[Entry, int]]:
        """What is kept of a record, after the commands held back for it, each with its trades."""
        whole, self._time_ms = self._span == WHOLE, record.time_ms
        try:
            entry = input_of(record)
            rows = _trades(entry.event)
        except ValueError:
            self.left_out += not whole
            if whole:
                yield _copy(record), 0
            return
        if isinstance(entry.event, Bars) and entry.event.warm_up:
            if whole and self._with_commands:
                yield _copy(record), 0  # for a command, which is there
        elif isinstance(entry.event, Command):
            yield from self._command(record, entry, whole=whole)
        elif whole:
            yield _copy(record), rows
        elif self._is_new(entry):
            yield from self._within(record, entry)

    def _command(self, record: Record, entry: Input, *, whole: bool) -> Iterator[tuple[Entry, int]]:
        if not self._with_commands:
            return
        # registrations give ids, which a range does not change
        if whole or isinstance(entry.event, RegisterBot):
            yield _copy(record), 0
            return
        if isinstance(entry.event, WarmedCommand):  # the candles that it was warmed on are not in a range
            entry = replace(entry, event=replace(entry.event, warm_up="", warm_candles=0))
        self._held.append(_copy(record, encode(entry)))

    def _within(self, record: Record, entry: Input) -> Iterator[tuple[Entry, int]]:
        kept = self._kept(entry.event)
        if kept is None:
            return
        if isinstance(kept, TickBatch):
            yield from ((held, 0) for held in self._held)
            self._held = []
        renumbered = Input(entry.source, 0, self._sequences[entry.source], kept)
        self._sequences[entry.source] += 1
        yield _copy(record, encode(renumbered)), _trades(kept)

    def _is_new(self, entry: Input) -> bool:
        """False for what the fold ignores: numbered anew, a repeat would count."""
        if not entry.source:
            return True
        place = (entry.epoch, entry.sequence)
        if place < self._due.get(entry.source, (-1, 0)):
            return False
        self._due[entry.source] = (entry.epoch, entry.sequence + 1)
        return True

    def last(self) -> Iterator[Entry]:
        """The promise that markets whose trades go on behind the range are complete up to its end."""
        if self._passed:
            assert self._span.until is not None
            keys = tuple(sorted(self._passed))
            clock = encode(Input(WHO, 0, 0, Clock(time=self._span.until, markets=keys)))
            yield Entry(JOURNAL, keys[0].encode(), clock, self._time_ms, self._partition)

    def _kept(self, event: JournalEvent) -> JournalEvent | None:
        match event:
            case Market() | Rules() | Bars():
                return event
            case Feed(since=since):
                return event if self._span.holds(since) else None
            case TickBatch():
                return self._rows(event)
            case Clock(time=time):
                return event if self._span.holds(time) else None
            case Gap() | GapFilled():
                return event if self._span.holds(event.end) else None
            case _:
                return None

    def _rows(self, batch: TickBatch) -> TickBatch | None:
        ticks = unpack(batch)
        inside = np.ones(ticks.rows, np.bool_)
        if self._span.after is not None:
            inside &= ticks.time > self._span.after
        if self._span.until is not None:
            inside &= ticks.time <= self._span.until
            behind = np.unique(ticks.market[ticks.time > self._span.until]).tolist()
            self._passed.update(batch.markets[index].key for index in behind)
        if not inside.any():
            return None
        kept = Ticks(
            ticks.market[inside], ticks.kind[inside], ticks.time[inside], ticks.price[inside],
            ticks.size[inside], None if ticks.id is None else ticks.id[inside],
        )  # fmt: skip
        return pack(batch.markets, kept, received=batch.received)


class _Given:
    """Bots given for this replay, in their order bots 1, 2, …"""

    def __init__(self, strategies: Strategies, bots: Sequence[BotSpec], source: Log) -> None:
        self._strategies = strategies
        self._bots = dict(enumerate(bots, 1))
        self._partitions = source.partitions

    def registrations(self) -> list[Entry]:
        return [
            command_entry(
                RegisterBot(request=f"replay:register:{bot_id}", who=WHO, at=0, market=bot.market),
                bot.market,
                0,
                0,
            )
            for bot_id, bot in self._bots.items()
        ]

    def creations(self, entry: Entry) -> list[Entry]:
        """Commands that create the bots of a market, right behind its first specification."""
        market = _market_of(entry) if self._bots else None
        if market is None:
            return []
        mine = {bot_id: bot for bot_id, bot in self._bots.items() if bot.market == market.key}
        partition = partition_of(market.key.encode(), self._partitions)
        entries: list[Entry] = []
        for bot_id, bot in mine.items():
            del self._bots[bot_id]
            signed = Signed(request=f"replay:create:{bot_id}", who=WHO, at=time_ns(entry.time_ms))
            code = self._strategies.latest(bot.strategy)
            command = create_command(bot, market, code, bot_id, signed, start=True)
            entries.append(command_entry(command, market.key, partition, 0))
        return entries


def _trades(event: object) -> int:
    """Raises `ValueError` for a batch that cannot be unpacked."""
    return trades(unpack(event).kind) if isinstance(event, TickBatch) else 0


def _market_of(entry: Entry) -> Market | None:
    try:
        event = decode_input(entry.value).event
    except UndecodableError:
        return None
    return event if isinstance(event, Market) else None


def _copy(record: Record, value: bytes | None = None) -> Entry:
    if record.damaged:
        value = DAMAGED.encode()  # in its place: its bytes must not look sound in the copy
    return Entry(JOURNAL, record.key, value or record.value, record.time_ms, record.partition, record.headers)


def bot_of(text: str, markets: Mapping[str, Market]) -> BotSpec:
    """A bot as text: `sma_cross fast=7 slow=31 timeframe=1m cash=100000 [size=equity:1] [short=true]
    [market=venue:symbol]`; the rest are parameters. Raises `RefusedError`.
    """
    strategy, *pairs = text.split() or [""]
    given = params_of(pairs)
    for needed in ("timeframe", "cash"):
        if not strategy or needed not in given:
            raise RefusedError(
                f"bot {text!r}: {needed if strategy else 'strategy'} is missing; write it as"
                " 'sma_cross fast=7 slow=31 timeframe=1m cash=100000'"
            )
    market = given.pop("market", next(iter(markets)) if len(markets) == 1 else None)
    if market not in markets:
        raise RefusedError(
            f"bot {text!r}: market={market} is not in the journal; name one: {', '.join(sorted(markets))}"
            if market
            else f"bot {text!r}: several markets are recorded, name one: market={sorted(markets)[0]}"
        )
    short = str(given.pop("short", "false")).lower()
    if short not in ("true", "false"):
        raise RefusedError(f"bot {text!r}: short={short} must be true or false")
    venue, _, symbol = market.partition(":")
    return BotSpec(
        strategy, venue, symbol, given.pop("timeframe"), given.pop("cash"),
        sizing=sizing_of(given.pop("size", "equity:1")), short=short == "true", params=given,
    )  # fmt: skip
