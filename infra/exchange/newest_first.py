"""A file whose first row is its newest, read from its end: memory stays that of a piece, the rows wait on the
disk."""

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from infra.exchange.pieces import Piece, Reader

MALFORMED = "malformed row"


def from_the_end(reader: Reader, wanted: Sequence[str]) -> Iterator[Piece]:
    """The rows of a reader from the last to the first."""
    with tempfile.TemporaryFile() as file:
        if not _write(reader, wanted, pa.PythonFile(file, "w")):
            return
        file.seek(0)
        batches = pa.ipc.open_file(pa.PythonFile(file, "r"))
        for number in reversed(range(batches.num_record_batches)):
            batch = batches.get_batch(number)
            batch = batch.take(pa.array(np.arange(batch.num_rows - 1, -1, -1)))
            *columns, texts = batch.columns
            malformed = {place: text for place, text in enumerate(texts.to_pylist()) if text is not None}
            read = 1 - number / batches.num_record_batches
            yield Piece(dict(zip(wanted, columns, strict=True)), batch.num_rows, malformed, read)


def _write(reader: Reader, wanted: Sequence[str], file: Any) -> bool:
    """Write a reader's pieces one after the other; False where it has none."""
    writer = None
    for piece in reader.pieces(wanted):
        texts = pa.array([piece.malformed.get(row) for row in range(piece.rows)], pa.string())
        columns = [piece.columns[name] for name in wanted]
        batch = pa.record_batch([*columns, texts], names=[*wanted, MALFORMED])
        writer = writer or pa.ipc.new_file(file, batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()
    return writer is not None
