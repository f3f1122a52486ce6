"""What a reader of files gives: rows in pieces of bounded size."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

PIECE_ROWS = 65_536
PIECE_BYTES = 1 << 20
ROW_BYTES_MAX = 1 << 20


class FileReadError(ValueError):
    """A file that cannot be read, or not to its end; the message names it and what to do."""


class Piece(NamedTuple):
    """Rows of a file in its order: wanted columns by name, and the texts of rows that are malformed
    (null in every column) by their place in the piece. `read` is the fraction of the file up to
    here.
    """

    columns: dict[str, pa.Array]
    rows: int
    malformed: dict[int, str]
    read: float


class Reader(Protocol):
    """An open file: the names of its columns, and its rows once, from the first. `first`: the cells of the
    first row, where the file itself has no names."""

    names: list[str]
    first: list[str | None] | None

    def pieces(self, wanted: Sequence[str]) -> Iterator[Piece]: ...
