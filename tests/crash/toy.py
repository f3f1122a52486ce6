"""A fold and a sink small enough to be obviously right, for tests of the agents.

The fold keeps a sum and a hash chain, so that an input that was skipped, repeated or swapped shows in
every later output. Outputs begin with their cause (partition, offset, index), as those of the real fold.
"""

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from infra.db.connect import use_wal
from streams.agents.engine import Fold, Sending
from streams.agents.sinks import SinkUnreachableError
from streams.log import Log
from streams.records import Entry, Record
from streams.topics import CANDLES, JOURNAL, SYSTEM, TRADES

TOPICS = (CANDLES, TRADES, SYSTEM)
Row = tuple[bytes | None, bytes, int]
"""Key, value, record time in ms."""

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


class ToyFold:
    """`ballast`: bytes added to the state, to make snapshots of several records."""

    def __init__(self, partition: int, state: bytes | None, ballast: int = 0) -> None:
        self.applied, self._sum, self._chain = -1, 0, b""
        self._partition = partition
        self._ballast = bytes(ballast)
        if state is not None:
            version, self.applied, self._sum, self._chain, _ = _decode(state)
            if version != 1:
                raise ValueError(f"state of version {version}")

    def fold(self, record: Record) -> Sequence[Sending]:
        self.applied = record.offset
        self._chain = hashlib.sha256(self._chain + record.value).digest()
        if not record.value.isdigit():
            return [self._output(SYSTEM, record, 0, "not a number")]
        self._sum += int(record.value)
        outputs = [self._output(CANDLES, record, 0, self._sum)]
        if int(record.value) % 3 == 0:
            outputs += [self._output(TRADES, record, index, self._sum) for index in (1, 2)]
        return outputs

    def snapshot(self) -> bytes:
        return _encode([1, self.applied, self._sum, self._chain, self._ballast])

    def _output(self, topic: str, record: Record, index: int, content: object) -> Sending:
        value = _encode([self._partition, record.offset, index, content, self._chain])
        return topic, record.key or b"", value, record.time_ms


def small(partition: int, state: bytes | None) -> Fold:
    return ToyFold(partition, state)


def large(partition: int, state: bytes | None) -> Fold:
    return ToyFold(partition, state, ballast=2_000_000)


def picky(partition: int, state: bytes | None) -> Fold:
    """Understands no state, as after a change of its form."""
    if state is not None:
        raise ValueError("state of another version")
    return ToyFold(partition, None)


class FailingFold(ToyFold):
    def fold(self, record: Record) -> Sequence[Sending]:
        if record.value == b"99":
            raise ZeroDivisionError("a fault of the fold")
        return super().fold(record)


class ToySink:
    """Rows by cause, and positions, in a SQLite file. It is away while a file `….away` stands beside it."""

    def __init__(self, path: Path) -> None:
        self.away = path.with_suffix(".away")
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        use_wal(self._db)
        self._db.executescript(
            "CREATE TABLE IF NOT EXISTS positions"
            " (topic TEXT, partition INTEGER, at INTEGER, PRIMARY KEY (topic, partition));"
            "CREATE TABLE IF NOT EXISTS rows (topic TEXT, partition INTEGER, cause INTEGER,"
            " idx INTEGER, key BLOB, value BLOB, time_ms INTEGER,"
            " PRIMARY KEY (topic, partition, cause, idx));"
        )

    def positions(self) -> Mapping[tuple[str, int], int]:
        if self.away.exists():
            raise SinkUnreachableError(f"toy sink: {self.away} stands here")
        rows = self._db.execute("SELECT topic, partition, at FROM positions")
        return {(topic, partition): at for topic, partition, at in rows}

    def apply(self, records: Sequence[Record]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            at = dict(self.positions())
            for record in records:
                place = (record.topic, record.partition)
                if at.get(place, -1) + 1 != record.offset:
                    raise ValueError(f"{place} stands at {at.get(place)}, not before {record.offset}")
                at[place] = record.offset
                self._add(record)
            rows = [(topic, partition, to) for (topic, partition), to in at.items()]
            self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def contents(self) -> dict[tuple[str, int], list[Row]]:
        contents: dict[tuple[str, int], list[Row]] = defaultdict(list)
        query = "SELECT topic, partition, key, value, time_ms FROM rows ORDER BY cause, idx"
        for topic, partition, key, value, time_ms in self._db.execute(query):
            contents[topic, partition].append((key, value, time_ms))
        return dict(contents)

    def close(self) -> None:
        self._db.close()

    def _add(self, record: Record) -> None:
        _, offset, index, *_ = _decode(record.value)
        row = (record.topic, record.partition, offset, index, record.key, record.value, record.time_ms)
        self._db.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def journal(numbers: Iterable[int], partitions: int) -> list[Entry]:
    """Entries spread unevenly over the partitions; every 37th is no number."""
    return [
        Entry(
            JOURNAL,
            f"toy:{n % 7}".encode(),
            b"bad" if n % 37 == 0 else str(n).encode(),
            1_700_000_000_001 + 7 * n,
            n * n % partitions if n % 5 else n % partitions,
        )
        for n in numbers
    ]


def expected(log: Log, factory: Callable[[int, bytes | None], Fold]) -> dict[tuple[str, int], list[Row]]:
    """What the pure fold makes of the journal."""
    outputs: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for partition in range(log.partitions):
        fold = factory(partition, None)
        for record in log.read(JOURNAL, partition):
            for topic, key, value, time_ms in fold.fold(record):
                outputs[topic, partition].append((key, value, time_ms))
    return dict(outputs)


def recorded(log: Log, topics: Sequence[str]) -> tuple[dict[tuple[str, int], list[Row]], int]:
    """What stands in the log with repeats hidden, and how many were hidden."""
    outputs: dict[tuple[str, int], list[Row]] = defaultdict(list)
    repeats = 0
    for topic in topics:
        for partition in range(log.partitions):
            last = (-1, -1)
            for record in log.read(topic, partition):
                _, offset, index, *_ = _decode(record.value)
                if (offset, index) <= last:
                    repeats += 1
                    continue
                last = (offset, index)
                outputs[topic, partition].append((record.key, record.value, record.time_ms))
    return dict(outputs), repeats
