"""Where the processes of a home can be reached: each leaves a file there for as long as it lives.

A file counts while its writer holds a lock on it, which a kill -9 lets go: what a dead process left behind
misleads nobody, and the next one writes over it.

Why: ADR 14.
"""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

FOLDER = "running"
API, REDIS = "api", "redis"
"""What can be reached."""


@contextmanager
def announced(home: Path, what: str, url: str) -> Generator[None]:
    """Tell, in an existing home, that `what` is at `url`. Raises `OSError`."""
    (home / FOLDER).mkdir(exist_ok=True)
    handle = _first_free(home / FOLDER, what)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, url.encode(), 0)
        yield
    finally:
        os.close(handle)


def addresses(home: Path, what: str) -> list[str]:
    """The URLs at which `what` of this home is now, as far as they can be read. Only looks."""
    found: list[str] = []
    for path in sorted((home / FOLDER).glob(f"{what}.*")):
        with suppress(OSError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(file.read().decode())
    return [url for url in found if url]  # one that has just begun has none yet


def _first_free(folder: Path, what: str) -> int:
    """A handle of the first file that nobody holds, locked."""
    for number in count():
        handle = os.open(folder / f"{what}.{number}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        else:
            return handle
    raise AssertionError
