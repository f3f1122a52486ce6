"""Writing many rows at once, by what is fastest in each dialect.

SQLite: the driver's own `executemany`. PostgreSQL: COPY, into the table or, where rows may be replaced, into
a temporary table that is then merged; only a few rows are sooner replaced by a plain statement.
"""

import csv
from functools import cache
from io import StringIO
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Table, TableClause, column, event, select
from sqlalchemy import table as table_clause
from sqlalchemy.dialects import postgresql, sqlite

Rows = list[tuple[Any, ...]]
"""Each in the order of its table's columns."""

FEW_ROWS = 50
"""Replacing so many by a statement takes as long as making ready a temporary table."""
_ROWS = "rows"


def write(connection: Connection, table: Table, rows: Rows, *, replace: bool = False) -> None:
    """Insert rows, or replace those with the same key; no two of `rows` have the same.

    Raises `IntegrityError` for a key that stands already, `OverflowError` (SQLite) or `DataError`
    (PostgreSQL) for an integer beyond 64 bits.
    """
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        # SQLAlchemy's handling of parameters, row by row, costs more than SQLite's insert
        connection.exec_driver_sql(_sqlite_text(table, replace), rows)
    elif not replace:
        connection.exec_driver_sql(_copy_text(table, table.name), {_ROWS: _csv(rows)})
    elif len(rows) <= FEW_ROWS:
        names = table.columns.keys()
        connection.execute(_few(table), [dict(zip(names, row, strict=True)) for row in rows])
    else:
        _merge(connection, table, rows)


def write_missing(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert those rows whose keys stand nowhere yet; waits for others that are about to insert them."""
    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    names = table.columns.keys()
    values = [dict(zip(names, row, strict=True)) for row in rows]
    connection.execute(insert(table).on_conflict_do_nothing(), values)


def listen_for_copy(database: Engine) -> None:
    """Let `database` execute COPY, its rows being the parameter; errors are SQLAlchemy's as ever."""
    event.listen(database, "do_execute", _execute_copy)


def _execute_copy(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
    rows = parameters.get(_ROWS) if isinstance(parameters, dict) else None
    if not isinstance(rows, StringIO):
        return False
    cursor.copy_expert(statement, rows)
    return True


def _csv(rows: Rows) -> StringIO:
    """Texts in quotes and numbers without; None like an empty text, see `_copy_text`."""
    text = StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    text.seek(0)
    return text


def _merge(connection: Connection, table: Table, rows: Rows) -> None:
    staged = f"staged_{table.name}"
    # it stays for as long as the connection; emptied here too, for a transaction of several batches
    connection.exec_driver_sql(
        f'CREATE TEMPORARY TABLE IF NOT EXISTS {staged} (LIKE "{table.name}") ON COMMIT DELETE ROWS;'
        f"TRUNCATE {staged}"
    )
    connection.exec_driver_sql(_copy_text(table, staged), {_ROWS: _csv(rows)})
    connection.exec_driver_sql(_merge_text(table, staged))


@cache
def _few(table: Table) -> Insert:
    return _replacing(postgresql.insert(table), table)


@cache
def _copy_text(table: Table, into: str) -> str:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    # no column that may be null is a text: there an empty one is None
    nullable = ", ".join(f'"{column.name}"' for column in table.columns if column.nullable)
    options = f"FORMAT csv, FORCE_NULL ({nullable})" if nullable else "FORMAT csv"
    return f'COPY "{into}" ({names}) FROM STDIN ({options})'


@cache
def _merge_text(table: Table, staged: str) -> str:
    names = table.columns.keys()
    source: TableClause = table_clause(staged, *(column(name) for name in names))
    insert = postgresql.insert(table).from_select(names, select(source))
    return str(_replacing(insert, table).compile(dialect=postgresql.dialect()))


@cache
def _sqlite_text(table: Table, replace: bool) -> str:
    insert = sqlite.insert(table)
    return str((_replacing(insert, table) if replace else insert).compile(dialect=sqlite.dialect()))


def _replacing(insert: sqlite.Insert | postgresql.Insert, table: Table) -> Insert:
    key = table.primary_key.columns
    rest = {column.name: insert.excluded[column.name] for column in table.columns if column not in set(key)}
    return insert.on_conflict_do_update(index_elements=list(key), set_=rest)
