"""Locks between processes, each a file that says who holds it. A kill -9 lets a lock go."""

import fcntl
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from streams.log import LogError


@contextmanager
def held(path: Path, url: str, who: str, refusal: Callable[[str], Exception]) -> Generator[None]:
    """Hold the lock of the log at `url`; raises what `refusal` makes of another holder, at once."""
    lock = open_lock(path, url)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal(_read(lock)) from None
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{who} (pid {os.getpid()}, since {since})\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def holder_of(path: Path) -> str | None:
    """Who holds the lock; None: nobody. Only looks. Raises `OSError`."""
    if path.exists():
        with path.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(lock.fileno())
    return None


def open_lock(path: Path, url: str) -> int:
    """A file to be locked, made where it is not there. Raises `LogError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogError(f"log {url}: {path}: {error.strerror}; choose a folder that can be written") from error


def _read(lock: int) -> str:
    return os.pread(lock, 1000, 0).decode(errors="replace").strip() or "a process that just started"
