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
from infra.present.columns import decimal_strings, decimals, iso_strings
from infra.present.facts import CANDLE_COLUMNS
from infra.present.fields import SCALES, door_fields
from streams.events import Candle

ARROW = "application/vnd.apache.arrow.stream"
Chunks = Iterable[list[Row[Any]]]
"""Rows of `CANDLE_COLUMNS`."""

_SCALES = {one.name: SCALES[one.unit] for one in door_fields(Candle) if one.unit in SCALES}
_CHANGING = tuple(dict.fromkeys(_SCALES.values()))
_ARROW_TYPES: dict[str, pa.DataType] = {
    "time": pa.timestamp("ns", tz="UTC"), "decimal": pa.decimal128(*DECIMAL), "whole": pa.int64(),
    "bool": pa.bool_(), "text": pa.string(),
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


Column = Any
"""The integers of a column, or its texts."""


def _columns(chunks: Chunks) -> Iterator[dict[str, Column]]:
    """Columns by name, of rows in sequence that have the same scales: a market's seldom change."""
    for rows in chunks:
        if not rows:
            continue
        whole = zip(CANDLE_COLUMNS, zip(*rows, strict=True), strict=True)
        columns = {name: _column(name, values) for name, values in whole}
        changed = np.any([np.diff(columns[scale]) != 0 for scale in _CHANGING], axis=0)
        bounds = [0, *(np.flatnonzero(changed) + 1).tolist(), len(rows)]
        for first, end in pairwise(bounds):
            yield {name: column[first:end] for name, column in columns.items()}


def _column(name: str, values: tuple[Any, ...]) -> Column:
    return values if CANDLES.get(name) == "text" else np.array(values, np.int64)


def _text(name: str, columns: dict[str, Column]) -> pa.Array:
    if CANDLES[name] == "time":
        return iso_strings(columns[name])
    if name in _SCALES:
        return decimal_strings(columns[name], int(columns[_SCALES[name]][0]))
    return pa.array(columns[name]).cast(_ARROW_TYPES[CANDLES[name]])


def _typed(field: pa.Field, columns: dict[str, Column]) -> pa.Array:
    if field.name in _SCALES:
        return decimals(columns[field.name], int(columns[_SCALES[field.name]][0]), field.type)
    return pa.array(columns[field.name]).cast(field.type)


def _taken(buffer: io.BytesIO) -> bytes:
    """What was written since, and the buffer empty again."""
    written = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return written
