"""Who folds an embedded log: one process at a time, by a lock that a kill -9 lets go."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

from streams.embedded import folder_of, open_lock
from streams.log import LogError

FILE = "fold.lock"


@contextmanager
def fold_lock(url: str, who: str) -> Generator[None]:
    """Be the one that folds this log; raises `LogError` naming who does. A kill -9 lets it go."""
    lock = open_lock(folder_of(url) / FILE, url)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _is_folded(url, _holder(lock)) from None
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


def fold_holder(url: str) -> str | None:
    """Who folds this log; None: nobody. Only looks. Raises `LogError` and `OSError`."""
    path = folder_of(url) / FILE
    if path.exists():
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(lock.fileno())
    return None


def _is_folded(url: str, holder: str) -> LogError:
    return LogError(
        f"log {url} is being folded by {holder}: one process at a time folds; stop that one first"
    )


def _holder(lock: int) -> str:
    return os.pread(lock, 1000, 0).decode(errors="replace").strip() or "a process that just started"
