"""Verify: fold the journal again and compare every derived record with the recorded one, byte by byte."""

from collections.abc import Callable, Iterator
from hashlib import sha256

from msgspec import Struct

from projections.audit.recorded import Recorded, head_of, recorded
from projections.pipeline import Derived, Pipeline, PositionError
from projections.strategies.code import Strategies
from streams.log import Log, Record
from streams.topics import DERIVED, JOURNAL


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
    first on whose outputs are not recorded because no engine has folded them yet. `state_hash` is a hash over
    the state hashes of all partitions.
    """

    compared: dict[str, int]
    repeats: int = 0
    behind: int = 0
    records: int = 0
    state_hash: str = ""
    difference: Difference | None = None

    @property
    def equal(self) -> bool:
        return self.difference is None


State = tuple[int, bytes]
"""A stored snapshot: applied offset and state."""


def verify(
    log: Log,
    strategies: Strategies,
    stored: Callable[[int], State | None],
    progress: Callable[[int], None] = lambda records: None,
) -> Verified:
    """Fold every journal partition from its beginning and compare; stops at the first difference.

    `stored` gives the newest snapshot of a partition; its bytes are compared too, which covers the records
    since the last checkpoint. `progress` is told the number of journal records folded so far.
    """
    result = Verified(dict.fromkeys(DERIVED, 0))
    states = sha256()
    for partition in range(log.partitions):
        pipeline = Pipeline(partition, strategies)
        result.difference = _partition(log, pipeline, stored(partition), result, progress)
        if result.difference is not None:
            return result
        states.update(pipeline.state_sha256().encode())
    result.state_hash = states.hexdigest()
    return result


def _partition(
    log: Log,
    pipeline: Pipeline,
    state: State | None,
    result: Verified,
    progress: Callable[[int], None],
) -> Difference | None:
    partition = pipeline.partition
    streams = {topic: _Stream(log, topic, partition, result) for topic in DERIVED}
    stop = behind = log.highwater(JOURNAL, partition)
    for record in log.read(JOURNAL, partition, 0, stop):
        unfolded = state is None or record.offset > state[0]
        try:
            derived = pipeline.fold(record)
        except PositionError as error:
            return Difference(JOURNAL, partition, record.offset, "unknown", str(error), None, None)
        for item in derived:
            stream = streams.get(item.topic)
            if stream is None:
                continue
            if stream.ended and unfolded:
                behind = min(behind, record.offset)
                continue
            difference = stream.compare(item)
            if difference is not None:
                return difference
        if state is not None and state[0] == record.offset and state[1] != pipeline.snapshot():
            return _state_differs(record, pipeline)
        result.records += 1
        progress(result.records)
    result.behind += pipeline.applied + 1 - behind
    if state is not None and state[0] > pipeline.applied:
        why = (
            f"a snapshot stands at offset {state[0]}, but the journal ends at {pipeline.applied}: it was cut"
        )
        return Difference(JOURNAL, partition, pipeline.applied, "unknown", why, None, None)
    for stream in streams.values():
        if not stream.ended:
            return stream.surplus()
    return None


def _state_differs(record: Record, pipeline: Pipeline) -> Difference:
    return Difference(
        JOURNAL, record.partition, record.offset, f"{record.partition}:{record.offset}",
        "the snapshot of the fold's state up to here was made of other journal bytes: a record at or before "
        f"this one was changed after it was folded (journal now: sha256 {pipeline.journal_sha256})",
        None, None,
    )  # fmt: skip


class _Stream:
    """The recorded records of one derived topic and partition, one ahead."""

    def __init__(self, log: Log, topic: str, partition: int, result: Verified) -> None:
        self.topic, self.partition, self.result = topic, partition, result
        self._records: Iterator[Recorded] = recorded(log, topic, partition)
        self._next: Recorded | None = None
        self._advance()

    @property
    def ended(self) -> bool:
        return self._next is None

    def compare(self, expected: Derived) -> Difference | None:
        found = self._next
        if found is None:
            return self._difference(expected.value, None, "the record is missing")
        if found.record.value != expected.value or found.record.key != expected.key:
            return self._difference(
                expected.value, found.record, "the record differs from what the journal gives"
            )
        if found.conflict or found.head is None:
            return self._difference(expected.value, found.record, "a repeat of the record has other bytes")
        self.result.compared[self.topic] += len(found.head.indexes)
        self._advance()
        return None

    def surplus(self) -> Difference:
        assert self._next is not None
        return self._difference(None, self._next.record, "the journal does not give this record")

    def _advance(self) -> None:
        self._next = next(self._records, None)
        while self._next is not None and self._next.repeat and not self._next.conflict:
            self.result.repeats += 1
            self._next = next(self._records, None)

    def _difference(self, expected: bytes | None, found: Record | None, why: str) -> Difference:
        head = head_of(expected if expected is not None else found.value if found else b"")
        cause = f"{head.partition}:{head.offset}:{head.indexes[0]}" if head and head.indexes else "unknown"
        return Difference(
            self.topic, self.partition, found.offset if found else None, cause, why, expected,
            found.value if found else None,
        )  # fmt: skip
