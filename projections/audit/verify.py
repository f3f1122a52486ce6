"""Verify: fold the journal again and compare every derived record with the recorded one, byte by byte."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec
from msgspec import Struct

from projections.audit.anchors import Anchor, Anchored
from projections.audit.bars import BarsCheck
from projections.audit.damage import Damage, damage
from projections.audit.recorded import Recorded, head_of, recorded
from projections.audit.writers import Writers
from projections.fold.outbox import Derived
from projections.fold.pipeline import STATE_VERSION, Pipeline, PositionError, StateHead
from projections.strategies.code import Strategies
from streams.codec import UndecodableError, decode_output, encode
from streams.events import Checkpoint
from streams.genesis import JournalRefusedError, genesis_of
from streams.log import Log
from streams.records import Record
from streams.topics import CANDLES, DERIVED, JOURNAL, SYSTEM


class Difference(Struct, frozen=True):
    """The first record that differs. `expected` and `found` are record values; None: there is none."""

    topic: str
    partition: int
    offset: int | None
    cause: str
    why: str
    expected: bytes | None
    found: bytes | None


class Verified(Struct):
    """Result of a verification.

    `compared` counts events by topic, `repeats` the hidden records. `behind` counts journal records from the
    first on whose outputs are not recorded, as if no engine had folded them yet; nothing is proven of them.
    `states_unchecked` counts checkpoints and snapshots of an older version of the state than the one that is
    folded today: of them the journal's hash alone was compared. `started` says when workers started, in ns
    UTC, by their epochs. `state_hash` is a hash over the state hashes of all partitions. `damaged`: of all
    streams; they are all named, whatever else differs.
    """

    compared: dict[str, int]
    repeats: int = 0
    behind: int = 0
    records: int = 0
    states_unchecked: int = 0
    started: dict[int, int] = {}
    state_hash: str = ""
    difference: Difference | None = None
    damaged: list[Damage] = []

    @property
    def equal(self) -> bool:
        return self.difference is None and not self.damaged

    @property
    def proven(self) -> bool:
        """Whether anything was compared."""
        return any(self.compared.values())


State = tuple[int, bytes]
"""A stored snapshot: applied offset and state."""


class Witness(NamedTuple):
    """What somebody beside the derived streams of a partition knows of them; `name` says who.

    `folded`: by topic, the journal offset up to which all outputs were recorded. `reached`: by topic, the
    offset of the last record that was read there.
    """

    name: str
    folded: Mapping[str, int]
    reached: Mapping[str, int]


def _nobody(_partition: int) -> Iterable[Witness]:
    return ()


def verify(
    log: Log,
    strategies: Strategies,
    stored: Callable[[int], State | None],
    witnesses: Callable[[int], Iterable[Witness]] = _nobody,
    anchors: Sequence[Anchor] = (),
    progress: Callable[[int], None] = lambda records: None,
) -> Verified:
    """Fold every journal partition from its beginning and compare; stops at the first difference.

    Compared are values, keys and times of records, and of their headers what binds them (`writers`). `stored`
    gives the newest snapshot of a partition; its bytes are compared too, which covers the records since the
    last checkpoint. `witnesses` know how far a partition was folded: what is missing before that was removed.
    What `anchors` say is damage where the log does not contain it. `progress` is told the number of journal
    records folded so far.
    """
    anchored = Anchored(log, anchors)
    result = Verified(dict.fromkeys(DERIVED, 0), damaged=list(damage(log, anchored.note)))
    result.damaged.extend(anchored.faults())
    states, writers = sha256(), Writers(log)
    for partition in range(log.partitions):
        pipeline = Pipeline(partition, strategies)
        known = _Known(stored(partition), witnesses(partition))
        result.difference = known.cut(log, partition) or _partition(
            log, pipeline, known, writers, result, progress
        )
        if result.difference is not None:
            return result
        states.update(pipeline.state_sha256().encode())
    result.state_hash = states.hexdigest()
    result.started = writers.started()
    return result


def _partition(
    log: Log,
    pipeline: Pipeline,
    known: "_Known",
    writers: Writers,
    result: Verified,
    progress: Callable[[int], None],
) -> Difference | None:
    partition, state = pipeline.partition, known.state
    streams = {topic: _Stream(log, topic, partition, writers, result) for topic in DERIVED}
    bars = BarsCheck(log)
    stop = behind = log.highwater(JOURNAL, partition)
    before = sum(result.compared.values())
    for record in log.read(JOURNAL, partition, 0, stop):
        derived = _folded(pipeline, record, log.partitions)
        if isinstance(derived, Difference):
            return derived
        for item in derived:
            stream = streams.get(item.topic)
            if stream is None:
                continue
            folded, says = known.folded[item.topic]
            if stream.ended and record.offset > folded:
                behind = min(behind, record.offset)
                continue
            difference = stream.compare(item, says)
            if difference is not None:
                return difference
        difference = None if _dead(derived) else streams[CANDLES].bars(record, bars)
        if difference is not None:
            return difference
        if state is not None and state[0] == record.offset and not _same_state(state[1], pipeline, result):
            return _state_differs(record, pipeline)
        result.records += record.offset > 0  # nothing follows from the genesis
        progress(result.records)
    if state is None and sum(result.compared.values()) == before:
        behind = 0
    result.behind += max(0, pipeline.applied + 1 - max(behind, 1))
    if state is not None and state[0] > pipeline.applied:
        why = (
            f"a snapshot stands at offset {state[0]}, but the journal ends at {pipeline.applied}: it was cut"
        )
        return Difference(JOURNAL, partition, pipeline.applied, "unknown", why, None, None)
    for stream in streams.values():
        if not stream.ended:
            return stream.surplus()
    return None


def _folded(pipeline: Pipeline, record: Record, partitions: int) -> list[Derived] | Difference:
    try:
        derived = pipeline.fold(record).derived
        begun = genesis_of(record).partitions if record.offset == 0 else partitions
        if begun == partitions:
            return derived
        why = f"the journal began with {begun} partitions, the log has {partitions}"
    except JournalRefusedError as error:
        if not record.damaged:
            raise
        why = str(error)
    except PositionError as error:
        why = str(error)
    return Difference(JOURNAL, record.partition, record.offset, "unknown", why, None, None)


def _dead(derived: list[Derived]) -> bool:
    """Whether the record is a dead letter, which had no effect."""
    return any(item.topic == SYSTEM for item in derived)


def _same_state(state: bytes, pipeline: Pipeline, result: Verified) -> bool:
    """Of a state of an older version, the journal's hash alone can be compared."""
    if state == pipeline.snapshot():
        return True
    try:
        head = msgspec.msgpack.decode(state, type=StateHead)
    except msgspec.DecodeError:
        return False
    result.states_unchecked += head.version < STATE_VERSION
    return head.version < STATE_VERSION and head.chain.hex() == pipeline.journal_sha256


def _state_differs(record: Record, pipeline: Pipeline) -> Difference:
    return Difference(
        JOURNAL, record.partition, record.offset, f"{record.partition}:{record.offset}",
        "the snapshot of the fold's state up to here was made of other journal bytes: a record at or before "
        f"this one was changed after it was folded (journal now: sha256 {pipeline.journal_sha256})",
        None, None,
    )  # fmt: skip


class _Known:
    """What is known of a partition beside its derived streams, by topic, and who says so.

    `folded`: the journal offset up to which all outputs were recorded, −1 for none.
    """

    def __init__(self, state: State | None, witnesses: Iterable[Witness]) -> None:
        self.state = state
        newest = -1 if state is None else state[0]
        self.folded: dict[str, tuple[int, str]] = dict.fromkeys(DERIVED, (newest, "the newest snapshot"))
        self._reached: dict[str, tuple[int, str]] = dict.fromkeys(DERIVED, (-1, ""))
        for name, folded, reached in witnesses:
            for topic in DERIVED:
                self.folded[topic] = max(self.folded[topic], (folded.get(topic, -1), name))
                self._reached[topic] = max(self._reached[topic], (reached.get(topic, -1), name))

    def cut(self, log: Log, partition: int) -> Difference | None:
        """A stream that ends before what was read of it."""
        for topic, (offset, name) in self._reached.items():
            end = log.highwater(topic, partition)
            if end <= offset:
                why = (
                    f"the stream ends before offset {end}, but {name} has read {offset}: it was cut, or is of"
                    " another log"
                )
                return Difference(topic, partition, None, "unknown", why, None, None)
        return None


class _Stream:
    """The recorded records of one derived topic and partition, one ahead."""

    def __init__(self, log: Log, topic: str, partition: int, writers: Writers, result: Verified) -> None:
        self.topic, self.partition, self.result = topic, partition, result
        self._writers = writers
        self._records: Iterator[Recorded] = recorded(log, topic, partition)
        self._next: Recorded | None = None
        self._end = log.highwater(topic, partition)
        self._advance()

    @property
    def ended(self) -> bool:
        return self._next is None

    def compare(self, expected: Derived, says: str) -> Difference | None:
        """`says`: who knows that it was recorded."""
        found = self._next
        if found is None:
            return self._difference(
                expected.value, None, f"the record is missing, though {says} comes after it"
            )
        fault = self._fault(expected, found)
        if fault:
            return self._difference(expected.value, found.record, fault)
        assert found.head is not None
        self.result.compared[self.topic] += len(found.head.indexes)
        self._advance()
        return None

    def bars(self, record: Record, check: BarsCheck) -> Difference | None:
        """Of a command: whether its candles are those of this stream up to here."""
        stop = self._end if self._next is None else self._next.record.offset
        fault = check.fault(record, stop, whole=not self.ended)
        if fault is None:
            return None
        bars, why = fault
        cause = f"{bars.partition}:{bars.offset}"
        return Difference(JOURNAL, bars.partition, bars.offset, cause, why, None, None)

    def surplus(self) -> Difference:
        found = self._next
        assert found is not None
        why = self._fault_of_repeat(found) if found.repeat else "the journal does not give this record"
        return self._difference(None, found.record, why)

    def _fault(self, expected: Derived, found: Recorded) -> str:
        record = found.record
        if found.repeat:
            return self._fault_of_repeat(found)
        if record.key != expected.key or (
            record.value != expected.value and not self._is_of_another_state(expected.value, record.value)
        ):
            return "the record differs from what the journal gives"
        if record.time_ms != expected.time_ms:
            return f"the record's time is {record.time_ms} ms, that of its cause is {expected.time_ms} ms"
        return self._writers.fault(record)

    def _fault_of_repeat(self, found: Recorded) -> str:
        other = "it has other bytes or another time" if found.conflict else self._writers.fault(found.record)
        return f"a repeat of an earlier record: {other}"

    def _is_of_another_state(self, expected: bytes, found: bytes) -> bool:
        """Whether it is a checkpoint of an older version of the state, and all else in it is the same."""
        try:
            ours, theirs = decode_output(expected), decode_output(found)
        except UndecodableError:
            return False
        match ours.events, theirs.events:
            case (
                (Checkpoint(journal_sha256=journal, state_version=version),),
                (Checkpoint(journal_sha256=journal_then, state_version=version_then),),
            ):
                alike = version_then < version and journal == journal_then
            case _:
                return False
        self.result.states_unchecked += alike
        return alike and encode(msgspec.structs.replace(theirs, events=ours.events)) == expected

    def _advance(self) -> None:
        for item in self._records:
            if not item.repeat or item.conflict or self._writers.fault(item.record):
                self._next = item
                return
            self.result.repeats += 1
        self._next = None

    def _difference(self, expected: bytes | None, found: Record | None, why: str) -> Difference:
        head = head_of(expected if expected is not None else found.value if found else b"")
        cause = f"{head.partition}:{head.offset}:{head.indexes[0]}" if head and head.indexes else "unknown"
        return Difference(
            self.topic, self.partition, found.offset if found else None, cause, why, expected,
            found.value if found else None,
        )  # fmt: skip
