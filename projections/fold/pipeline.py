"""The fold: one journal partition in, derived events out. Start reading here.

    journal record ── decode ──► source known? ──► by kind of event
       TickBatch, Clock ──► Tape.fold_rows   ticks → candles → signals → decisions → orders → fills → equity
       Market, Gap …    ──► Tape             a market's specification and its holes
       bot commands     ──► commands         create, start, stop, halt, reconfigure, signal
    ──► Outbox: outputs by topic and market, each with its cause ──► hash chain ──► sometimes a checkpoint

Live running, recovery, audit and backtest all call `Pipeline.fold`. It reads nothing but the record: no
clock, no randomness, no setting, no other topic. A record is folded whole or not at all: one that cannot be
decoded or that makes the fold raise becomes a dead letter, the state is what it was before, and the market
goes on.

Why: ADR 1, 5.
"""

from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from projections.fold.book import BotBook
from projections.fold.bots import CodeMissingError
from projections.fold.by_market import by_market
from projections.fold.commands import ToBots, obey
from projections.fold.money import INT64_MAX
from projections.fold.outbox import Derived, Outbox, Report
from projections.fold.specification import check_specification
from projections.fold.tape import Tape, TapeState
from projections.fold.turn import CommandError, Progress, Turn
from projections.fold.view import Source, View
from projections.strategies.code import Strategies
from streams import events
from streams.codec import UndecodableError, input_of
from streams.events import Checkpoint, Clock, Market, RowKind, SourceHole, TickBatch
from streams.genesis import RULES, JournalRefusedError, check_rules, fits, genesis_of
from streams.records import KEY_SHOWN_BYTES, Input, Record, dead_letter
from streams.ticks import unpack
from streams.topics import BOTS, SYSTEM

STATE_VERSION = 5
"""Raised with every change of the state's form: older snapshots are then folded anew from the journal."""
CHECKPOINT_RECORDS = 512
REQUESTS_MAX = 4096
"""So many request ids of commands are remembered, the newest, to recognise repeats."""
BASE_RECORDS_MAX = 64
BASE_BYTES_MAX = 8_000_000
"""A rollback restores the last base and folds again what followed it: at most so much."""


REASON_LENGTH_MAX = 2_000
"""So much of an error's text goes into a dead letter: it may quote the whole record."""


class Folded(NamedTuple):
    """What follows from a journal record, in order, and what the fold did."""

    derived: list[Derived]
    report: Report


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
    home: str
    rules: int


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
    recorded hashes name. Without `bots` nothing but candles follows.
    """

    def __init__(self, partition: int, strategies: Strategies, *, bots: bool = True) -> None:
        self.partition = partition
        self.strategies = strategies
        self._with_bots = bots
        self.applied = -1
        self._chain = self._chain_before = bytes(32)
        self._tapes: dict[str, Tape] = {}
        self._sources: dict[str, Source] = {}
        self._requests: dict[str, None] = {}
        self._registered = 0
        self._repeats = 0
        self._home = ""
        self._rules = RULES
        self.progress = Progress()
        self._base = b""
        self._since_base: list[Record] = []
        self._bytes_since_base = 0

    # ------------------------------------------------------------ the fold

    def fold(self, record: Record) -> Folded:
        """Fold the record that follows.

        Raises `PositionError` when `record` does not follow `applied`, `JournalRefusedError` where the
        partition does not begin with a genesis or goes on by rules of a later release, and `CodeMissingError`
        when it needs strategy code that is not at hand: the pipeline is then of no more use. Nothing else for
        its content.
        """
        if record.offset != self.applied + 1 or record.partition != self.partition:
            raise PositionError(
                f"journal partition {self.partition}: expected offset {self.applied + 1}, got "
                f"{record.partition}:{record.offset}; records are missing from the log or out of order"
            )
        outbox = Outbox(record)
        if record.offset == 0:
            begun = genesis_of(record)
            self._home, self._rules = begun.home, begun.rules
        self._rebase_if_due(record)
        try:
            self._apply(record, outbox)
            self._complete(outbox.report)
            derived = outbox.derived()
            self._since_base.append(record)
            self._seal(record)
        except (MemoryError, CodeMissingError, JournalRefusedError):
            raise
        except UndecodableError as error:  # nothing was touched
            outbox = self._dead_letter(record, error)
            derived = outbox.derived()
            self._since_base.append(record)
            self._seal(record)
        except Exception as error:  # noqa: BLE001 - whatever a record makes the fold raise is a dead letter
            self._roll_back()
            outbox = self._dead_letter(record, error)
            derived = outbox.derived()
            self._seal(record)
            self._rebase()
        if record.offset % CHECKPOINT_RECORDS == CHECKPOINT_RECORDS - 1:
            derived += self._checkpoint(record, outbox)
        return Folded(derived, outbox.report)

    def _apply(self, record: Record, outbox: Outbox) -> None:
        entry = input_of(record)
        outbox.source = entry.source
        if self._is_new(entry, outbox):
            self._by_kind(entry.event, record, outbox)

    def _checkpoint(self, record: Record, after: Outbox) -> list[Derived]:
        outbox = Outbox(record, after.count)
        outbox.key = b""
        outbox.emit(
            BOTS,
            Checkpoint(
                journal_sha256=self._chain.hex(),
                state_sha256=self.state_sha256(),
                state_version=STATE_VERSION,
            ),
        )
        return outbox.derived()

    def _dead_letter(self, record: Record, error: Exception) -> Outbox:
        outbox = Outbox(record)
        outbox.key = outbox.key[:KEY_SHOWN_BYTES]
        outbox.emit(SYSTEM, dead_letter(record, _reason(error)))
        with suppress(UndecodableError, CommandError):
            self._is_new(input_of(record), outbox)
        return outbox

    def _by_kind(self, event: events.JournalEvent, record: Record, outbox: Outbox) -> None:
        match event:
            case TickBatch():
                self._ticks(event, record, outbox)
            case Clock():
                self._clock(event, record, outbox)
            case Market():
                self._market(event, record, outbox)
            case events.Genesis():
                self._repeats += record.offset > 0
            case events.Rules():
                self._take_rules(event, record)
            case events.Feed() | events.Gap() | events.GapFilled() | events.IdsReset():
                tape, turn = self._turn(event.market, record, outbox)
                tape.take(turn, event)
            case events.RegisterBot():
                self._registered += 1
            case events.HaltBot(bot_id=None):
                for key in self._tapes:
                    self._command(key, event, record, outbox)
            case events.CreateBot() | events.Bars():
                self._command(event.market, event, record, outbox)
            case _:
                self._command((record.key or b"").decode(), event, record, outbox)

    def _command(self, key: str, command: ToBots, record: Record, outbox: Outbox) -> None:
        tape, turn = self._turn(key, record, outbox)
        if self._with_bots:
            obey(turn, tape.bots, command)

    def _ticks(self, batch: TickBatch, record: Record, outbox: Outbox) -> None:
        ticks = unpack(batch)
        outbox.report.kinds = ticks.kind
        parts = by_market(ticks, len(batch.markets))
        for entry, rows in zip(batch.markets, parts, strict=True):
            tape, turn = self._turn(entry.key, record, outbox)
            price = _scaled(rows.price, _factor(entry, tape.market, "price_scale"))
            size = _scaled(rows.size, _factor(entry, tape.market, "size_scale"))
            tape.fold_rows(turn, rows.time, price, size, rows.kind, rows.id, rows.row)

    def _clock(self, clock: Clock, record: Record, outbox: Outbox) -> None:
        time, zero = np.array([clock.time], np.int64), np.zeros(1, np.int64)
        kind = np.array([RowKind.CLOCK], np.uint8)
        outbox.report.kinds = kind.repeat(len(clock.markets))
        for key in clock.markets:
            tape, turn = self._turn(key, record, outbox)
            tape.fold_rows(turn, time, zero, zero, kind, None)

    def _take_rules(self, rules: events.Rules, record: Record) -> None:
        if not fits(rules) or rules.number <= self._rules:
            raise CommandError(
                f"rules {rules.number}, {rules.sha256}: a number above {self._rules} with its SHA-256 is due"
            )
        check_rules(rules.number, f"{record.topic}:{record.partition}:{record.offset}")
        self._rules = rules.number

    def _market(self, market: Market, record: Record, outbox: Outbox) -> None:
        check_specification(market)
        if market.key in self._tapes:
            tape, _ = self._turn(market.key, record, outbox)
            tape.respecify(market)
        else:
            self._tapes[market.key] = Tape(market, self.strategies)

    def _turn(self, key: str, record: Record, outbox: Outbox) -> tuple[Tape, Turn]:
        """The record's turn at a market, whose events come next."""
        if key not in self._tapes:
            raise CommandError(
                f"market {key} has no specification in journal partition {self.partition} before offset "
                f"{record.offset}; append a Market event first"
            )
        tape = self._tapes[key]
        outbox.key = key.encode()
        outbox.report.watermarks[key] = watermark = tape.candles.watermark
        return tape, Turn(
            tape.market,
            outbox.source,
            record.offset,
            watermark,
            outbox.emit,
            outbox.next_cause,
            self.progress,
            outbox.report.account,
        )

    def _complete(self, report: Report) -> None:
        """How far the markets that the record touched have come."""
        for key in report.watermarks:
            tape = self._tapes[key]
            report.watermarks[key] = tape.candles.watermark
            if tape.gaps.open:
                report.gaps[key] = tape.gaps.open

    def _is_new(self, entry: Input, outbox: Outbox) -> bool:
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
            outbox.emit(
                SYSTEM, SourceHole(source=entry.source, epoch=entry.epoch, expected=due, got=entry.sequence)
            )
        self._sources[entry.source] = Source(entry.epoch, entry.sequence + 1)
        return True

    # ------------------------------------------------------------ hashes and state

    def _seal(self, record: Record) -> None:
        self._chain_before, self._chain = self._chain, linked(self._chain, record)
        self.applied = record.offset

    def ends_with(self, record: Record) -> bool:
        """Whether `record`, at offset `applied` of a log, is the one that was folded last."""
        return linked(self._chain_before, record) == self._chain

    @property
    def journal_sha256(self) -> str:
        """Chained SHA-256 over time, key, value and headers of every record folded."""
        return self._chain.hex()

    def state_sha256(self) -> str:
        return sha256(self._state()).hexdigest()

    def snapshot(self) -> bytes:
        """The whole state; the same journal gives the same bytes."""
        return self._state()

    def restore(self, state: bytes) -> None:
        """Become the fold whose `snapshot` this was.

        Raises `ValueError` for other bytes or versions, `JournalRefusedError` for rules of a later release.
        """
        held = msgspec.msgpack.decode(state, type=PipelineState)
        if held.version != STATE_VERSION:
            raise ValueError(f"the state has version {held.version}, this code folds version {STATE_VERSION}")
        check_rules(held.rules, f"a snapshot of journal partition {self.partition} at {held.applied}")
        self.applied, self._chain, self._chain_before = held.applied, held.chain, held.chain_before
        self._sources, self._requests = held.sources, dict.fromkeys(held.requests)
        self._registered, self._repeats = held.registered, held.repeats
        self._home, self._rules = held.home, held.rules
        self._tapes = {tape.market.key: Tape.restore(tape, self.strategies) for tape in held.tapes}
        if not self._with_bots:
            for key, tape in self._tapes.items():
                tape.bots = BotBook(key, self.strategies)
        self._base, self._since_base, self._bytes_since_base = b"", [], 0

    def _state(self, *, identities: bool = True) -> bytes:
        return msgspec.msgpack.encode(
            PipelineState(
                STATE_VERSION,
                self.applied,
                self._chain,
                self._chain_before,
                [tape.state(identities=identities) for tape in self._tapes.values()],
                self._sources,
                list(self._requests),
                self._registered,
                self._repeats,
                self._home,
                self._rules,
            )
        )

    def _rebase(self) -> None:
        self._base, self._since_base, self._bytes_since_base = self._state(identities=False), [], 0
        for tape in self._tapes.values():
            tape.seen.begin()

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
        tail, seen = self._since_base, {key: tape.seen for key, tape in self._tapes.items()}
        self.restore(self._base)
        for key, tape in self._tapes.items():
            tape.seen = seen[key]
            tape.seen.go_back()
        for record in tail:
            with suppress(UndecodableError):
                self._apply(record, Outbox(record))
            self._seal(record)

    def view(self) -> View:
        """What others may see of it, between two records."""
        return View(self.applied, self._home, self._registered, self._requests, self._sources, self._tapes)


def linked(chain: bytes, record: Record) -> bytes:
    """The chain with `record`: SHA-256 over the chain before it, its time, key, headers and value."""
    head = [chain, record.time_ms.to_bytes(8, "big", signed=True), len(record.headers).to_bytes(8, "big")]
    headers = [part for name, value in record.headers for part in (name.encode(), value)]
    for part in (record.key or b"", *headers):
        head += (len(part).to_bytes(8, "big"), part)
    digest = sha256(b"".join(head))
    digest.update(record.value)
    return digest.digest()


def _reason(error: Exception) -> str:
    known = isinstance(error, UndecodableError | CommandError)
    return (str(error) if known else f"{type(error).__name__}: {error}")[:REASON_LENGTH_MAX]


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
