"""Which symbols the collectors of a home have in hand, so that none is collected twice.

A collector leaves a file for as long as it lives. The file counts while its writer holds a lock on it, which
a kill -9 lets go, so what a dead process left behind is in nobody's way.

Homes do not see each other. Where several machines collect into one Kafka, the journal fences the older of
two collectors of one source (`streams.journal`). Two of different sources with a symbol in common are not
noticed: trades that the venue numbers then count once, others twice.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec

from infra.exchange.status import SourceStatus
from infra.process.whole_file import whole_file

FOLDER = "collecting"


class InHandError(RuntimeError):
    """Another process of this home collects the symbol, or under the same source."""


class Holder(msgspec.Struct):
    """A collector at work. `failing`: with what its provider fails, "" while it delivers."""

    source: str
    symbols: list[str]
    who: str
    failing: str = ""


Tell = Callable[[str], None]
"""Leaves word of what the provider fails with, or "" that it delivers again."""


@contextmanager
def in_hand(
    home: Path, source: str, symbols: Sequence[str], *, or_else: str = "or collect other symbols here"
) -> Generator[Tell]:
    """Have a provider's symbols in hand as `source`, which is `provider` or `provider#name`. `or_else` is
    what can be done besides stopping who has one of them.

    Raises `InHandError` naming who has one of them, and `OSError`.
    """
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(_file(home, source, "lock"), os.O_RDWR | os.O_CREAT) as mine:
        with _opened(folder, os.O_RDONLY) as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)  # one at a time looks and takes
            for holder in _holders(home):
                _refuse(holder, source, symbols, or_else)
            fcntl.flock(mine, fcntl.LOCK_EX)
            _file(home, source, "status").unlink(missing_ok=True)  # of one that has ended
            since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            holder = Holder(source, list(symbols), f"pid {os.getpid()}, since {since}")
            _write(mine, holder)

        def tell(failing: str) -> None:
            with _opened(folder, os.O_RDONLY) as gate:
                fcntl.flock(gate, fcntl.LOCK_EX)  # nobody reads the half of it
                _write(mine, msgspec.structs.replace(holder, failing=failing))

        yield tell


def _write(handle: int, holder: Holder) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, msgspec.json.encode(holder), 0)


def _file(home: Path, source: str, kind: str) -> Path:
    return home / FOLDER / f"{quote(source, safe='')}.{kind}"


def tell_status(home: Path, status: SourceStatus) -> None:
    """Leave word of how a source stands that is in hand. Raises `OSError`."""
    with whole_file(_file(home, status.source, "status")) as file:
        file.write(msgspec.json.encode(status))


def status_of(home: Path, source: str) -> SourceStatus | None:
    """How a source stands that is in hand, by its last word; None before the first. Raises `OSError`."""
    try:
        told = _file(home, source, "status").read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(told, type=SourceStatus)


def collectors(home: Path) -> list[Holder]:
    """Those of this home that are at work."""
    folder = home / FOLDER
    if not folder.is_dir():
        return []
    with _opened(folder, os.O_RDONLY) as gate:
        fcntl.flock(gate, fcntl.LOCK_SH)
        return list(_holders(home))


def _refuse(holder: Holder, source: str, symbols: Sequence[str], or_else: str) -> None:
    if _provider(holder.source) != _provider(source):
        return
    for symbol in symbols:
        if symbol in holder.symbols:
            raise InHandError(
                f"symbol {symbol!r} of {_provider(source)} is collected by {holder.source!r} ({holder.who}):"
                f" stop that one, {or_else}"
            )
    if holder.source == source:
        raise InHandError(
            f"{source!r} collects already ({holder.who}): stop that one, or give this one a name with --as"
        )


def _provider(source: str) -> str:
    return source.partition("#")[0]


def _holders(home: Path) -> Iterator[Holder]:
    for path in sorted((home / FOLDER).glob("*.lock")):
        with _opened(path, os.O_RDONLY) as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield msgspec.json.decode(path.read_bytes(), type=Holder)


@contextmanager
def _opened(path: Path, flags: int) -> Generator[int]:
    handle = os.open(path, flags, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
