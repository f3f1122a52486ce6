"""A database is compared with the log cell by cell: whatever was altered in it is named, and mended."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)

from infra.db.projector import DatabaseSink
from infra.db.schema import SchemaError
from infra.db.tables import metadata
from infra.upkeep.comparing import Unequal, compare
from infra.upkeep.rebuild import rebuild
from streams.embedded.log import EmbeddedLog
from tests.derived import as_log, recorded


@pytest.fixture
def log(sink: DatabaseSink, tmp_path: Path) -> EmbeddedLog:
    """A log that the database has read whole."""
    records = recorded(1)
    sink.apply(records)
    return as_log(records, tmp_path / "log")


def forged(column: Column[Any], value: Any) -> Any:
    """Another value of the column's own type."""
    if value is None:
        return 7 if not isinstance(column.type, Double | Boolean) else True
    if isinstance(column.type, Boolean):
        return not value
    return f"{value}x" if isinstance(value, str) else value + 1


def some_row(connection: Connection, table: Table) -> dict[str, Any]:
    """The last of its keys: it can be changed in a key without meeting another."""
    order = [column.desc() for column in table.primary_key.columns]
    found = connection.execute(select(table).order_by(*order).limit(1)).first()
    assert found is not None, f"no record of the test fills {table.name}"
    return dict(found._mapping)


def is_row(table: Table, row: dict[str, Any]) -> Any:
    return and_(*(column == row[column.name] for column in table.primary_key.columns))


def found(log: EmbeddedLog, url: str) -> list[Unequal]:
    return list(compare(log, url))


def test_a_database_that_nobody_altered_is_as_the_log_makes_it(log: EmbeddedLog, url: str) -> None:
    assert found(log, url) == []


def test_a_database_is_compared_up_to_its_own_positions(sink: DatabaseSink, url: str, tmp_path: Path) -> None:
    records = recorded(1)
    sink.apply(records[: len(records) // 2])
    assert found(as_log(records, tmp_path / "log"), url) == []


@pytest.mark.parametrize("name", list(metadata.tables))
def test_a_forgery_in_each_column_of_each_table_is_found_by_its_name(
    log: EmbeddedLog, engine: Engine, url: str, name: str
) -> None:
    table = metadata.tables[name]
    with engine.begin() as connection:
        row = some_row(connection, table)
        others = {c.name: forged(c, row[c.name]) for c in table.columns if not c.primary_key}
        connection.execute(update(table).where(is_row(table, row)).values(others))
    key = {column.name: row[column.name] for column in table.primary_key.columns}
    unequal = found(log, url)
    assert [(one.table, one.row, one.column) for one in unequal] == [(name, key, other) for other in others]
    assert [(one.expected, one.found) for one in unequal] == [(row[n], others[n]) for n in others]
    for column in table.primary_key.columns:
        rebuild(log, url)
        with engine.begin() as connection:
            changed = {column.name: forged(column, row[column.name])}
            connection.execute(update(table).where(is_row(table, row)).values(changed))
        where = [(one.table, one.row, one.column) for one in found(log, url)]
        assert (name, key | changed, None) in where, column.name


@pytest.mark.parametrize("name", list(metadata.tables))
def test_a_deleted_row_and_an_invented_one_are_found_and_rebuild_mends_both(
    log: EmbeddedLog, engine: Engine, url: str, name: str
) -> None:
    table = metadata.tables[name]
    with engine.begin() as connection:
        row = some_row(connection, table)
        connection.execute(delete(table).where(is_row(table, row)))
    deleted = found(log, url)
    assert deleted
    if name != "positions":  # without its position, nothing is expected of a stream
        key = {column.name: row[column.name] for column in table.primary_key.columns}
        assert [(one.table, one.row, one.column, one.found) for one in deleted] == [(name, key, None, None)]
    with engine.begin() as connection:
        key_column = next(iter(table.primary_key.columns))
        invented = row | {key_column.name: forged(key_column, row[key_column.name])}
        connection.execute(insert(table).values([row, invented]))
    (only,) = found(log, url)
    assert (only.table, only.column, only.expected) == (name, None, None)
    rebuild(log, url)
    assert found(log, url) == []


def test_a_value_of_another_type_than_its_columns_is_found(
    log: EmbeddedLog, engine: Engine, url: str
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL stores none")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE candles SET volume = 'much', empty = 2")
    assert {one.column for one in found(log, url)} == {"volume", "empty"}


def test_a_database_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="there is no database"):
        list(compare(as_log([], tmp_path / "log"), f"sqlite:///{tmp_path}/none.db"))
    assert not (tmp_path / "none.db").exists()
