"""Arrays as long as the bars: made where there is room for them, and gone through a stretch at a time."""

import math
from collections.abc import Iterator
from mmap import mmap
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

STRETCH: Final = 65_536
"""So many rows are worked on at once, that what is in between stays small."""


class Zeros(Protocol):
    """Makes an array of zeros, C-contiguous: in memory, as `numpy.zeros` does, or where its pages can leave
    the memory again. What is as long as the bars is made by it."""

    def __call__(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike, /) -> npt.NDArray[Any]: ...


IN_MEMORY: Final[Zeros] = np.zeros


def passing(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros whose pages go back to the machine with the array; those of malloc stay with the thread that had
    them."""
    kind = np.dtype(dtype)
    return np.ndarray(shape, kind, mmap(-1, max(1, math.prod(shape) * kind.itemsize)))


def stretches(count: int, beyond: int = 0) -> Iterator[slice]:
    """Rows 0 … `count` − 1 in turn, each stretch with so many of the next rows beyond it."""
    for first in range(0, count, STRETCH):
        yield slice(first, min(first + STRETCH + beyond, count))


class Growing:
    """An array of rows [n, …] to which more are added."""

    def __init__(self, dtype: npt.DTypeLike, zeros: Zeros, row: tuple[int, ...] = ()) -> None:
        self._zeros, self._row = zeros, row
        self._all, self._count = zeros((0, *row), dtype), 0

    @property
    def rows(self) -> npt.NDArray[Any]:
        """Those that are there: a view."""
        return self._all[: self._count]

    def add(self, rows: npt.NDArray[Any]) -> None:
        old, count = self._all, self._count + len(rows)
        if count > len(old):
            self._all = self._zeros((max(count, 2 * len(old)), *self._row), old.dtype)
            for part in stretches(self._count):
                self._all[part] = old[part]
        self._all[self._count : count] = rows
        self._count = count
