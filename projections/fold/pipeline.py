"""The fold: one journal partition in, derived events out. Start reading here.

    journal record ── decode ──► source known? ──► by kind of event
       TickBatch, Clock ──► Tape.fold_rows   ticks → candles → signals → decisions → orders → fills → equity
       Market, Gap …    ──► Tape             a market's specification and its holes
       bot commands     ──► Desk             create, start, stop, halt, reconfigure, signal
    ──► outputs by topic and market, each with its cause ──► hash chain ──► sometimes a checkpoint

Live running, recovery, audit and backtest all call `Pipeline.fold`. It reads nothing but the record: no
clock, no randomness, no setting, no other topic. A record is folded whole or not at all: one that cannot be
decoded or that makes the fold raise becomes a dead letter, the state is what it was before, and the market
goes on.
"""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from projections.fold.bots import CodeMissingError
from projections.fold.by_market import by_market
from projections.fold.desk import CommandError
from projections.fold.money import INT64_MAX
from projections.fold.tape import Tape, TapeState, check_specification
from projections.strategies.code import Strategies
from streams import events
from streams.causes import Cause
from streams.codec import UndecodableError, decode_input, encode
from streams.events import Checkpoint, Clock, DeadLetter, DerivedEvent, Market, RowKind, SourceHole, TickBatch
from streams.records import Input, Output, Record
from streams.ticks import unpack
from streams.topics import BOTS, RECORD_BYTES_MAX, SYSTEM

STATE_VERSION = 1
"""Raised with every change of the state's form: older snapshots are then folded anew from the journal."""
CHECKPOINT_RECORDS = 512
REQUESTS_MAX = 4096
"""So many request ids of commands are remembered, the newest, to recognise repeats."""
BASE_RECORDS_MAX = 64
BASE_BYTES_MAX = 8_000_000
"""A rollback restores the last base and folds again what followed it: at most so much."""


WORDS_MAX = 2_000
"""So much of an error's text goes into a dead letter: it may quote the whole record."""


class Derived(NamedTuple):
    """A record to be appended to a derived stream; `time_ms` is its cause's."""

    topic: str
    key: bytes
    value: bytes
    time_ms: int


class Source(Struct):
    """What has been folded of a source: its epoch, and the sequence that is due next."""

    epoch: int
    due: int


class PipelineState(Struct, frozen=True, array_like=True):
    """A whole partition's state, canonical: the same journal gives the same bytes."""

    version: int
    applied: int
    chain: bytes
    """These three stay in front in every version: `StateHead`."""
    chain_before: bytes
    tapes: list[TapeState]
    sources: dict[str, Source]
    requests: list[str]
    registered: int
    repeats: int


class StateHead(Struct, frozen=True, array_like=True):
    """The front of a `PipelineState`, the same in every version."""

    version: int
    applied: int
    chain: bytes


class PositionError(RuntimeError):
    """The record is not the one that follows: folding it would lose or repeat input."""


class Pipeline:
    """The fold of one journal partition.

    `applied` is the offset of the last folded record, −1 before the first. `strategies` gives the code that
    recorded hashes name.
    """

    def __init__(self, partition: int, strategies: Strategies) -> None:
        self.partition = partition
        self.strategies = strategies
        self.applied = -1
        self._chain = self._chain_before = bytes(32)
        self._tapes: dict[str, Tape] = {}
        self._sources: dict[str, Source] = {}
        self._requests: dict[str, None] = {}
        self._registered = 0
        self._repeats = 0
        self._base = b""
        self._since_base: list[Record] = []
        self._bytes_since_base = 0

    # ------------------------------------------------------------ the fold

    def fold(self, record: Record) -> list[Derived]:
        """The derived records that follow from `record`, in order.

        Raises `PositionError` when `record` does not follow `applied`, and `CodeMissingError` when it needs
        strategy code that is not at hand: the pipeline is then of no more use. Nothing else for its content.
        """
        if record.offset != self.applied + 1 or record.partition != self.partition:
            raise PositionError(
                f"journal partition {self.partition}: expected offset {self.applied + 1}, got "
                f"{record.partition}:{record.offset}; records are missing from the log or out of order"
            )
        outbox = _Outbox(record)
        self._rebase_if_due(record)
        try:
            self._apply(record, outbox)
            derived = outbox.derived()
            self._since_base.append(record)
            self._seal(record)
        except (MemoryError, CodeMissingError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a record makes the fold raise is a dead letter
            self._roll_back()
            outbox = self._dead_letter(record, error)
            derived = outbox.derived()
            self._seal(record)
            self._rebase()
        if record.offset % CHECKPOINT_RECORDS == CHECKPOINT_RECORDS - 1:
            derived += self._checkpoint(record, outbox)
        return derived

    def _apply(self, record: Record, outbox: "_Outbox") -> None:
        entry = decode_input(record.value)
        if self._is_new(entry, outbox):
            self._by_kind(entry.event, record, outbox)

    def _checkpoint(self, record: Record, after: "_Outbox") -> list[Derived]:
        outbox = _Outbox(record, after.count)
        outbox.key = b""
        outbox.emit(BOTS, Checkpoint(self._chain.hex(), self.state_sha256(), STATE_VERSION))
        return outbox.derived()

    def _dead_letter(self, record: Record, error: Exception) -> "_Outbox":
        outbox = _Outbox(record)
        outbox.emit(SYSTEM, DeadLetter(record.topic, record.partition, record.offset, _words(error)))
        with suppress(UndecodableError, CommandError):
            self._is_new(decode_input(record.value), outbox)
        return outbox

    def _by_kind(self, event: events.JournalEvent, record: Record, outbox: "_Outbox") -> None:
        match event:
            case TickBatch():
                self._ticks(event, record, outbox)
            case Clock():
                for key in event.markets:
                    tape = self._begin(key, record, outbox)
                    one = np.array([event.time], np.int64)
                    zero = np.zeros(1, np.int64)
                    tape.fold_rows(one, zero, zero, np.array([RowKind.CLOCK], np.uint8), None)
            case Market():
                self._market(event, record, outbox)
            case events.Gap() | events.GapFilled():
                filled = isinstance(event, events.GapFilled)
                self._begin(event.market, record, outbox).gap(event.start, event.end, filled=filled)
            case events.RegisterBot():
                self._registered += 1
            case events.HaltBot(bot_id=None):
                for key in self._tapes:
                    self._begin(key, record, outbox).desk.halt(event)
            case _:
                self._command(event, record, outbox)

    def _command(self, event: Any, record: Record, outbox: "_Outbox") -> None:
        key = event.market if isinstance(event, events.CreateBot) else (record.key or b"").decode()
        desk = self._begin(key, record, outbox).desk
        commands: dict[type, Callable[[Any], None]] = {
            events.CreateBot: desk.create,
            events.StartBot: desk.start,
            events.StopBot: desk.stop,
            events.HaltBot: desk.halt,
            events.ReconfigureBot: desk.reconfigure,
            events.ExternalSignal: desk.signal,
        }
        commands[type(event)](event)

    def _ticks(self, batch: TickBatch, record: Record, outbox: "_Outbox") -> None:
        parts = by_market(unpack(batch), len(batch.markets))
        for entry, rows in zip(batch.markets, parts, strict=True):
            tape = self._begin(entry.key, record, outbox)
            price = _scaled(rows.price, _factor(entry, tape.market, "price_scale"))
            size = _scaled(rows.size, _factor(entry, tape.market, "size_scale"))
            tape.fold_rows(rows.time, price, size, rows.kind, rows.id, rows.row)

    def _market(self, market: Market, record: Record, outbox: "_Outbox") -> None:
        check_specification(market)
        if market.key in self._tapes:
            self._begin(market.key, record, outbox).respecify(market)
        else:
            self._tapes[market.key] = Tape(market, self.strategies)

    def _begin(self, key: str, record: Record, outbox: "_Outbox") -> Tape:
        if key not in self._tapes:
            raise CommandError(
                f"market {key} has no specification in journal partition {self.partition} before offset "
                f"{record.offset}; append a Market event first"
            )
        tape = self._tapes[key]
        outbox.key = key.encode()
        tape.begin(record.offset, outbox.emit)
        return tape

    def _is_new(self, entry: Input, outbox: "_Outbox") -> bool:
        """False for what has been folded before: a repeated command, or a source's repeated record."""
        if not entry.source:
            request = getattr(entry.event, "request", "")
            if request and request in self._requests:
                self._repeats += 1
                return False
            if request:
                self._requests[request] = None
                if len(self._requests) > REQUESTS_MAX:
                    del self._requests[next(iter(self._requests))]
            return True
        if not 0 <= min(entry.epoch, entry.sequence) <= max(entry.epoch, entry.sequence) < INT64_MAX:
            raise CommandError(f"source {entry.source}: epoch {entry.epoch}, sequence {entry.sequence}")
        known = self._sources.get(entry.source)
        due = known.due if known and known.epoch == entry.epoch else 0
        if known and (entry.epoch < known.epoch or entry.sequence < due):
            self._repeats += 1
            return False
        if entry.sequence > due:
            outbox.emit(SYSTEM, SourceHole(entry.source, entry.epoch, due, entry.sequence))
        self._sources[entry.source] = Source(entry.epoch, entry.sequence + 1)
        return True

    # ------------------------------------------------------------ hashes and state

    def _seal(self, record: Record) -> None:
        self._chain_before, self._chain = self._chain, _linked(self._chain, record)
        self.applied = record.offset

    def ends_with(self, record: Record) -> bool:
        """Whether `record`, at offset `applied` of a log, is the one that was folded last."""
        return _linked(self._chain_before, record) == self._chain

    @property
    def journal_sha256(self) -> str:
        """Chained SHA-256 over key and value of every record folded."""
        return self._chain.hex()

    def state_sha256(self) -> str:
        return sha256(self._state()).hexdigest()

    def snapshot(self) -> bytes:
        """The whole state; the same journal gives the same bytes."""
        self._rebase()
        return self._base

    def restore(self, state: bytes) -> None:
        """Become the fold whose `snapshot` this was. Raises `ValueError` for other bytes or versions."""
        held = msgspec.msgpack.decode(state, type=PipelineState)
        if held.version != STATE_VERSION:
            raise ValueError(f"the state has version {held.version}, this code folds version {STATE_VERSION}")
        self.applied, self._chain, self._chain_before = held.applied, held.chain, held.chain_before
        self._sources, self._requests = held.sources, dict.fromkeys(held.requests)
        self._registered, self._repeats = held.registered, held.repeats
        self._tapes = {tape.market.key: Tape.restore(tape, self.strategies) for tape in held.tapes}
        self._base, self._since_base, self._bytes_since_base = state, [], 0

    def _state(self) -> bytes:
        return msgspec.msgpack.encode(
            PipelineState(
                STATE_VERSION,
                self.applied,
                self._chain,
                self._chain_before,
                [tape.state() for tape in self._tapes.values()],
                self._sources,
                list(self._requests),
                self._registered,
                self._repeats,
            )
        )

    def _rebase(self) -> None:
        self._base, self._since_base, self._bytes_since_base = self._state(), [], 0

    def _rebase_if_due(self, record: Record) -> None:
        if (
            not self._base
            or len(self._since_base) >= BASE_RECORDS_MAX
            or self._bytes_since_base >= BASE_BYTES_MAX
        ):
            self._rebase()
        self._bytes_since_base += len(record.value)

    def _roll_back(self) -> None:
        """The state before the record that raised: the base, and what was folded since."""
        tail = self._since_base
        self.restore(self._base)
        for record in tail:
            self._apply(record, _Outbox(record))
            self._seal(record)

    # ------------------------------------------------------------ to look at

    @property
    def registered(self) -> int:
        """Bots registered in this partition; only partition 0 has any."""
        return self._registered

    @property
    def sources(self) -> dict[str, Source]:
        return self._sources

    @property
    def tapes(self) -> dict[str, Tape]:
        return self._tapes


class _Outbox:
    """Collects the events of one record and gives each its cause.

    Markets come one after the other, and what belongs to none (key b"") last: so causes rise within a topic,
    and a reader may hide what is at or before the last cause that it saw.
    """

    def __init__(self, record: Record, count: int = 0) -> None:
        self.record = record
        self.key = record.key or b""
        self.count = count
        self._boxes: dict[tuple[str, bytes], tuple[list[int], list[DerivedEvent]]] = {}

    def emit(self, topic: str, event: DerivedEvent) -> Cause:
        indexes, emitted = self._boxes.setdefault((topic, self.key), ([], []))
        index = self.count
        self.count += 1
        indexes.append(index)
        emitted.append(event)
        return Cause(self.record.partition, self.record.offset, index)

    def derived(self) -> list[Derived]:
        return [
            Derived(topic, key, value, self.record.time_ms)
            for (topic, key), (indexes, emitted) in self._boxes.items()
            for value in self._encoded(tuple(indexes), tuple(emitted))
        ]

    def _encoded(self, indexes: tuple[int, ...], emitted: tuple[DerivedEvent, ...]) -> list[bytes]:
        value = encode(Output(self.record.partition, self.record.offset, indexes, emitted))
        if len(value) <= RECORD_BYTES_MAX:
            return [value]
        if len(emitted) == 1:
            raise CommandError(
                f"an event of {len(value)} bytes follows from it; at most {RECORD_BYTES_MAX} may"
            )
        half = len(emitted) // 2
        return self._encoded(indexes[:half], emitted[:half]) + self._encoded(indexes[half:], emitted[half:])


def _linked(chain: bytes, record: Record) -> bytes:
    digest = sha256(chain)
    for part in (record.key or b"", record.value):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _words(error: Exception) -> str:
    known = isinstance(error, UndecodableError | CommandError)
    return (str(error) if known else f"{type(error).__name__}: {error}")[:WORDS_MAX]


def _factor(entry: events.RowMarket, market: Market, field: str) -> int:
    ours, theirs = getattr(market, field), getattr(entry, field)
    if not 0 <= theirs <= ours:
        raise CommandError(
            f"market {entry.key}: rows at {field} {theirs}, but the specification has {ours}; "
            "append a Market event with the larger scale first"
        )
    return 10 ** (ours - theirs)


def _scaled(column: np.ndarray[Any, np.dtype[np.int64]], factor: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    if factor == 1:
        return column
    limit = (2**63 - 1) // factor
    if len(column) and int(np.abs(column).max()) > limit:
        raise OverflowError(f"a value of {int(np.abs(column).max())} × {factor} exceeds 64 bits")
    return column * factor
