"""What the journal holds, for those who write into it: its markets, its bots, and where a source stands.

Read from the newest snapshot of the fold and the records behind it, so that it takes no longer on a long log.
"""

import logging
from collections.abc import Collection

from projections.fold.pipeline import Pipeline
from projections.strategies.code import StrategyCode
from streams.gaps import Gaps, KnownGap
from streams.journal import (
    SOURCE_HEADER,
    WIDE_KNOWN,
    JournalState,
    KnownBot,
    Reached,
    SourceState,
    scan,
)
from streams.log import Log
from streams.records import partition_of
from streams.snapshots import latest
from streams.ticks import NO_ID
from streams.topics import JOURNAL

logger = logging.getLogger(__name__)

WINDOW_RECORDS = 64
"""So many records at the end are looked at first."""


def view(log: Log, partition: int) -> JournalState:
    """The markets, gaps, feeds and bots of a partition as they stand at its highwater. Raises `LogError`.

    Whose row was a market's last is known from the newest snapshot.
    """
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


def source_state(log: Log, source: str) -> JournalState:
    """What `streams.journal.scan` says of one source, without reading what is folded already."""
    return SourceView(log, source).read()


class SourceView:
    """The same of one source again and again: what was read once is not read again."""

    def __init__(self, log: Log, source: str) -> None:
        self._log, self._source, self._state = log, source, JournalState()
        self._read: dict[int, int] = {}
        """By partition, the offset behind what was read."""

    def read(self) -> JournalState:
        """Always the same object, as the journal stands now. Raises `LogError`."""
        for partition in range(self._log.partitions):
            start = self._read.get(partition)
            if start is None:
                start = _folded(self._log, partition, self._state, self._source)
            stop = self._log.highwater(JOURNAL, partition)
            scan(self._log, [partition], start=start, stop=stop, source=self._source, state=self._state)
            self._read[partition] = max(start, stop)
        return self._state


def import_state(log: Log, key: str, sources: Collection[str]) -> JournalState:
    """What the journal holds for an import into a market: its specification, how far it has come, and where
    each of these files stands as a source.

    A source that the newest snapshot does not know has written nothing before it; of one that it knows, the
    last tick batch says how far the file came.
    """
    partition, state = partition_of(key.encode(), log.partitions), JournalState()
    folded = _folded(log, partition, state)
    epochs = {name: state.epochs.get((partition, name)) for name in sources}
    state.sources |= _last_batches(
        log, partition, folded, {name: epoch for name, epoch in epochs.items() if epoch is not None}
    )
    return scan(log, [partition], start=folded, state=state)


def registrations(log: Log, stop: int) -> int:
    """How many bots are registered in partition 0 before offset `stop`."""
    state = JournalState()
    folded = _folded(log, 0, state)
    if folded <= stop:
        return scan(log, [0], start=folded, stop=stop, source="", state=state).registered
    return state.registered - scan(log, [0], start=stop, stop=folded, source="").registered


def _last_batches(log: Log, partition: int, stop: int, epochs: dict[str, int]) -> dict[str, SourceState]:
    """Where sources stand by their last tick batches before `stop`, looked for in growing windows from the
    end.

    Only batches of the newest epoch count: what an older writer appended later is no position. A source whose
    newest writer appended none stands where all its writers brought it.
    """
    found: dict[str, SourceState] = {}
    end, earliest, window = stop, log.earliest(JOURNAL, partition), WINDOW_RECORDS
    while end > earliest and len(found) < len(epochs):
        start = max(earliest, end - window)
        state = JournalState(epochs={(partition, name): epoch for name, epoch in epochs.items()})
        _note(log, (partition, start, end), epochs.keys() - found.keys(), state)
        found |= {name: source for name, source in state.sources.items() if source.batch >= 0}
        end, window = start, 2 * window
    if missing := epochs.keys() - found.keys():
        state = JournalState()
        _note(log, (partition, earliest, stop), missing, state)
        found |= state.sources
    return found


def _note(log: Log, part: tuple[int, int, int], sources: Collection[str], state: JournalState) -> None:
    """Put into `state` what sources wrote in a part (partition, start, stop) of the journal."""
    names = {name.encode() for name in sources}
    for record in log.read(JOURNAL, *part):
        if dict(record.headers).get(SOURCE_HEADER) in names:
            state.note(record)


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
    folded = newest(log, partition).view()
    state.registered += folded.registered
    state.registrations.update(folded.requests)
    state.epochs |= {(partition, name): known.epoch for name, known in folded.sources.items()}
    of_source = state.source(source) if source else SourceState()
    of_source.epoch = max(of_source.epoch, state.epochs.get((partition, source), -1))
    for key, market in folded.markets.items():
        state.markets[key] = market.specification
        state.gaps[key] = market.gaps
        state.feeds[key] = market.feeds
        for bot in market.bots.values():
            state.bots[bot.bot_id] = KnownBot(
                key, bot.timeframe, bot.strategy, bot.code_hash, bot.params, bot.steps
            )
        state.traded[key] = max(market.newest_trade, 0)
        if market.ids_since >= 0:
            state.resets[key] = market.ids_since
        if market.watermark > 0:
            anew = max(market.ids_since, 0) if market.newest_id == NO_ID else 0
            state.newest[key] = Reached(market.watermark, market.newest_id, anew=anew)
            # a batch cut in two may have brought some trades of its newest nanosecond: ids tell
            known = market.newest_wide(WIDE_KNOWN)
            of_source.reached[key] = Reached(market.watermark - 1, market.newest_id, known=known, anew=anew)
    return folded.applied + 1


def newest(log: Log, partition: int, *, bots: bool = True) -> Pipeline:
    """The fold of a partition at its newest snapshot; it goes on only without bots."""
    pipeline = Pipeline(partition, _NoCode(), bots=bots)
    snapshot = latest(log, partition, logger.warning)
    if snapshot is None or snapshot.state is None:
        return pipeline
    try:
        pipeline.restore(snapshot.state)
    except ValueError as error:
        logger.warning(
            "partition %d: its snapshot is of another version, reading the journal: %s", partition, error
        )
        return Pipeline(partition, _NoCode(), bots=bots)
    return pipeline
