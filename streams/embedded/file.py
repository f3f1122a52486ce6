"""The file of the embedded log: where it lies, its tables and statements, and what its errors ask for.

What an outsider needs to look at a record, or to alter one, with `sqlite3 log.db`:

    records(id, topic, partition, "offset", time_ms, high_ms, key, headers, value)
    topics(id, name)                             commits(consumer, topic, partition, "offset")
    meta(name, value)                            -- `format` and `partitions`

    SELECT "offset", time_ms, length(value) FROM records WHERE topic = 'candles' AND partition = 2;
    UPDATE records SET value = X'…' WHERE topic = 'candles' AND partition = 2 AND "offset" = 17;

`id` is `(topics.id << 52) + (partition << 40) + offset`, so that the records of a partition lie side
by side in one B-tree and are read by their position alone (`WHERE id = …` is the fast form of the
above); `partition` and `offset` are computed from it. `high_ms` is the highest `time_ms` of the
partition so far, by which a time is found in a few steps. `headers` is a MessagePack list of pairs,
NULL without any. `value` is MessagePack too (`streams.codec`).
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streams.log import LogError

NAME = "log.db"
FORMAT = "2"
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
    value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS commits (
    consumer TEXT, topic TEXT, partition INTEGER, "offset" INTEGER NOT NULL,
    PRIMARY KEY (consumer, topic, partition)
) WITHOUT ROWID;
"""
INSERT = """
INSERT INTO records (id, topic, time_ms, high_ms, key, headers, value) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
CHUNK = """
SELECT id, time_ms, key, headers, value FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?
"""
FIRST = "SELECT id, high_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT 1"
LAST = "SELECT id, high_ms FROM records WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1"
FROM_TIME = "SELECT id FROM records WHERE id >= ? AND id < ? AND time_ms >= ? ORDER BY id LIMIT 1"
COMPACT = "DELETE FROM records WHERE id >= ? AND id < ? AND key = ?"
COMMIT_OFFSET = "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?)"

_HINTS = {
    sqlite3.SQLITE_FULL: "the disk is full: nothing of this was appended; free space, start again",
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


def hint_for(error: sqlite3.Error) -> str:
    """What is to be done about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _HINTS.get(code, "the file may be of another make, or damaged")
