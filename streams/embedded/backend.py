"""The embedded log by its URL: who folds it, whether its file is sound, and how Faust reaches it."""

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from streams import locks as locking
from streams.backend import Broker, Finding
from streams.embedded import file
from streams.embedded.log import BUSY_S, EmbeddedLog
from streams.files import read_only, size_text, unwritable
from streams.log import LogError

FOLD_LOCK = "fold.lock"
FREE_MIN_BYTES = 100 << 20
"""With less there is no telling how soon nothing more can be appended."""
SHOWN_MAX = 5


class EmbeddedBackend:
    """A `streams.backend.Backend`."""

    shared = False

    def __init__(self, url: str) -> None:
        """Raises `LogError` for a URL that names no folder."""
        self.url = url
        self._folder = file.folder_of(url)

    def open(self, *, partitions: int | None = None, answer_s: float | None = None) -> EmbeddedLog:
        del answer_s  # a file has its own limit
        return EmbeddedLog(self.url, partitions=partitions)

    # ------------------------------------------------------------ who folds

    def folding(self, worker: str, locks: Path) -> AbstractContextManager[None]:
        """The lock lies beside the log, so that it counts for every process that could fold it."""
        return locking.held(self._folder / FOLD_LOCK, self.url, f"worker {worker}", self._refusal)

    def check_folding(self, worker: str, locks: Path) -> None:
        for holder in self.folded_by():
            raise self._refusal(holder)

    def folded_by(self, *, answer_s: float | None = None) -> list[str]:
        try:
            holder = locking.holder_of(self._folder / FOLD_LOCK)
        except OSError as error:
            raise LogError(f"log {self.url}: {error}; mend its owner or mode") from error
        return [] if holder is None else [holder]

    def _refusal(self, holder: str) -> LogError:
        return LogError(
            f"log {self.url} is being folded by {holder}: one process at a time folds; stop that one first"
        )

    # ------------------------------------------------------------ whether it is sound

    def examine(self, *, partitions: int | None = None, answer_s: float | None = None) -> Finding:
        """As much of the file as can be looked at in `answer_s`; None: all of it."""
        problem = unwritable(self._folder)
        if problem:
            return Finding("failed", problem, "mend its owner or mode, or set another log_url")
        path = self._folder / file.NAME
        if not path.exists():
            return Finding("warning", f"there is none in {self._folder} yet", "the first start makes it")
        try:
            with closing(read_only(path, busy_s=BUSY_S if answer_s is None else answer_s)) as connection:
                meta = dict(connection.execute("SELECT name, value FROM meta"))
                file.check_meta(self.url, meta, partitions)
                file.check_held(self.url, connection, int(meta["partitions"]))
                damage, whole = _damage(connection, int(meta["partitions"]), answer_s)
        except LogError as error:
            return Finding("failed", str(error), "do what it says; the log is not opened before")
        except sqlite3.Error as error:
            what, hint = file.told(error, path)
            return Finding("failed", f"{path} cannot be read: {what}", hint)
        if damage:
            hint = "end all that use it, then restore a copy, or try `sqlite3 log.db .recover`"
            return Finding("failed", f"{path} is damaged: {damage}", hint)
        looked = "undamaged" if whole else f"no damage in the {answer_s:g} s that were looked"
        return self._sound(path, f"{meta['partitions']} partitions, {looked}")

    def _sound(self, path: Path, found: str) -> Finding:
        free_bytes = shutil.disk_usage(self._folder).free
        folds = " and ".join(f"folded by {holder}" for holder in self.folded_by()) or "nobody folds it"
        size, free = size_text(path.stat().st_size), size_text(free_bytes)
        message = f"{path}: {size}, {found}; {free} free; {folds}"
        if free_bytes < FREE_MIN_BYTES:
            return Finding("failed", message, "free space, or move the log")
        return Finding("ok", message)

    def broker(self) -> Broker:
        from streams.embedded.transport import Transport  # noqa: PLC0415 - only a worker needs Faust

        return Broker([self.url], "", Transport)


def _damage(connection: sqlite3.Connection, partitions: int, answer_s: float | None) -> tuple[str, bool]:
    """What is wrong with the file, and whether all of it was looked at in time."""
    if answer_s is not None:
        ends_s = time.monotonic() + answer_s
        connection.set_progress_handler(lambda: time.monotonic() > ends_s, 1_000)
    records: list[str] = []
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found == "ok":
            records.extend(_damaged_records(connection, partitions))
            found = _told(records)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return _told(records), False
        raise
    return found, True


def _damaged_records(connection: sqlite3.Connection, partitions: int) -> Iterator[str]:
    for topic, topic_id in connection.execute("SELECT name, id FROM topics").fetchall():
        for partition in range(partitions):
            base = file.base_of(topic_id, partition)
            rows = file.Rows(topic, partition, base, 0)
            for row in connection.execute(file.CHUNK, (base, base + file.OFFSETS_MAX, -1)):
                if (record := rows.record(row)).damaged:
                    yield record.place


def _told(places: Sequence[str]) -> str:
    more = f" and {len(places) - SHOWN_MAX} more" if len(places) > SHOWN_MAX else ""
    named = ", ".join(places[:SHOWN_MAX])
    return f"by their checksums, these records were changed: {named}{more}" if places else ""
