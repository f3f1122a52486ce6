"""Rows as CSV or as an Arrow stream, made page by page: memory does not grow with the answer."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from api.cli.output import CANDLES, DECIMAL, Kind
from infra.db.pages import Page, Window
from infra.present import parse_time

ARROW = "application/vnd.apache.arrow.stream"
ROWS_PER_CHUNK = 5_000
Chunks = Iterator[list[dict[str, Any]]]

_TYPES: dict[Kind, pa.DataType] = {
    "time": pa.timestamp("ns", tz="UTC"), "decimal": pa.decimal128(*DECIMAL), "whole": pa.int64(),
    "bool": pa.bool_(),
}  # fmt: skip


def all_rows(page: Callable[[Window], Page], window: Window) -> Chunks:
    """Every row from `window` on, in chunks; no connection is held between them."""
    while True:
        found = page(window._replace(limit=ROWS_PER_CHUNK))
        yield found.rows
        if found.next is None:
            return
        window = window._replace(cursor=found.next)


def csv_of(chunks: Chunks) -> Iterator[bytes]:
    """Candles with a header line."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CANDLES)
    for rows in chunks:
        writer.writerows([_word(row[name]) for name in CANDLES] for row in rows)
        yield _taken(text).encode()


def arrow_of(chunks: Chunks) -> Iterator[bytes]:
    """Candles as an Arrow IPC stream."""
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in CANDLES.items()])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for rows in chunks:
            arrays = [_array([row[name] for row in rows], kind) for name, kind in CANDLES.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            yield _taken(sink)
    yield _taken(sink)


def _taken(buffer: Any) -> Any:
    """What was written since, and the buffer empty again."""
    written = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return written


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _array(values: list[Any], kind: Kind) -> pa.Array:
    if kind == "time":
        return pa.array([parse_time(value) for value in values], _TYPES[kind])
    if kind == "decimal":
        return pa.array(values, pa.string()).cast(_TYPES[kind])
    return pa.array(values, _TYPES[kind])
