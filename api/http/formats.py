"""Candles as CSV or as an Arrow stream, made of columns: memory does not grow with the answer."""

import io
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.csv import CSVWriter, WriteOptions
from sqlalchemy import Row

from api.columns import CANDLES, DECIMAL
from infra.db.pages import OHLC, RAW_CANDLE
from infra.present.columns import Ints, decimal_strings, decimals, iso_strings

ARROW = "application/vnd.apache.arrow.stream"
Chunks = Iterable[list[Row[Any]]]
"""Rows of `RAW_CANDLE`."""

_SCALES = {**dict.fromkeys(OHLC, "price_scale"), "volume": "size_scale"}
_ARROW_TYPES: dict[str, pa.DataType] = {
    "time": pa.timestamp("ns", tz="UTC"), "decimal": pa.decimal128(*DECIMAL), "whole": pa.int64(),
    "bool": pa.bool_(),
}  # fmt: skip
SCHEMA = pa.schema([(name, _ARROW_TYPES[kind]) for name, kind in CANDLES.items()])
_BARE = WriteOptions(include_header=False, quoting_style="none")


def csv_of(chunks: Chunks) -> Iterator[bytes]:
    """Candles with a header line."""
    yield (",".join(CANDLES) + "\n").encode()
    for columns in _columns(chunks):
        arrays = [_text(name, columns) for name in CANDLES]
        sink = io.BytesIO()
        batch = pa.record_batch(arrays, list(CANDLES))
        with CSVWriter(sink, batch.schema, write_options=_BARE) as writer:
            writer.write_batch(batch)
        yield sink.getvalue()


def arrow_of(chunks: Chunks) -> Iterator[bytes]:
    """Candles as an Arrow IPC stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        for batch in batches_of(chunks):
            writer.write_batch(batch)
            yield _taken(sink)
    yield _taken(sink)


def batches_of(chunks: Chunks) -> Iterator[pa.RecordBatch]:
    """Candles as Arrow batches of `SCHEMA`."""
    for columns in _columns(chunks):
        yield pa.record_batch([_typed(field, columns) for field in SCHEMA], schema=SCHEMA)


def _columns(chunks: Chunks) -> Iterator[dict[str, Ints]]:
    """Columns by name, of rows in sequence that have the same scales: a market's seldom change."""
    for rows in chunks:
        if not rows:
            continue
        columns = dict(zip(RAW_CANDLE, (np.array(c, np.int64) for c in zip(*rows, strict=True)), strict=True))
        changed = np.diff(columns["price_scale"]).astype(bool) | np.diff(columns["size_scale"]).astype(bool)
        bounds = [0, *(np.flatnonzero(changed) + 1).tolist(), len(rows)]
        for first, end in pairwise(bounds):
            yield {name: column[first:end] for name, column in columns.items()}


def _text(name: str, columns: dict[str, Ints]) -> pa.Array:
    if name == "timestamp":
        return iso_strings(columns["end_ns"])
    if name in _SCALES:
        return decimal_strings(columns[name], int(columns[_SCALES[name]][0]))
    return pa.array(columns[name]).cast(_ARROW_TYPES[CANDLES[name]])


def _typed(field: pa.Field, columns: dict[str, Ints]) -> pa.Array:
    if field.name == "timestamp":
        return pa.array(columns["end_ns"]).cast(field.type)
    if field.name in _SCALES:
        return decimals(columns[field.name], int(columns[_SCALES[field.name]][0]), field.type)
    return pa.array(columns[field.name]).cast(field.type)


def _taken(buffer: io.BytesIO) -> bytes:
    """What was written since, and the buffer empty again."""
    written = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return written
