"""The file of the embedded log: where it lies, its tables and statements, and what its errors ask for.

What an outsider needs to look at a record, or to alter one, with `sqlite3 log.db`:

    records(id, topic, partition, "offset", time_ms, high_ms, key, headers, value, crc)
    topics(id, name)                             commits(consumer, topic, partition, "offset")
    meta(name, value)                            -- `format` and `partitions`

    SELECT "offset", time_ms, length(value) FROM records WHERE topic = 'candles' AND partition = 2;
    UPDATE records SET value = X'…' WHERE topic = 'candles' AND partition = 2 AND "offset" = 17;

`id` is `(topics.id << 52) + (partition << 40) + offset`, so that the records of a partition lie side
by side in one B-tree and are read by their position alone (`WHERE id = …` is the fast form of the
above); `partition` and `offset` are computed from it. `high_ms` is the highest `time_ms` of the
partition so far, by which a time is found in a few steps. `headers` is a MessagePack list of pairs,
NULL without any. `value` is MessagePack too (`streams.codec`). `crc` is the record's `checksum`: a record
that was altered without it is given to readers as damaged.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from struct import Struct, error
from typing import Any
from urllib.parse import unquote, urlsplit
from zlib import crc32

import msgspec

from streams.files import disk_is_full
from streams.log import LogError
from streams.records import Record

NAME = "log.db"
FORMAT = "3"
PARTITIONS_MAX = 1 << 12
OFFSETS_MAX = 1 << 40

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER AS ((id >> 40) & 4095) VIRTUAL,
    "offset" INTEGER AS (id & 1099511627775) VIRTUAL,
    time_ms INTEGER NOT NULL,
    high_ms INTEGER NOT NULL,
    key BLOB,
    headers BLOB,
    value BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS commits (
    consumer TEXT, topic TEXT, partition INTEGER, "offset" INTEGER NOT NULL,
    PRIMARY KEY (consumer, topic, partition)
) WITHOUT ROWID;
"""
INSERT = """
INSERT INTO records (id, topic, time_ms, high_ms, key, headers, value, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
CHUNK = """
SELECT id, CAST(topic AS BLOB), time_ms, high_ms,
    CAST(key AS BLOB), CAST(headers AS BLOB), CAST(value AS BLOB), crc
FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?
"""
"""Blobs even where a flipped bit made a text of one, which may be none that can be decoded."""
FIRST = "SELECT id, high_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
LAST = "SELECT id, high_ms FROM records WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1"
FROM_TIME = "SELECT id FROM records WHERE id >= ? AND id < ? AND time_ms >= ? ORDER BY id LIMIT 1"
COMPACT = "DELETE FROM records WHERE id >= ? AND id < ? AND key = ?"
COMMIT_OFFSET = "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)"

_HEAD = Struct("<qqqqqq")
_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])
TIMES_MS = range(1 << 47)
"""What a damaged record's time may be: within the years that a reader can print."""

_HINTS = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a copy, or try `sqlite3 log.db .recover`",
    sqlite3.SQLITE_NOTADB: "the file is no log: restore it from a copy, or name another folder",
    sqlite3.SQLITE_BUSY: "another program holds the file: end its transaction",
    sqlite3.SQLITE_IOERR: "the disk failed: look at the system's log",
    sqlite3.SQLITE_READONLY: "the file cannot be written: change its owner or mode",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: change its owner or mode",
}


def folder_of(url: str) -> Path:
    """The folder that `embedded:///FOLDER` names. Raises `LogError`."""
    parts = urlsplit(url)
    if parts.scheme != "embedded" or parts.netloc or not parts.path.strip("/"):
        raise LogError(f"log URL {url!r}: an embedded log is embedded:///ABSOLUTE/FOLDER, with three slashes")
    return Path(unquote(parts.path))


def check_meta(url: str, meta: Mapping[str, str], partitions: int | None) -> None:
    """Raises `LogError` for another format, or another count of partitions than is asked for."""
    if meta["format"] != FORMAT:
        raise LogError(
            f"log {url} has format {meta['format']}, this program reads {FORMAT}:"
            " use the version that wrote it"
        )
    if partitions is not None and partitions != int(meta["partitions"]):
        raise LogError(
            f"log {url} has {meta['partitions']} partitions, not {partitions}:"
            " leave the number away, or replay into a new log"
        )


def base_of(topic_id: int, partition: int) -> int:
    """The id that offset 0 of a partition has."""
    return (topic_id * PARTITIONS_MAX + partition) * OFFSETS_MAX


def check_held(url: str, connection: sqlite3.Connection, partitions: int) -> None:
    """Raises `LogError` where partitions hold records that `meta` does not count."""
    for name, topic_id in connection.execute("SELECT name, id FROM topics").fetchall():
        span = (base_of(topic_id, partitions), base_of(topic_id + 1, 0))
        row = connection.execute(FIRST, span).fetchone()
        if row is not None:
            held = row[0] // OFFSETS_MAX % PARTITIONS_MAX
            raise LogError(
                f"log {url}: its table meta says {partitions} partitions, but partition {held} of {name!r}"
                " holds records: the file was altered; restore it from a copy"
            )


def told(error: sqlite3.Error, path: Path) -> tuple[str, str]:
    """What it is, and what is to be done about it."""
    if disk_is_full(error, path):
        return "the disk is full", "nothing of this was appended; free space, start again"
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return str(error), _HINTS.get(code, "the file may be of another make, or damaged")


# ------------------------------------------------------------------ records as rows


def checksum(
    record_id: int,
    topic: bytes,
    time_ms: int,
    high_ms: int,
    key: bytes | None,
    headers: bytes | None,
    value: bytes,
) -> int:
    """CRC-32 over all columns of a record: none of its bits can change unseen."""
    sizes = (len(topic), -1 if key is None else len(key), -1 if headers is None else len(headers))
    head = _HEAD.pack(record_id, time_ms, high_ms, *sizes)
    return crc32(value, crc32(b"".join((head, topic, key or b"", headers or b""))))


class Rows:
    """Reads rows of a partition in order; `start` is the offset of the first."""

    def __init__(self, topic: str, partition: int, base: int, start: int) -> None:
        self._topic, self._partition, self._base = topic, partition, base
        self._name = topic.encode()
        self._before = base - 1 if start == 0 else -1
        self._high_ms = 0

    def record(self, row: tuple[Any, ...]) -> Record:
        record_id, _, time_ms, high_ms, key, headers, value, _ = row
        offset, pairs = record_id - self._base, _pairs(headers)
        if pairs is not None and self._is_whole(*row):
            self._before, self._high_ms = record_id, high_ms
            return Record(self._topic, self._partition, offset, time_ms, key, value, pairs)
        self._before = -1
        shown_ms = time_ms if isinstance(time_ms, int) and time_ms in TIMES_MS else 0
        return Record(self._topic, self._partition, offset, shown_ms, key, value, pairs or (), damaged=True)

    def _is_whole(self, record_id: int, topic: bytes, time_ms: int, high_ms: int, *content: Any) -> bool:
        """Its checksum fits, and its high time to the one before, or where that is not known, to its own."""
        *columns, crc = content
        try:
            if checksum(record_id, topic, time_ms, high_ms, *columns) != crc or topic != self._name:
                return False
        except (TypeError, error):  # flipped bits can make another type of a column's value
            return False
        if record_id == self._before + 1:
            return high_ms == max(self._high_ms, time_ms)
        return high_ms >= time_ms


def _pairs(headers: bytes | None) -> tuple[tuple[str, bytes], ...] | None:
    """None where they are none that were ever appended."""
    try:
        return _headers.decode(headers) if headers else ()
    except Exception:  # noqa: BLE001 - nesting and bad UTF-8 are not DecodeErrors
        return None
