"""Writing the journal as a source does, and finding where a source left off.

A source numbers its records: per partition from 0 in each epoch, without a hole. A restarted source
reads its last epoch from the journal and goes on with a later one, so the fold can tell a repeat
from a hole. Of two writers of one source the older is fenced: once the newer has written to a
partition, what the older appends there counts for nothing, in the fold and in `scan`.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np

from streams import codec
from streams.events import Clock, Command, DeadLetter, Event, JournalEvent, Market, RowKind, TickBatch
from streams.log import Log, LogError
from streams.records import Entry, Input, Output, Position, Record, partition_of
from streams.ticks import NO_ID, Ticks, pack, unpack
from streams.topics import JOURNAL, RECORD_BYTES_MAX, SYSTEM

SOURCE_HEADER = "source"
TYPE_HEADER = "type"
"""Headers of a journal record: its source and its event's tag, for readers that look for one
without decoding the rest. They repeat what is in the record."""

_KIND_MASK = np.uint8(0x7F)


def next_epoch(known: int) -> int:
    """An epoch above `known`, the last of a source in the journal, for a writer that starts now.

    It is the wall clock in µs, not `known + 1`, which two writers that start at once would share:
    the fold would then take the records of one for repeats of the other's.
    """
    return max(known + 1, time.time_ns() // 1_000)


class JournalWriter:
    """One source's hand on the journal: numbered, encoded, below the size limit. Safe to use from
    threads.

    `epoch` must be above every epoch that the source has in the journal (`next_epoch`). A send that
    failed may or may not have reached the log, so the writer ends with it: every later call raises
    `LogError`.
    """

    def __init__(self, log: Log, source: str, epoch: int) -> None:
        self.source = source
        self.epoch = epoch
        self._log = log
        self._next: dict[int, int] = {}
        self._time_ms = 0
        self._failure: Exception | None = None
        self._lock = threading.Lock()

    def append(self, event: JournalEvent, *, key: str, sync: bool = True) -> list[Position]:
        """Append one event under its market's key; a tick batch that is too large becomes several.

        Returns the positions. Raises `LogError` when the log refuses, `ValueError` for an event
        that cannot be split, or whose markets live in different partitions.
        """
        return self.append_all([(key, event)], sync=sync)

    def append_all(self, events: Iterable[tuple[str, JournalEvent]], *, sync: bool = True) -> list[Position]:
        """Append (key, event) pairs in order, in one call of the log. Returns and raises as
        `append`."""
        with self._lock:
            if self._failure is not None:
                raise LogError(
                    f"source {self.source!r} ended when a send failed ({self._failure}); "
                    "start it again, it goes on after what the journal holds"
                )
            sequences = dict(self._next)
            entries = [e for key, event in events for e in self._entries(key, event, sequences)]
            if not entries:
                return []
            try:
                positions = self._log.append(entries, sync=sync)
            except Exception as error:
                self._failure = error
                raise
            self._next = sequences
            return positions

    def _entries(self, key: str, event: JournalEvent, sequences: dict[int, int]) -> Iterator[Entry]:
        """The record of an event, or those of its parts."""
        partition = partition_of(key.encode(), self._log.partitions)
        if isinstance(event, TickBatch):
            self._check_partition(event, partition)
        sequence = sequences.get(partition, 0)
        value = codec.encode(Input(self.source, self.epoch, sequence, event))
        if len(value) <= RECORD_BYTES_MAX:
            sequences[partition] = sequence + 1
            headers = ((SOURCE_HEADER, self.source.encode()), *_type_header(event))
            yield Entry(JOURNAL, key.encode(), value, self._now_ms(), partition, headers)
            return
        if not isinstance(event, TickBatch) or event.rows < 2:
            raise ValueError(
                f"{type(event).__name__} of {key} has {len(value)} bytes; "
                f"a record has at most {RECORD_BYTES_MAX}"
            )
        for half in halves(event):
            yield from self._entries(key, half, sequences)

    def _check_partition(self, batch: TickBatch, partition: int) -> None:
        for market in batch.markets:
            other = partition_of(market.key.encode(), self._log.partitions)
            if other != partition:
                raise ValueError(
                    f"tick batch of partition {partition} holds {market.key} of partition {other}"
                )

    def _now_ms(self) -> int:
        """Wall time that never goes back, so that the log can be searched by time."""
        self._time_ms = max(self._time_ms, time.time_ns() // 1_000_000)
        return self._time_ms


def halves(batch: TickBatch) -> tuple[TickBatch, TickBatch]:
    """The rows of a batch in two batches; the second knows its own first row of the file."""
    ticks = unpack(batch)
    middle = batch.rows // 2
    first, second = ticks.take(slice(None, middle)), ticks.take(slice(middle, None))
    next_row = batch.first_row if batch.first_row < 0 else batch.first_row + trades(first)
    return (
        pack(batch.markets, first, first_row=batch.first_row),
        pack(batch.markets, second, first_row=next_row),
    )


def trades(ticks: Ticks) -> int:
    """How many rows are trades, not clock rows."""
    return int(np.count_nonzero((ticks.kind & _KIND_MASK) != RowKind.CLOCK))


def event_tag(event: Event | type[Event]) -> str:
    """The name and version of an event on the wire."""
    return str(event.__struct_config__.tag)


def command_entry(command: Command, market: str, partition: int, time_ms: int) -> Entry:
    """A command as a record: it has no source, its request id makes a repeat harmless."""
    value = codec.encode(Input("", 0, 0, cast(JournalEvent, command)))
    return Entry(JOURNAL, market.encode(), value, time_ms, partition, _type_header(command))


def lost_entry(words: str, key: bytes, partition: int) -> Entry:
    """A notice in the system stream of input that is no event, and so in no journal record."""
    letter = Output(partition, -1, (0,), (DeadLetter(JOURNAL, partition, -1, words),))
    return Entry(SYSTEM, key, codec.encode(letter), time.time_ns() // 1_000_000, partition)


def _type_header(event: Event) -> tuple[tuple[str, bytes], ...]:
    return ((TYPE_HEADER, event_tag(event).encode()),)


class Reached(NamedTuple):
    """How far a source has delivered a market: everything up to `time` (ns), trade ids up to `id`,
    and of a file the rows before `row`.
    """

    time: int = 0
    id: int = NO_ID
    row: int = 0


@dataclass
class SourceState:
    """What the journal holds of one source."""

    epoch: int = -1
    finished: bool = False
    """The last tick batch ended with a clock row."""
    reached: dict[str, Reached] = field(default_factory=dict[str, Reached])


@dataclass
class JournalState:
    """What a writer must know of the journal before it goes on; filled by `scan`."""

    markets: dict[str, Market] = field(default_factory=dict[str, Market])
    sources: dict[str, SourceState] = field(default_factory=dict[str, SourceState])

    def source(self, name: str) -> SourceState:
        return self.sources.setdefault(name, SourceState())


def scan(
    log: Log, partitions: Iterable[int], *, start: int = 0, source: str | None = None, epoch: int = -1
) -> JournalState:
    """Read partitions of the journal from offset `start` and say where its sources stand.

    With `source`, whose epoch before `start` was `epoch`, tick batches and clocks of others are passed
    over undecoded; markets are always read, under whatever source. Records that cannot be decoded are
    the fold's to report, and no position; those of a fenced writer are none either.
    """
    state = JournalState()
    for partition in partitions:
        epochs = {} if source is None else {source: epoch}
        for record in log.read(JOURNAL, partition, max(start, log.earliest(JOURNAL, partition))):
            if source is None or _may_matter(record, source):
                _note(state, record, epochs)
    return state


def _may_matter(record: Record, source: str) -> bool:
    headers = dict(record.headers)
    return (
        headers.get(SOURCE_HEADER, source.encode()) == source.encode() or headers.get(TYPE_HEADER) == _MARKET
    )


_MARKET = event_tag(Market).encode()


def _note(state: JournalState, record: Record, epochs: dict[str, int]) -> None:
    """`epochs` are those of the sources in this partition so far."""
    try:
        entry = codec.decode_input(record.value)
    except codec.UndecodableError:
        return
    if entry.epoch < epochs.get(entry.source, -1):
        return
    epochs[entry.source] = entry.epoch
    event = entry.event
    if isinstance(event, Market):
        state.markets[event.key] = event
    source = state.source(entry.source)
    source.epoch = max(source.epoch, entry.epoch)
    if isinstance(event, TickBatch):
        _note_batch(source, event)
    elif isinstance(event, Clock):
        for key in event.markets:
            _advance(source, key, Reached(event.time))


def _note_batch(source: SourceState, batch: TickBatch) -> None:
    try:
        ticks = unpack(batch)
    except ValueError:
        return  # the fold makes it a dead letter, so none of its rows counts as delivered
    clock = (ticks.kind & _KIND_MASK) == RowKind.CLOCK
    source.finished = bool(len(clock) and clock[-1])
    row = batch.first_row + trades(ticks) if batch.first_row >= 0 else 0
    for index, market in enumerate(batch.markets):
        mine = ticks.market == index
        times = ticks.time[mine & clock]
        ids = None if ticks.id is None else ticks.id[mine]
        to = Reached(
            int(times.max()) if len(times) else 0,
            int(ids.max()) if ids is not None and len(ids) else NO_ID,
            row,
        )
        _advance(source, market.key, to)


def _advance(source: SourceState, key: str, to: Reached) -> None:
    old = source.reached.get(key, Reached())
    source.reached[key] = Reached(*map(max, old, to))
