"""The embedded backend of the log: one SQLite file in WAL mode, `FOLDER/log.db` of `embedded:///FOLDER`.

Its tables, for outsiders: `streams.embedded.file`.

Any process may append and read. Writers pass one gate, a lock on `log.lock` that they hold for a
transaction and for the checkpoint after it. SQLite's own lock would order them as well, but its
waiting is coarse, and up to 3.51.2 a checkpoint beside a commit may, very rarely, corrupt the file
("WAL-reset bug", sqlite.org); behind the gate the two never meet.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from streams import topics
from streams.embedded import file
from streams.embedded.tail import POLL_S, EmbeddedTail
from streams.locks import open_lock
from streams.log import LogError, Tail
from streams.records import Entry, Position, Record, partition_of

COMPACTED = frozenset({topics.SNAPSHOTS})
"""In these topics a newer record replaces the older ones of the same key; offsets keep growing."""

BUSY_S = 10.0
BUSY_STEP_S = 0.0005
CHUNK_BYTES = 4 << 20
CHUNK_ROWS_MAX = 1024
CHECKPOINT_BYTES = 8 << 20
PAGE_BYTES = 4096

_headers_encoder = msgspec.msgpack.Encoder()


class EmbeddedLog:
    """A `streams.log.Log` in one SQLite file.

    What was appended with `sync=False` outlives the process at once, a loss of power after the next
    synced append or checkpoint.
    """

    def __init__(self, url: str, partitions: int | None = None) -> None:
        """Open the log, or create it with `partitions` (default 4) a topic. Raises `LogError`."""
        self.url = url
        folder = file.folder_of(url)
        self._path = folder / file.NAME
        self._lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._topics: dict[str, int] = {}
        self._since_checkpoint_bytes = 0
        if partitions is not None and not 1 <= partitions <= file.PARTITIONS_MAX:
            raise LogError(f"log {url}: {partitions} partitions: choose 1 to {file.PARTITIONS_MAX}")
        self._gate = open_lock(folder / "log.lock", url)
        try:
            with self._errors("open"):
                self._writer = self._connect()
                self._watcher = self._connect()
                self.partitions = self._set_up(partitions)
        except LogError:
            os.close(self._gate)
            raise

    # ------------------------------------------------------------ appending

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        """Append all or nothing, in order, as one transaction. Raises `LogError`."""
        batch = list(entries)
        if not batch:
            return []
        deadline = time.monotonic() + BUSY_S
        while (positions := self.stage(batch, sync=sync)) is None:
            self._wait_for_gate(deadline)
        self.commit()
        return positions

    def stage(self, entries: list[Entry], *, sync: bool) -> list[Position] | None:
        """First half of an append: write the records, invisible until `commit`, which must follow.

        None when another writer is at work: try again. The halves are for an event loop: this one
        takes microseconds, the other waits for the disk and may run in a thread. Raises `LogError`,
        with nothing staged.
        """
        rows = [self._checked(entry) for entry in entries]
        if not self._enter_gate():
            return None
        with self._rolled_back_on_error("append"):
            self._begin(sync)
            return self._insert(rows)

    def stage_commits(self, consumer: str, offsets: Mapping[tuple[str, int], int]) -> bool:
        """Stage the next offsets that a consumer wants, by (topic, partition); False: try again."""
        if not self._enter_gate():
            return False
        with self._rolled_back_on_error("commit offsets"):
            self._begin(sync=False)
            rows = [(consumer, topic, partition, offset) for (topic, partition), offset in offsets.items()]
            self._writer.executemany(file.COMMIT_OFFSET, rows)
        return True

    def commit(self) -> None:
        """Second half: make it durable, and move the WAL into the file when it is long."""
        with self._rolled_back_on_error("append"):
            self._writer.execute("COMMIT")
            if self._since_checkpoint_bytes >= CHECKPOINT_BYTES:
                self._checkpoint()
        self._leave_gate()

    def add_topic(self, topic: str) -> None:
        """Create a topic; no error when it exists. Raises `LogError`."""
        with self._through_gate(), self._errors("add topic"):
            self._writer.execute("INSERT OR IGNORE INTO topics (name) VALUES (?)", (topic,))

    def check(self, entry: Entry) -> None:
        """Raises the `LogError` that an append of this entry would raise for its own sake."""
        self._checked(entry)

    def _checked(self, entry: Entry) -> tuple[int, Entry, bytes | None]:
        """(base id of the partition, entry, encoded headers)."""
        headers = _headers_encoder.encode(entry.headers) if entry.headers else None
        size = len(entry.value) + len(entry.key or b"") + len(headers or b"")
        if size > topics.RECORD_BYTES_MAX:
            raise LogError(
                f"log {self.url}: a record for {entry.topic!r} has {size} bytes, more than"
                f" {topics.RECORD_BYTES_MAX}: split it"
            )
        partition = entry.partition
        if partition is None:
            if entry.key is None:
                raise LogError(f"log {self.url}: a record for {entry.topic!r} needs a key or a partition")
            partition = partition_of(entry.key, self.partitions)
        return self._base(entry.topic, partition), entry, headers

    def _insert(self, checked: list[tuple[int, Entry, bytes | None]]) -> list[Position]:
        ends: dict[int, tuple[int, int]] = {}
        rows: list[tuple[Any, ...]] = []
        replaced: list[tuple[int, int, bytes]] = []
        positions: list[Position] = []
        for base, entry, headers in checked:
            next_id, high_ms = ends.get(base) or self._end(base)
            high_ms = max(high_ms, entry.time_ms)
            ends[base] = (next_id + 1, high_ms)
            columns = (entry.time_ms, high_ms, entry.key, headers, entry.value)
            try:
                crc = file.checksum(next_id, entry.topic.encode(), *columns)
            except TypeError as error:
                raise LogError(f"log {self.url}: append: a record for {entry.topic!r}: {error}") from error
            rows.append((next_id, entry.topic, *columns, crc))
            if entry.topic in COMPACTED and entry.key is not None:
                replaced.append((base, next_id, entry.key))
            offset = next_id - base
            positions.append(Position(entry.topic, base // file.OFFSETS_MAX % file.PARTITIONS_MAX, offset))
            self._since_checkpoint_bytes += len(entry.value) + 100
        self._since_checkpoint_bytes += 2 * PAGE_BYTES * len(ends)
        self._writer.executemany(file.INSERT, rows)
        self._writer.executemany(file.COMPACT, replaced)
        return positions

    def _end(self, base: int) -> tuple[int, int]:
        """In a transaction: the id that the next record gets, and the highest time so far."""
        last = self._writer.execute(file.LAST, (base, base + file.OFFSETS_MAX)).fetchone()
        return (last[0] + 1, last[1]) if last else (base, 0)

    # ------------------------------------------------------------ reading

    def read(self, topic: str, partition: int, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        end = self.highwater(topic, partition) if stop is None else stop
        return self._records(topic, partition, max(start, 0), end)

    def _records(self, topic: str, partition: int, start: int, end: int) -> Iterator[Record]:
        """In chunks: a read transaction left open between records keeps the WAL growing."""
        base = self._base(topic, partition)
        reading = file.Rows(topic, partition, base, start)
        limit = 16
        while start < end:
            rows = self._query(file.CHUNK, base + start, base + min(end, file.OFFSETS_MAX), limit)
            size_bytes = 1
            for row in rows:
                record = reading.record(row)
                size_bytes += len(record.value)
                yield record
            if len(rows) < limit:
                return
            start = rows[-1][0] - base + 1
            limit = max(1, min(CHUNK_ROWS_MAX, CHUNK_BYTES * len(rows) // size_bytes))

    def earliest(self, topic: str, partition: int) -> int:
        base = self._base(topic, partition)
        rows = self._query(file.FIRST, base, base + file.OFFSETS_MAX)
        return rows[0][0] - base if rows else 0

    def highwater(self, topic: str, partition: int) -> int:
        base = self._base(topic, partition)
        rows = self._query(file.LAST, base, base + file.OFFSETS_MAX)
        return rows[0][0] + 1 - base if rows else 0

    def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {place: self.highwater(*place) for place in places}

    def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """Record times may fall back, `high_ms` never does: bisect it, then look at the times."""
        base = self._base(topic, partition)
        end = base + file.OFFSETS_MAX
        highwater = self.highwater(topic, partition)
        low, high = base, base + highwater
        while low < high:
            middle = (low + high) // 2
            found, high_ms = self._query(file.FIRST, middle, end)[0]
            if high_ms >= time_ms:
                high = middle
            else:
                low = found + 1
        rows = self._query(file.FROM_TIME, low, end, time_ms)
        return rows[0][0] - base if rows else highwater

    def wait(self, after: Mapping[tuple[str, int], int], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        seen = None
        while True:
            version = self.version()
            if version != seen:
                if any(self.highwater(*partition) > offset for partition, offset in after.items()):
                    return True
                seen = version
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)

    def tail(self, after: Mapping[tuple[str, int], int]) -> Tail:
        return EmbeddedTail(self, after)

    def version(self) -> int:
        """A number that changes with any append, of whatever process; made to be polled."""
        with self._errors("watch"):
            return self._watcher.execute("PRAGMA data_version").fetchone()[0]

    def committed(self, consumer: str) -> dict[tuple[str, int], int]:
        """The next offsets that a consumer wants, by (topic, partition)."""
        rows = self._query('SELECT topic, partition, "offset" FROM commits WHERE consumer = ?', consumer)
        return {(topic, partition): offset for topic, partition, offset in rows}

    def close(self) -> None:
        """Waits for an append at work in another thread; later calls raise `LogError`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for connection in (*self._readers, self._watcher, self._writer):
                connection.close()
            self._readers.clear()
            os.close(self._gate)

    def _query(self, sql: str, *parameters: int | str) -> list[tuple[Any, ...]]:
        """All rows; each thread at work has a connection of its own for as long."""
        with self._errors("read"):
            reader = self._readers.pop() if self._readers else self._connect()
            try:
                return reader.execute(sql, parameters).fetchall()
            finally:
                if self._closed:
                    reader.close()
                else:
                    self._readers.append(reader)

    def _base(self, topic: str, partition: int) -> int:
        """The id that offset 0 of a partition has."""
        if topic not in self._topics:
            self._topics = dict(self._query("SELECT name, id FROM topics"))
        if topic not in self._topics:
            raise LogError(f"log {self.url} has no topic {topic!r}; it has {', '.join(sorted(self._topics))}")
        if not 0 <= partition < self.partitions:
            raise LogError(
                f"log {self.url}: {topic!r} has partitions 0 to {self.partitions - 1}, not {partition}"
            )
        return file.base_of(self._topics[topic], partition)

    # ------------------------------------------------------------ the file

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise LogError(f"log {self.url} is closed; open it again")
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )
        connection.execute("PRAGMA secure_delete = OFF")
        return connection

    def _set_up(self, partitions: int | None) -> int:
        """The partition count; what is missing is created, a log of another make is refused."""
        with self._through_gate():
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA wal_autocheckpoint = 0")
            self._writer.execute(f"PRAGMA journal_size_limit = {4 * CHECKPOINT_BYTES}")
            self._begin(sync=True)
            for statement in file.SCHEMA.split(";"):
                self._writer.execute(statement)
            made = {"format": file.FORMAT, "partitions": str(partitions or topics.PARTITIONS_DEFAULT)}
            self._writer.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", made.items())
            meta = dict(self._writer.execute("SELECT name, value FROM meta").fetchall())
            file.check_meta(self.url, meta, partitions)
            file.check_held(self.url, self._writer, int(meta["partitions"]))
            names = [(name,) for name in topics.ALL]
            self._writer.executemany("INSERT OR IGNORE INTO topics (name) VALUES (?)", names)
            self._writer.execute("COMMIT")
            self._checkpoint()
        return int(meta["partitions"])

    def _checkpoint(self) -> None:
        """Behind the gate. On a full disk the WAL stays; the append that no longer fits says so."""
        try:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise
        else:
            self._since_checkpoint_bytes = 0

    def _begin(self, sync: bool) -> None:
        self._writer.execute("PRAGMA synchronous = FULL" if sync else "PRAGMA synchronous = NORMAL")
        self._writer.execute("BEGIN IMMEDIATE")

    def _enter_gate(self) -> bool:
        """Both locks are let go by the kernel when the process is killed."""
        if not self._lock.acquire(blocking=False):
            return False
        if self._closed:
            self._lock.release()
            raise LogError(f"log {self.url} is closed; open it again")
        try:
            fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.release()
            return False
        return True

    def _leave_gate(self) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._lock.release()

    @contextmanager
    def _through_gate(self) -> Generator[None]:
        deadline = time.monotonic() + BUSY_S
        while not self._enter_gate():
            self._wait_for_gate(deadline)
        try:
            yield
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._leave_gate()

    def _wait_for_gate(self, deadline: float) -> None:
        """In short steps: most transactions are over in less than a millisecond."""
        if time.monotonic() >= deadline:
            raise LogError(f"log {self.url}: other writers held it for {BUSY_S:g} s: look for one that hangs")
        time.sleep(BUSY_STEP_S)

    @contextmanager
    def _rolled_back_on_error(self, doing: str) -> Generator[None]:
        try:
            with self._errors(doing):
                yield
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._leave_gate()
            raise

    @contextmanager
    def _errors(self, doing: str) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._closed:
                raise LogError(f"log {self.url} is closed; open it again") from error
            what, hint = file.told(error, self._path)
            raise LogError(f"log {self.url}: {doing}: {what}; {hint} ({self._path})") from error
