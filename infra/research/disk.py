"""Arrays on the disk, mapped into memory: their pages leave it again when others need the room, so that bars
may be more than fit there.

Each array is a file, as long as it is in use. A process has a folder for its own, `research/arrays-…` in the
home, or beside other temporary files where there is no home; the next removes that of one that was killed.

Why: ADR 42.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from itertools import count
from math import prod
from pathlib import Path
from typing import Any, Final
from weakref import finalize

import numpy as np
import numpy.typing as npt

from infra.process.settings import load_settings
from streams.locks import held, holder_of

FOLDER: Final = "research"
"""Of a home: what its backtests read."""
OWN: Final = "arrays-"
LOCK: Final = "lock"
SMALL: Final = 5 << 20
"""Bytes of an array that is in memory all the same, as a number a minute of a year is: what a run makes is
slower as files, and thousands of runs may be at hand."""


class DiskError(OSError):
    """Bars cannot be kept; the message says how many bytes, where, why, and the way out."""

    def __init__(self, words: str, number: int | None = None) -> None:
        super().__init__(words)
        self.errno = number


class Disk:
    """Makes arrays, each a file in a folder below `parent`; in another process it has a folder of its own.

    Arrays may be written: compiled loops take no others. Workers of this machine open them by their names.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._folder: Path | None = None
        self._names = count()

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """As `numpy.zeros`. Raises `DiskError`; nothing is then left of it."""
        size = np.dtype(dtype).itemsize * (shape if isinstance(shape, int) else prod(shape))
        if size <= SMALL:
            return np.zeros(shape, dtype)
        file: Path | None = None
        try:
            file = self._own() / str(next(self._names))
            with file.open("xb") as made:
                # a page of a hole for which there is no room ends the process when it is written
                os.posix_fallocate(made.fileno(), 0, size)
            array = np.memmap(file, dtype, "r+", shape=shape)
        except OSError as error:
            if file is not None:
                file.unlink(missing_ok=True)
            raise DiskError(
                f"{size:,} bytes of bars cannot be kept in {self._parent} ({error.strerror}): let TCPD_HOME,"
                " or TMPDIR where there is no home, be a folder on a larger disk",
                error.errno,
            ) from error
        finalize(array, _remove, file, os.getpid())
        return array.view(np.ndarray)

    def _own(self) -> Path:
        if self._folder is None:
            self._parent.mkdir(parents=True, exist_ok=True)
            _clear(self._parent)
            folder = Path(tempfile.mkdtemp(prefix=OWN, dir=self._parent))
            with ExitStack() as stack:
                stack.callback(_remove, folder, os.getpid())
                # it has its name once it is held, so that nobody takes the folder for one that was left
                new = folder / f"new {LOCK}"
                stack.enter_context(held(new, str(folder), "bars", DiskError))
                new.rename(folder / LOCK)
                finalize(self, stack.pop_all().close)
            self._folder = folder
        return self._folder

    def __reduce__(self) -> tuple[type["Disk"], tuple[Path]]:
        return Disk, (self._parent,)


def disk() -> Disk:
    """In the home that the settings name, if it is there."""
    home = load_settings().home
    return Disk(home / FOLDER if home.is_dir() else Path(tempfile.gettempdir()))


def _remove(path: Path, maker: int) -> None:
    """A child that was forked has the same arrays, and they are not its own."""
    if os.getpid() == maker:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _clear(parent: Path) -> None:
    """Away with the folders of processes that were killed."""
    for folder in parent.glob(f"{OWN}*"):
        with suppress(OSError):
            if (folder / LOCK).exists() and holder_of(folder / LOCK) is None:
                shutil.rmtree(folder)
