"""Who folds: one process at a time an embedded log, one of each name on Kafka. A kill -9 lets a lock go."""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from streams.embedded.log import folder_of, open_lock
from streams.log import LogError

FILE = "fold.lock"


@contextmanager
def fold_lock(url: str, who: str) -> Generator[None]:
    """Be the one that folds this log; raises `LogError` naming who does."""
    with _held(folder_of(url) / FILE, url, who, lambda holder: _is_folded(url, holder)):
        yield


@contextmanager
def name_lock(url: str, folder: Path, worker: str) -> Generator[None]:
    """On Kafka, be the one worker of this name of the home that `folder` is in; raises `LogError`."""
    with _held(_slot(folder, worker), url, "a process", lambda holder: _is_taken(worker, holder)):
        yield


@contextmanager
def _held(path: Path, url: str, who: str, refusal: Callable[[str], LogError]) -> Generator[None]:
    lock = open_lock(path, url)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal(_holder(lock)) from None
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{who} (pid {os.getpid()}, since {since})\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def check_unfolded(url: str) -> None:
    """Raises the `LogError` that `fold_lock` would raise now."""
    holder = fold_holder(url)
    if holder is not None:
        raise _is_folded(url, holder)


def check_name_free(folder: Path, worker: str) -> None:
    """Raises the `LogError` that `name_lock` would raise now."""
    holder = _holder_of(_slot(folder, worker))
    if holder is not None:
        raise _is_taken(worker, holder)


def fold_holder(url: str) -> str | None:
    """Who folds this log; None: nobody. Only looks. Raises `LogError` and `OSError`."""
    return _holder_of(folder_of(url) / FILE)


def _holder_of(path: Path) -> str | None:
    if path.exists():
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(lock.fileno())
    return None


def _slot(folder: Path, worker: str) -> Path:
    return folder / f"{quote(worker, safe='')}.lock"


def _is_taken(worker: str, holder: str) -> LogError:
    return LogError(
        f"worker {worker!r} runs already: {holder}; the two would take the partitions from each other."
        " Stop that one, or give this one another name with TCPD_WORKER"
    )


def _is_folded(url: str, holder: str) -> LogError:
    return LogError(
        f"log {url} is being folded by {holder}: one process at a time folds; stop that one first"
    )


def _holder(lock: int) -> str:
    return os.pread(lock, 1000, 0).decode(errors="replace").strip() or "a process that just started"
