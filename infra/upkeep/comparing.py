"""Comparing the database, cell by cell, with what the recorded streams say up to where it has read them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, literal_column, select
from sqlalchemy.engine import make_url

from infra.db.connect import database_at, writing
from infra.db.projector import project
from infra.db.schema import SchemaError, open_database
from infra.db.tables import metadata, positions
from infra.upkeep.rebuild import CHUNK_RECORDS
from streams.log import Log
from streams.records import Record
from streams.topics import PROJECTED

Row = tuple[Any, ...]


class Unequal(NamedTuple):
    """A cell that differs; `column` None: the row is missing, or no record gives it (`expected` None)."""

    table: str
    row: dict[str, Any]
    column: str | None
    expected: Any
    found: Any

    def __str__(self) -> str:
        row = ", ".join(f"{name} {value}" for name, value in self.row.items())
        if self.column is not None:
            return f"{self.table} ({row}): {self.column} is {self.found!r}, the log gives {self.expected!r}"
        what = "no record gives this row" if self.expected is None else "the row is missing"
        return f"{self.table} ({row}): {what}"


def compare(log: Log, url: str) -> Iterator[Unequal]:
    """What in any table is not as the streams of `log` make it, up to the database's own positions.

    Raises `SchemaError` where there is no database of this version.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        raise SchemaError(
            f"there is no database {parsed.render_as_string()}; make it: `tcpdashboard rebuild`", None
        )
    engine = open_database(url)
    isolation: Any = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    try:
        with TemporaryDirectory() as folder, engine.connect().execution_options(**isolation) as found:
            scratch = database_at(f"sqlite:///{folder}/expected.db")
            metadata.create_all(scratch)
            reached = {(topic, partition): at for topic, partition, at in _rows(found, positions, 3)}
            with writing(scratch).begin() as connection:
                records = _derived(log, reached)
                while chunk := list(islice(records, CHUNK_RECORDS)):
                    project(connection, chunk)
            with scratch.connect() as expected:
                for table in metadata.sorted_tables:
                    yield from _compare(table, expected, found)
            scratch.dispose()
    finally:
        engine.dispose()


def _derived(log: Log, reached: dict[Any, Any]) -> Iterator[Record]:
    for topic in PROJECTED:
        for partition in range(log.partitions):
            offset = reached.get((topic, partition), -1)
            if isinstance(offset, int):
                yield from log.read(topic, partition, 0, min(offset + 1, log.highwater(topic, partition)))


def _compare(table: Table, expected: Connection, found: Connection) -> Iterator[Unequal]:
    names = [column.name for column in table.columns]
    keys = [names.index(column.name) for column in table.primary_key.columns]
    for ours, theirs in _side_by_side(_rows(expected, table), _rows(found, table), keys):
        there = ours or theirs or ()
        row = {names[at]: there[at] for at in keys}
        if ours is None or theirs is None:
            yield Unequal(table.name, row, None, ours, theirs)
            continue
        for name, value, other in zip(names, ours, theirs, strict=True):
            if value != other:
                yield Unequal(table.name, row, name, value, other)


def _rows(connection: Connection, table: Table, columns: int | None = None) -> Iterator[Row]:
    """Rows in the order of their key, values as they are stored: what no column's type would give too."""
    quoted = {
        column.name: connection.dialect.identifier_preparer.quote(column.name) for column in table.columns
    }
    shown: list[Any] = [literal_column(name) for name in list(quoted.values())[:columns]]
    order: list[Any] = [literal_column(quoted[column.name]) for column in table.primary_key.columns]
    query = select(*shown).select_from(table).order_by(*order)
    for row in connection.execution_options(yield_per=1_000).execute(query):
        yield tuple(row)


def _side_by_side(
    ours: Iterable[Row], theirs: Iterable[Row], keys: Sequence[int]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Both in the order of their keys; None where there is no row of a key."""
    left, right = iter(ours), iter(theirs)
    mine, other = next(left, None), next(right, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and _order(mine, keys) < _order(other, keys)):
            yield mine, None
            mine = next(left, None)
        elif mine is None or _order(other, keys) < _order(mine, keys):
            yield None, other
            other = next(right, None)
        else:
            yield mine, other
            mine, other = next(left, None), next(right, None)


def _order(row: Row, keys: Sequence[int]) -> list[tuple[int, Any]]:
    """As databases order: numbers before texts, texts before bytes."""
    return [(isinstance(row[at], str) + 2 * isinstance(row[at], bytes), row[at]) for at in keys]
