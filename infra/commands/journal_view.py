"""What the journal holds, for those who write into it: its markets, its bots, and where a source stands.

Read from the newest snapshot of the fold and the records behind it, so that it takes no longer on a long log.
"""

import logging

from projections.fold.pipeline import Pipeline
from projections.strategies.code import StrategyCode
from streams.events import Market
from streams.gaps import Gaps, KnownGap
from streams.journal import JournalState, KnownBot, Reached, SourceState, scan
from streams.log import Log
from streams.records import partition_of
from streams.snapshots import latest
from streams.topics import JOURNAL

logger = logging.getLogger(__name__)

WINDOW_RECORDS = 64
"""So many records at the end are looked at first."""


def view(log: Log, partition: int) -> JournalState:
    """The markets, gaps and bots of a partition as they stand at its highwater. Raises `LogError`."""
    state = JournalState()
    return scan(log, [partition], start=_folded(log, partition, state), source="", state=state)


def gaps(log: Log, *, only_open: bool) -> list[tuple[str, KnownGap]]:
    """The gaps of all markets with their market's key, by key and time. Raises `LogError`."""
    found: dict[str, Gaps] = {}
    for partition in range(log.partitions):
        found |= view(log, partition).gaps
    return [
        (key, gap) for key, gaps in sorted(found.items()) for gap in (gaps.open if only_open else gaps.known)
    ]


def watermark(log: Log, key: str) -> int | None:
    """How far a market's time has come in the journal (ns), folded or not; None where it has no trade yet."""
    partition, state = partition_of(key.encode(), log.partitions), JournalState()
    scan(log, [partition], start=_folded(log, partition, state), state=state)
    return state.newest.get(key, Reached()).time or None


def source_state(log: Log, source: str) -> JournalState:
    """What `streams.journal.scan` says of one source, without reading what is folded already."""
    state = JournalState()
    for partition in range(log.partitions):
        start = _folded(log, partition, state, source)
        scan(log, [partition], start=start, source=source, state=state)
    return state


def import_place(log: Log, key: str, source: str) -> tuple[int, Market | None]:
    """From which offset an import must scan its market's partition, and the specification before that.

    A source that the newest snapshot does not know has written nothing before it; of one that it knows, the
    last tick batch says how far the file came.
    """
    partition, state = partition_of(key.encode(), log.partitions), JournalState()
    folded = _folded(log, partition, state)
    epoch = state.epochs.get((partition, source))
    start = folded if epoch is None else _last_batch(log, partition, folded, source, epoch)
    return (0, None) if start is None else (start, state.markets.get(key))


def registrations(log: Log, stop: int) -> int:
    """How many bots are registered in partition 0 before offset `stop`."""
    state = JournalState()
    folded = _folded(log, 0, state)
    if folded <= stop:
        return scan(log, [0], start=folded, stop=stop, source="", state=state).registered
    return state.registered - scan(log, [0], start=stop, stop=folded, source="").registered


def _last_batch(log: Log, partition: int, stop: int, source: str, epoch: int) -> int | None:
    """The offset of a source's last tick batch before `stop`, looked for in growing windows from the end.

    Only batches of the newest epoch count: what an older writer appended later is no position.
    """
    earliest, window = log.earliest(JOURNAL, partition), WINDOW_RECORDS
    while stop > earliest:
        start = max(earliest, stop - window)
        state = JournalState(epochs={(partition, source): epoch})
        scan(log, [partition], start=start, stop=stop, source=source, state=state)
        if state.source(source).batch >= 0:
            return state.source(source).batch
        stop, window = start, 2 * window
    return None


class _NoCode:
    """Bots are looked at here and never stepped, so their code is not loaded."""

    def get(self, name: str, code_hash: str) -> StrategyCode | None:
        return None

    def latest(self, name: str) -> StrategyCode:
        raise LookupError(name)


def _folded(log: Log, partition: int, state: JournalState, source: str = "") -> int:
    """Put what the newest snapshot holds into `state`; returns the journal offset behind it.

    Of `source` it says no more than that everything of a market before its watermark was delivered.
    """
    folded = _newest(log, partition).view()
    state.registered += folded.registered
    state.registrations.update(folded.requests)
    state.epochs |= {(partition, name): known.epoch for name, known in folded.sources.items()}
    of_source = state.source(source) if source else SourceState()
    of_source.epoch = max(of_source.epoch, state.epochs.get((partition, source), -1))
    for key, market in folded.markets.items():
        state.markets[key] = market.specification
        state.gaps[key] = market.gaps
        for bot in market.bots.values():
            state.bots[bot.bot_id] = KnownBot(key, bot.strategy, bot.code_hash, bot.params)
        if market.watermark > 0:
            state.newest[key] = Reached(market.watermark, market.newest_id)
            # a batch cut in two may have brought some trades of its newest nanosecond: ids tell
            of_source.reached[key] = Reached(market.watermark - 1, market.newest_id)
    return folded.applied + 1


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
