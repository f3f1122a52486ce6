"""What a journal partition holds, for those who write commands into it: its markets and its bots.

Read from the newest snapshot of the fold and the records behind it, so that it takes no longer on a long log.
"""

import logging
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from projections.fold.pipeline import Pipeline
from projections.strategies.code import StrategyCode
from streams.codec import UndecodableError, decode_input
from streams.events import (
    BACKFILL,
    Clock,
    CreateBot,
    Event,
    Market,
    Params,
    ReconfigureBot,
    RegisterBot,
    StartBot,
    TickBatch,
)
from streams.journal import SOURCE_HEADER, TYPE_HEADER, JournalState, Reached, event_tag, scan
from streams.log import Log
from streams.records import Record, partition_of
from streams.snapshots import latest
from streams.ticks import NO_ID, unpack
from streams.topics import JOURNAL

logger = logging.getLogger(__name__)

WINDOW_RECORDS = 64
"""So many records at the end are looked at first."""


class KnownBot(NamedTuple):
    market: str
    strategy: str
    code_hash: str
    params: Params


class JournalView(Struct):
    """Specifications by market key, bots by id, and how many bots are registered (partition 0 only)."""

    markets: dict[str, Market]
    bots: dict[int, KnownBot]
    registered: int


class _NoCode:
    """Bots are looked at here and never stepped, so their code is not loaded."""

    def get(self, name: str, code_hash: str) -> StrategyCode | None:
        return None

    def latest(self, name: str) -> StrategyCode:
        raise LookupError(name)


def view(log: Log, partition: int) -> JournalView:
    """The partition as it stands at its highwater. Raises `LogError`."""
    pipeline = _newest(log, partition)
    seen = JournalView(
        {key: tape.market for key, tape in pipeline.tapes.items()},
        {
            bot.bot_id: KnownBot(key, bot.strategy, bot.code_hash, bot.params)
            for key, tape in pipeline.tapes.items()
            for bot in tape.desk.bots.values()
        },
        pipeline.registered,
    )
    for record in log.read(JOURNAL, partition, pipeline.applied + 1):
        _note(seen, record)
    return seen


def watermark(log: Log, key: str) -> int | None:
    """How far a market's time has come in the journal (ns), folded or not; None where it has no trade yet."""
    pipeline = _newest(log, partition_of(key.encode(), log.partitions))
    tape = pipeline.tapes.get(key)
    newest = tape.book.watermark if tape is not None else 0
    for record in log.read(JOURNAL, pipeline.partition, pipeline.applied + 1):
        newest = max(newest, _newest_row(record, key))
    return newest if newest > 0 else None


def import_place(log: Log, key: str, source: str) -> tuple[int, Market | None]:
    """From which offset an import must scan its market's partition, and the specification before that.

    A source that the newest snapshot does not know has written nothing before it; of one that it knows, the
    last tick batch says how far the file came.
    """
    pipeline = _newest(log, partition_of(key.encode(), log.partitions))
    tape, folded = pipeline.tapes.get(key), pipeline.sources.get(source)
    market = None if tape is None else tape.market
    if folded is None:
        return pipeline.applied + 1, market
    last = _last_batch(log, pipeline, source, folded.epoch)
    return (0, None) if last is None else (last, market)


def _last_batch(log: Log, pipeline: Pipeline, source: str, epoch: int) -> int | None:
    """The offset of a source's last folded tick batch, looked for in growing windows from the end.

    Only batches of the newest epoch count: what an older writer appended later is no position.
    """
    partition, stop, window = pipeline.partition, pipeline.applied + 1, WINDOW_RECORDS
    earliest = log.earliest(JOURNAL, partition)
    while stop > earliest:
        start = max(earliest, stop - window)
        mine = [r.offset for r in log.read(JOURNAL, partition, start, stop) if _is_batch(r, source, epoch)]
        if mine:
            return mine[-1]
        stop, window = start, 2 * window
    return None


def _is_batch(record: Record, source: str, epoch: int) -> bool:
    if dict(record.headers).get(SOURCE_HEADER, source.encode()) != source.encode():
        return False
    try:
        entry = decode_input(record.value)
    except UndecodableError:
        return False
    return (entry.source, entry.epoch) == (source, epoch) and isinstance(entry.event, TickBatch)


def _newest_row(record: Record, key: str) -> int:
    try:
        event = decode_input(record.value).event
        if not isinstance(event, TickBatch):
            return event.time if isinstance(event, Clock) and key in event.markets else 0
        rows = unpack(event)
    except (UndecodableError, ValueError):
        return 0  # the fold reports it as a dead letter
    mine = np.array([market.key == key for market in event.markets])[rows.market]
    times = rows.time[mine & (rows.kind & BACKFILL == 0)]
    return int(times.max()) if len(times) else 0


def source_state(log: Log, source: str) -> JournalState:
    """What `streams.journal.scan` says of one source, without reading what is folded already."""
    state = JournalState()
    known = state.source(source)
    for partition in range(log.partitions):
        pipeline = _newest(log, partition)
        state.markets |= {key: tape.market for key, tape in pipeline.tapes.items()}
        folded = pipeline.sources[source].epoch if source in pipeline.sources else -1
        known.epoch = max(known.epoch, folded)
        for key, tape in pipeline.tapes.items():
            if tape.book.watermark > 0:
                # a batch cut in two may have brought some trades of its newest nanosecond: ids tell
                known.reached[key] = Reached(tape.book.watermark - 1, _newest_id(tape.seen.ranges))
        tail = scan(log, [partition], start=pipeline.applied + 1, source=source, epoch=folded)
        state.markets |= tail.markets
        known.epoch = max(known.epoch, tail.source(source).epoch)
        for key, reached in tail.source(source).reached.items():
            old = known.reached.get(key, Reached())
            known.reached[key] = Reached(max(old.time, reached.time), max(old.id, reached.id))
    return state


def _newest_id(ranges: list[list[int]]) -> int:
    return max((last for _, last in ranges), default=NO_ID)


def registrations(log: Log, stop: int) -> int:
    """How many bots are registered in partition 0 before offset `stop`."""
    pipeline = _newest(log, 0)
    folded = pipeline.applied + 1
    if folded <= stop:
        return pipeline.registered + _registrations(log, folded, stop)
    return pipeline.registered - _registrations(log, stop, folded)


def _registrations(log: Log, start: int, stop: int) -> int:
    return sum(isinstance(_event(record), RegisterBot) for record in log.read(JOURNAL, 0, start, stop))


_NOTED = {b"", *(event_tag(e).encode() for e in (Market, CreateBot, StartBot, ReconfigureBot, RegisterBot))}
"""Tags in the header of records that are decoded; b"": a writer that gave none."""


def _newest(log: Log, partition: int) -> Pipeline:
    pipeline = Pipeline(partition, _NoCode())
    snapshot = latest(log, partition, logger.warning)
    if snapshot is None or snapshot.state is None:
        return pipeline
    try:
        pipeline.restore(snapshot.state)
    except ValueError as error:
        logger.warning(
            "partition %d: its snapshot is of another version, reading the journal: %s", partition, error
        )
        return Pipeline(partition, _NoCode())
    return pipeline


def _event(record: Record) -> Event | None:
    if dict(record.headers).get(TYPE_HEADER, b"") not in _NOTED:
        return None
    try:
        return decode_input(record.value).event
    except UndecodableError:
        return None  # the fold reports it as a dead letter


def _note(seen: JournalView, record: Record) -> None:
    match _event(record):
        case Market() as market:
            seen.markets[market.key] = market
        case CreateBot() as bot:
            known = KnownBot(bot.market, bot.strategy, bot.code_hash, bot.params)
            seen.bots.setdefault(bot.bot_id, known)
        case ReconfigureBot(bot_id=bot_id) | StartBot(bot_id=bot_id) as command if bot_id in seen.bots:
            bot = seen.bots[bot_id]
            params = command.params if isinstance(command, ReconfigureBot) else None
            seen.bots[bot_id] = bot._replace(
                code_hash=command.code_hash or bot.code_hash, params=params or bot.params
            )
        case RegisterBot():
            seen.registered += 1
        case _:
            pass
