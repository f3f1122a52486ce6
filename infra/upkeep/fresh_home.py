"""Replay into a fresh home: the journal copied, whole or a range of it, and folded again without Faust.

With bots given here, the recorded bot commands are left out, and each given bot is created and started right
behind the specification of its market, or where its range begins: a first backtest, over the same path as a
live run.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from infra.commands.given import RefusedError, params_of, sizing_of, timeframe_of
from infra.commands.manager import BotSpec, Signed, compiled, create_command
from infra.present.values import iso
from infra.upkeep.before_range import WHOLE, Before, Edge, Range, frames_of, look_before
from infra.upkeep.cutting import WHO, Creations, Cutter, warmed_entries
from projections.fold.pipeline import Pipeline, linked
from projections.history import NONE, Rows
from projections.replay import replay
from projections.strategies.code import Strategies
from streams.events import CreateBot, Market, RegisterBot, Timeframe
from streams.genesis import genesis
from streams.journal import command_entry, genesis_at, genesis_entry, new_home
from streams.log import Log
from streams.records import Entry, Position, Record, partition_of, time_ns
from streams.snapshots import SnapshotWriter
from streams.topics import JOURNAL, SNAPSHOTS

ENTRIES_PER_APPEND = 256


class Copied(NamedTuple):
    """records: read; ticks: copied; left_out: records that hold no event, and so no time within a range."""

    records: int = 0
    ticks: int = 0
    left_out: int = 0


class Plan(NamedTuple):
    """A copy that can be made: nothing of it is refused any more."""

    span: Range
    warm: bool
    befores: Sequence[Before]
    given: "_Given | None"


def plan_copy(
    source: Log,
    strategies: Strategies,
    span: Range = WHOLE,
    bots: Sequence[BotSpec] | None = None,
    *,
    warm: bool = True,
    progress: Callable[[int], None] = lambda records: None,
) -> Plan:
    """See whether a journal can be copied so, before anything is written.

    `bots` None: with the recorded bots. Without `warm` the bots of a range begin cold. Raises `RefusedError`,
    `LookupError` and `StrategyParameterError` for bots that cannot be and for a range without trades.
    """
    given = None if bots is None else _Given(strategies, bots, source.partitions)
    if span == WHOLE and given is None:
        return Plan(span, warm, [Before()] * source.partitions, None)
    befores: list[Before] = []
    for partition in range(source.partitions):
        frames, above = (
            frames_of(source, partition, strategies) if given is None else (given.frames(partition), {})
        )
        pipeline = Pipeline(partition, strategies, bots=False) if warm and span.after is not None else None
        before = look_before(source, partition, span, frames, pipeline, progress)
        befores.append(before._replace(above=above))
    if span != WHOLE and not any(before.traded for before in befores):
        raise RefusedError(f"no trade of the journal lies {_said(span)}: nothing would be replayed")
    if given is not None:
        given.check(befores, span)
    return Plan(span, warm, befores, given)


def copy_journal(
    source: Log, target: Log, plan: Plan, progress: Callable[[int], None] = lambda records: None
) -> Copied:
    """Append the journal of `source` to the empty log `target`, which has as many partitions.

    Each partition of the copy begins with a genesis that names its source, and the chain there. A whole copy
    is the same bytes at the same offsets, those that nobody can decode too; in a range they are left out and
    each source is numbered anew.
    """
    records = ticks = left_out = 0
    home = new_home()
    creations = None if plan.given is None else plan.given.creations()
    for partition in range(source.partitions):
        stop = source.highwater(JOURNAL, partition)
        begun = _genesis(source, partition, stop, home)
        target.append([begun, *(plan.given.registrations() if plan.given and not partition else ())])
        cutter = Cutter(partition, plan.span, plan.befores[partition], creations, warm=plan.warm)
        waiting: list[Entry] = []
        for record in source.read(JOURNAL, partition, 1, stop):  # the copy has a genesis of its own
            for entry, rows in cutter.entries(record):
                waiting.append(entry)
                ticks += rows
            records += 1
            progress(records)
            if len(waiting) >= ENTRIES_PER_APPEND:
                target.append(waiting, sync=False)
                waiting = []
        target.append([*waiting, *cutter.last()])
        left_out += cutter.left_out
    return Copied(records, ticks, left_out)


def _said(span: Range) -> str:
    after = "" if span.after is None else f"after {iso(span.after)}"
    until = "" if span.until is None else f"up to {iso(span.until)}"
    return " and ".join(filter(None, (after, until)))


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


class _Given:
    """Bots given for this replay, in their order bots 1, 2, …"""

    def __init__(self, strategies: Strategies, bots: Sequence[BotSpec], partitions: int) -> None:
        self._bots = dict(enumerate(bots, 1))
        self._partitions = partitions
        self._codes = {bot.strategy: compiled(strategies, bot.strategy) for bot in bots}

    def frames(self, partition: int) -> dict[str, set[Timeframe]]:
        """The timeframes of the bots of a partition, by market."""
        frames: defaultdict[str, set[Timeframe]] = defaultdict(set)
        for bot in self._bots.values():
            if partition_of(bot.market.encode(), self._partitions) == partition:
                frames[bot.market] |= {timeframe_of(bot.timeframe), *self._codes[bot.strategy].higher}
        return frames

    def check(self, befores: Sequence[Before], span: Range) -> None:
        """Raises what `create_command` raises, and `RefusedError` for a market without trades within."""
        for bot_id, bot in self._bots.items():
            before = befores[partition_of(bot.market.encode(), self._partitions)]
            edge = before.edges.get(bot.market)
            market = before.markets.get(bot.market) if edge is None else edge.market
            if market is None:
                raise RefusedError(
                    f"market {bot.market} is not in the journal; `markets list` shows those that are"
                )
            self._command(bot_id, bot, market, 0)
            if span != WHOLE and bot.market not in before.traded:
                raise RefusedError(f"bot {bot_id}: no trade of {bot.market} lies {_said(span)}")

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

    def creations(self) -> Creations:
        """What gives the commands that create the bots of a market."""
        left = dict(self._bots)

        def create(market: Market, edge: Edge | None, at: Record) -> list[Entry]:
            mine = {bot_id: bot for bot_id, bot in left.items() if bot.market == market.key}
            entries: list[Entry] = []
            for bot_id, bot in mine.items():
                del left[bot_id]
                command = self._command(bot_id, bot, market, time_ns(at.time_ms))
                read: list[Timeframe] = [command.timeframe, *self._codes[bot.strategy].higher]
                rows: dict[Timeframe, Rows] = {
                    timeframe: NONE if edge is None else edge.candles[timeframe] for timeframe in read
                }
                entries += warmed_entries(command, market.key, rows, at)
            return entries

        return create

    def _command(self, bot_id: int, bot: BotSpec, market: Market, at: int) -> CreateBot:
        signed = Signed(request=f"replay:create:{bot_id}", who=WHO, at=at)
        return create_command(bot, market, self._codes[bot.strategy], bot_id, signed, start=True)


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
