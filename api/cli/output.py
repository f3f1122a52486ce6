"""Rows on standard output or into a file: CSV, JSON lines, Parquet, Arrow, or a table for people."""

import csv
import io
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import IO, TYPE_CHECKING, Any, Protocol

import msgspec

from api.cli.failures import CommandFailedError
from api.cli.options import Format
from api.columns import DECIMAL, Columns, Kind
from infra.process.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text

Rows = Iterable[dict[str, Any]]

ROWS_PER_CHUNK = 10_000
WIDTH = 200


def print_json(value: Any) -> None:
    """One JSON object on a line of standard output."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def say(text: str) -> None:
    """A word to people, beside the data."""
    sys.stderr.write(f"{text}\n")


def print_rows(rows: Rows, columns: Iterable[str], *, json: bool) -> None:
    """Each row whole as a line of JSON, or these columns of all as a table for people."""
    if not json:
        print_table(rows, columns)
        return
    for row in rows:
        print_json(row)


def print_table(rows: Rows, columns: Iterable[str]) -> None:
    """A table for people, as wide as it needs to be where nobody looks at a terminal; there, what is
    wider goes on in more lines. Numbers stand on the right."""
    from rich.console import Console
    from rich.table import Table

    columns, rows = tuple(columns), tuple(rows)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        is_number = all(type(row[name]) in (int, float, NoneType) for row in rows)
        justify = "right" if rows and is_number else "left"
        table.add_column(name, overflow="fold", justify=justify, no_wrap=name == columns[0])
    for row in rows:
        table.add_row(*(plain(_word(row[name])) for name in columns))
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(table)


def plain(text: str) -> "Text":
    """A cell of a table: what others wrote is neither markup nor anything that a terminal obeys."""
    from rich.text import Text

    return Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text))


def write_rows(rows: Rows, columns: Columns, form: Format, out: Path | None) -> None:
    """All rows in their format; a file appears only when it is complete."""
    with _destination(out) as file:
        if form == "csv":
            _csv(rows, columns, file)
        elif form == "json":
            for row in rows:
                file.write(msgspec.json.encode(row) + b"\n")
        else:
            _arrow(rows, columns, form, file)


def write_chunks(chunks: Iterable[bytes], out: Path | None) -> None:
    """What is formatted already; a file appears only when it is complete."""
    with _destination(out) as file:
        file.writelines(chunks)


def write_batches(
    batches: Iterable["pa.RecordBatch"], schema: "pa.Schema", form: Format, out: Path | None
) -> None:
    """Batches in a binary format; the file appears only when it is complete."""
    with _destination(out) as file, _writer(form, file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


@contextmanager
def _destination(out: Path | None) -> Generator[IO[bytes]]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(out) as file:
        yield file


def check_file(file: Path, option: str) -> None:
    """Before the work, that a file can stand there. Raises `CommandFailedError`."""
    if file.is_dir():
        raise CommandFailedError(f"{option} {file} is a folder: name a file in it")
    if not file.parent.is_dir():
        raise CommandFailedError(f"{option} {file}: there is no folder {file.parent}; make it first")


def _csv(rows: Rows, columns: Columns, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_word(row[name]) for name in columns])
    text.flush()
    text.detach()


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class _TableWriter(Protocol):
    def write_table(self, table: "pa.Table") -> None: ...
    def write_batch(self, batch: "pa.RecordBatch") -> None: ...
    def close(self) -> None: ...


def _arrow(rows: Rows, columns: Columns, form: Format, file: IO[bytes]) -> None:
    import pyarrow as pa

    types: dict[Kind, pa.DataType] = {
        "time": pa.timestamp("ns", tz="UTC"), "decimal": pa.decimal128(*DECIMAL), "whole": pa.int64(),
        "float": pa.float64(), "bool": pa.bool_(), "text": pa.string(), "json": pa.string(),
    }  # fmt: skip
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with _writer(form, file, schema) as writer:
        for chunk in _chunks(rows):
            arrays = [_array([row[name] for row in chunk], columns[name], types) for name in columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


@contextmanager
def _writer(form: Format, file: IO[bytes], schema: "pa.Schema") -> Generator[_TableWriter]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = pq.ParquetWriter(file, schema) if form == "parquet" else pa.ipc.new_file(file, schema)
    try:
        yield writer
    finally:
        writer.close()


def _array(values: list[Any], kind: Kind, types: Mapping[Kind, Any]) -> "pa.Array":
    import pyarrow as pa

    from infra.present.values import parse_time

    if kind == "time":
        return pa.array([None if v is None else parse_time(v) for v in values], types[kind])
    if kind == "decimal":
        return pa.array(values, pa.string()).cast(types[kind])
    return pa.array([_word(v) for v in values] if kind == "json" else values, types[kind])


def _chunks(rows: Rows) -> Iterator[list[dict[str, Any]]]:
    each = iter(rows)
    while chunk := list(islice(each, ROWS_PER_CHUNK)):
        yield chunk


class Advance(Protocol):
    def __call__(self, done: int, text: str | None = None) -> None: ...


@contextmanager
def progress(text: str, total: int | None) -> Generator[Advance]:
    """A bar on standard error while people look at it; call the result with how much is done, and at what."""
    if not sys.stderr.isatty():
        yield lambda done, text=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done, text=None: bar.update(task, completed=done, description=text)
