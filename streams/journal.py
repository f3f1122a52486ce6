"""Writing the journal as a source does, and what the journal holds for those who write into it.

A source numbers its records: per partition from 0 in each epoch, without a hole. A restarted source
reads its last epoch from the journal and goes on with a later one, so the fold can tell a repeat
from a hole. Of two writers of one source the older is fenced: once the newer has written to a
partition, what the older appends there counts for nothing, in the fold and in `scan`.

Which events matter for that is decided in `JournalState` alone; the fold's snapshot fills the same one, so
that only the records behind it are read (`infra.commands.journal_view`).
"""

import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, cast

from streams import codec
from streams.events import (
    BACKFILL,
    Bars,
    Clock,
    Command,
    CreateBot,
    DeadLetter,
    Event,
    Feed,
    Gap,
    GapFilled,
    Genesis,
    IdsReset,
    JournalEvent,
    Market,
    Params,
    ReconfigureBot,
    RegisterBot,
    RowKind,
    StartBot,
    TickBatch,
    Timeframe,
)
from streams.feeds import Feeds
from streams.gaps import Gaps, KnownGap
from streams.genesis import JournalRefusedError, genesis, genesis_of
from streams.log import Log, LogError
from streams.pace import Pace
from streams.records import DATA_BYTES_MAX, Entry, Input, Output, Position, Record, partition_of
from streams.ticks import KIND_MASK, NO_ID, halves, newest_wide, trades, unpack
from streams.topics import JOURNAL, RECORD_BYTES_MAX, SYSTEM

SOURCE_HEADER = "source"
TYPE_HEADER = "type"
"""Headers of a journal record: its source and its event's tag, for readers that look for one
without decoding the rest. They repeat what is in the record."""


def next_epoch(known: int) -> int:
    """An epoch above `known`, the last of a source in the journal, for a writer that starts now.

    It is the wall clock in µs, not `known + 1`, which two writers that start at once would share:
    the fold would then take the records of one for repeats of the other's.
    """
    return max(known + 1, time.time_ns() // 1_000)


def new_home() -> str:
    """An identity of 128 random bits."""
    return secrets.token_hex(16)


def begin(log: Log) -> None:
    """Give each empty journal partition its genesis; the home keeps the identity that partition 0 has.

    Of two programs that find a partition empty both write one, and the first counts. Raises `LogError`, also
    for a journal that began otherwise or with another partition count.
    """
    ends = log.ends((JOURNAL, partition) for partition in range(log.partitions))
    empty = [partition for (_, partition), end in sorted(ends.items()) if end == 0]
    if len(empty) == log.partitions:
        home = new_home()
    else:
        begun = genesis_at(log, 0)
        home = begun.home
        if begun.partitions != log.partitions:
            raise LogError(
                f"log {log.url}: the journal began with {begun.partitions} partitions, now there are"
                f" {log.partitions}: markets would change their partition; replay into a new log"
            )
    if empty:
        log.append([genesis_entry(genesis(home, log.partitions), partition) for partition in empty])


def genesis_entry(event: Genesis, partition: int) -> Entry:
    value = codec.encode(Input("", 0, 0, event))
    return Entry(JOURNAL, b"", value, time.time_ns() // 1_000_000, partition, _type_header(event))


def genesis_at(log: Log, partition: int) -> Genesis:
    """The genesis of a journal partition. Raises `LogError` where there is none, or another release's."""
    first = next(log.read(JOURNAL, partition, 0, 1), None)
    if first is None:
        raise LogError(f"log {log.url}: journal partition {partition} is empty: open the log with `open_log`")
    try:
        return genesis_of(first)
    except JournalRefusedError as error:
        raise LogError(f"log {log.url}: {error}") from error


class JournalWriter:
    """One source's hand on the journal: numbered, encoded, below the size limit. Safe to use from
    threads.

    `epoch` must be above every epoch that the source has in the journal (`next_epoch`), and `newest` says
    how far its markets are there: a silence is written in clock records of a day each (`streams.pace`). A
    send that failed may or may not have reached the log, so the writer ends with it: every later call raises
    `LogError`.
    """

    def __init__(
        self, log: Log, source: str, epoch: int, newest: "Mapping[str, Reached] | None" = None
    ) -> None:
        self.source = source
        self.epoch = epoch
        self._log = log
        self._pace = Pace({key: at.time for key, at in (newest or {}).items() if at.time > 0})
        self._next: dict[int, int] = {}
        self._time_ms = 0
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        self.bytes = 0
        """Of the records that were appended."""

    def append(self, event: JournalEvent, *, key: str, sync: bool = True) -> list[Position]:
        """Append one event under its market's key; a tick batch that is too large or too long becomes
        several.

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
            pieces = [piece for key, event in events for piece in self._pace.pieces(key, event)]
            entries = [e for key, event in pieces for e in self._entries(key, event, sequences)]
            if not entries:
                return []
            try:
                positions = self._log.append(entries, sync=sync)
            except Exception as error:
                self._failure = error
                raise
            self._next = sequences
            self.bytes += sum(len(entry.value) for entry in entries)
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


def event_tag(event: Event | type[Event]) -> str:
    """The name and version of an event on the wire."""
    return str(event.__struct_config__.tag)


def command_entry(command: Command, market: str, partition: int, time_ms: int) -> Entry:
    """A command as a record: it has no source, its request id makes a repeat harmless."""
    value = codec.encode(Input("", 0, 0, cast(JournalEvent, command)))
    return Entry(JOURNAL, market.encode(), value, time_ms, partition, _type_header(command))


def bars_entry(bars: Bars, partition: int, time_ms: int) -> Entry:
    """Candles for a command as a record: their order makes a repeat harmless."""
    value = codec.encode(Input("", 0, 0, bars))
    return Entry(JOURNAL, bars.market.encode(), value, time_ms, partition, _type_header(bars))


def lost_entry(
    reason: str,
    key: bytes,
    partition: int,
    data: bytes = b"",
    *,
    source: str = "",
    sequence: int = -1,
    venue_id: str = "",
) -> Entry:
    """A notice in the stream `system` of input that is in no journal record; see `DeadLetter`."""
    letter = DeadLetter(
        topic=JOURNAL,
        partition=partition,
        source=source,
        sequence=sequence,
        market=key.decode(errors="replace"),
        venue_id=venue_id,
        reason=reason,
        sha256=sha256(data).hexdigest(),
        size=len(data),
        data=data[:DATA_BYTES_MAX],
    )
    output = Output(partition, -1, (0,), (letter,))
    return Entry(SYSTEM, key, codec.encode(output), time.time_ns() // 1_000_000, partition)


def _type_header(event: Event) -> tuple[tuple[str, bytes], ...]:
    return ((TYPE_HEADER, event_tag(event).encode()),)


WIDE_KNOWN = 2_048


class Reached(NamedTuple):
    """How far a market has come, or a source has delivered it: everything up to `time` (ns), trade ids up to
    `id`, and of a file the rows before `row`. `known`: of ids of 128 bits, which tell no order, the time and
    the key (`streams.ticks.key_of`) of the newest trades, the newest last, `WIDE_KNOWN` at most. `gaps`: what
    else is missing of the market, for a provider to fill in where it can. `anew`: where ids began anew and no
    trade came since, the time of the last one.
    """

    time: int = 0
    id: int = NO_ID
    row: int = 0
    known: tuple[tuple[int, int], ...] = ()
    gaps: tuple[KnownGap, ...] = ()
    anew: int = 0


class KnownBot(NamedTuple):
    """`steps`: False where its strategy is known to step no more."""

    market: str
    timeframe: Timeframe
    strategy: str
    code_hash: str
    params: Params
    steps: bool = True


@dataclass
class SourceState:
    """What the journal holds of one source."""

    epoch: int = -1
    batch: int = -1
    """Offset of the last tick batch."""
    finished: bool = False
    """The last tick batch ended with a clock row."""
    reached: dict[str, Reached] = field(default_factory=dict[str, Reached])


@dataclass
class JournalState:
    """What the journal holds: specifications by market key, bots by id, how many bots are registered, how far
    each market has come (`newest`: its last row that is not backfilled; `traded`: the time of its latest
    trade), its gaps and feeds, since when its ids began anew (`resets`, ns), and where sources stand.

    `epochs`: those of the sources by partition, since a writer is fenced in each for itself.
    `registrations`: requests by which bots were registered; a repeat counts once.
    """

    markets: dict[str, Market] = field(default_factory=dict[str, Market])
    bots: dict[int, KnownBot] = field(default_factory=dict[int, KnownBot])
    registered: int = 0
    newest: dict[str, Reached] = field(default_factory=dict[str, Reached])
    traded: dict[str, int] = field(default_factory=dict[str, int])
    resets: dict[str, int] = field(default_factory=dict[str, int])
    gaps: dict[str, Gaps] = field(default_factory=dict[str, Gaps])
    feeds: dict[str, Feeds] = field(default_factory=dict[str, Feeds])
    sources: dict[str, SourceState] = field(default_factory=dict[str, SourceState])
    epochs: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    registrations: set[str] = field(default_factory=set[str])

    def source(self, name: str) -> SourceState:
        return self.sources.setdefault(name, SourceState())

    def note(self, record: Record) -> None:
        """What follows from a record. One that cannot be decoded is the fold's to report."""
        try:
            entry = codec.input_of(record)
        except codec.UndecodableError:
            return
        source = SourceState()
        if entry.source:
            place = (record.partition, entry.source)
            if entry.epoch < self.epochs.get(place, -1):
                return
            self.epochs[place] = entry.epoch
            source = self.source(entry.source)
            source.epoch = max(source.epoch, entry.epoch)
        match entry.event:
            case Market() as market:
                self.markets[market.key] = market
            case TickBatch() as batch:
                self._note_batch(entry.source, source, batch, record.offset)
            case Clock(time=time, markets=keys):
                for key in keys:
                    _advance(source.reached, key, Reached(time))
                    _advance(self.newest, key, Reached(time))
                    self._feeds(key).rows(entry.source, time)
            case Feed() as feed if feed.market in self.markets:
                self._feeds(feed.market).note(feed)
            case Gap() | GapFilled() as gap if gap.market in self.markets:
                with suppress(ValueError):  # the fold makes it a dead letter
                    self.gaps.setdefault(gap.market, Gaps()).note(gap)
            case event:
                self._note_command(event)

    def _feeds(self, market: str) -> Feeds:
        return self.feeds.setdefault(market, Feeds())

    def _note_batch(self, name: str, source: SourceState, batch: TickBatch, offset: int) -> None:
        try:
            ticks = unpack(batch)
        except ValueError:
            return  # the fold makes it a dead letter, so none of its rows counts as delivered
        clock = (ticks.kind & KIND_MASK) == RowKind.CLOCK
        source.batch, source.finished = offset, bool(len(clock) and clock[-1])
        row = batch.first_row + trades(ticks.kind) if batch.first_row >= 0 else 0
        for index, market in enumerate(batch.markets):
            mine = ticks.market == index
            counted = mine & (ticks.time > self.resets.get(market.key, -1))
            ids = None if ticks.id is None or ticks.id.ndim > 1 else ticks.id[counted]
            newest_id = NO_ID if ids is None else int(ids.max(initial=NO_ID))
            promised = int(ticks.time[mine & clock].max(initial=0))
            known = newest_wide(ticks.take(mine), WIDE_KNOWN)
            _advance(source.reached, market.key, Reached(promised, newest_id, row, known))
            traded = int(ticks.time[mine & ~clock].max(initial=0))
            self.traded[market.key] = max(traded, self.traded.get(market.key, 0))
            newest = int(ticks.time[mine & (ticks.kind & BACKFILL == 0)].max(initial=0))
            _advance(self.newest, market.key, Reached(newest, newest_id))
            if newest:
                self._feeds(market.key).rows(name, newest)

    def _note_command(self, event: JournalEvent) -> None:
        match event:
            case IdsReset(market=key, since=since) if key in self.markets:
                self.resets[key] = since
                for reached in (self.newest, *(source.reached for source in self.sources.values())):
                    if key in reached:
                        reached[key] = reached[key]._replace(id=NO_ID, anew=since)
            case RegisterBot(request=request) if request not in self.registrations:
                self.registrations.add(request)
                self.registered += 1
            case CreateBot() as bot:
                known = KnownBot(bot.market, bot.timeframe, bot.strategy, bot.code_hash, bot.params)
                self.bots.setdefault(bot.bot_id, known)
            case ReconfigureBot(bot_id=bot_id) | StartBot(bot_id=bot_id) as command if bot_id in self.bots:
                bot = self.bots[bot_id]
                params = command.params if isinstance(command, ReconfigureBot) else None
                self.bots[bot_id] = bot._replace(
                    code_hash=command.code_hash or bot.code_hash, params=params or bot.params
                )
            case _:
                pass


def scan(
    log: Log,
    partitions: Iterable[int],
    *,
    start: int = 0,
    stop: int | None = None,
    source: str | None = None,
    state: JournalState | None = None,
) -> JournalState:
    """Read partitions of the journal from offset `start` to before `stop`, and say what they hold.

    `state`, what stands before `start`, goes on. With `source` the rows of others are passed over undecoded,
    with "" those of all; markets, gaps, feeds and commands are always read. What a fenced writer appended
    does not count.
    """
    state = JournalState() if state is None else state
    for partition in partitions:
        for record in log.read(JOURNAL, partition, max(start, log.earliest(JOURNAL, partition)), stop):
            if source is None or _matters(record, source):
                state.note(record)
    return state


def _matters(record: Record, source: str) -> bool:
    headers = dict(record.headers)
    return headers.get(TYPE_HEADER, b"") in _NOTED or headers.get(SOURCE_HEADER) == source.encode()


_NOTED = {
    b"",
    *(
        event_tag(e).encode()
        for e in (Market, Gap, GapFilled, IdsReset, Feed, CreateBot, StartBot, ReconfigureBot, RegisterBot)
    ),
}
"""Tags in the headers of records that are always decoded; b"": a writer that gave none."""


def _advance(reached: dict[str, Reached], key: str, to: Reached) -> None:
    old = reached.get(key, Reached())
    known = (*old.known, *to.known)[-WIDE_KNOWN:] if to.known else old.known
    id = max(old.id, to.id)
    anew = old.anew if id == NO_ID else 0
    reached[key] = Reached(max(old.time, to.time), id, max(old.row, to.row), known, anew=anew)
