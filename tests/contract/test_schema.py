"""What every database is made of: the tables of this version, and no other's."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from infra.channels.store import metadata as channels
from infra.db import tables
from infra.db.connect import database_at
from infra.db.projector import DatabaseSink
from infra.db.rows import GROWS, SYSTEM_EVENTS
from infra.db.schema import SchemaError, migrate, newest_revision
from infra.db.tables import metadata
from infra.upkeep.rebuild import content_hash
from streams.codec import DERIVED_EVENTS
from streams.events import BotChanged, Equity, Order, OrderClosed
from streams.topics import CANDLES
from tests.contract.conftest import NewDatabase
from tests.contract.database_rows import one
from tests.derived import candle


def test_migrations_lead_to_exactly_the_tables_of_the_code(url: str, new_database: NewDatabase) -> None:
    migrate(url)
    engine = database_at(url)
    made = database_at(new_database())
    metadata.create_all(made)
    channels.create_all(made)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), [metadata, channels]) == []
    for table in (*metadata.tables, *channels.tables):
        migrated, direct = inspect(engine), inspect(made)
        assert migrated.get_pk_constraint(table) == direct.get_pk_constraint(table)
        assert [str(c) for c in migrated.get_columns(table)] == [str(c) for c in direct.get_columns(table)]
    assert migrated.has_table("alembic_version")
    engine.dispose()
    made.dispose()


def test_migrating_again_changes_nothing(url: str, sink: DatabaseSink) -> None:
    sink.apply([one(CANDLES, 0, candle(0))])
    before = content_hash(url)
    assert migrate(url) == migrate(url) == newest_revision()
    assert content_hash(url) == before


def test_a_database_that_is_not_migrated_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(SchemaError, match=r"revision none.*run `tcpdashboard migrate`"):
        DatabaseSink(url)


def test_a_database_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'mysql' is not supported; use sqlite"):
        database_at("mysql://localhost/x")


def test_every_field_of_an_event_is_a_column_of_its_table() -> None:
    for kind, table in {
        **GROWS,
        Order: tables.orders,
        Equity: tables.equity,
        BotChanged: tables.bots,
    }.items():
        names = set(table.columns.keys())
        for field in kind.__struct_fields__:
            assert field in names or {f"{field}_partition", f"{field}_mode"} & names, (table.name, field)


def test_every_derived_event_has_a_table() -> None:
    changing = {Order, OrderClosed, Equity, BotChanged}
    assert {*GROWS, *changing, *SYSTEM_EVENTS} == set(DERIVED_EVENTS.values())


def test_a_database_of_another_release_is_refused_and_says_what_to_do(url: str) -> None:
    migrate(url)
    engine = database_at(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0002'")
    engine.dispose()
    for use in (migrate, DatabaseSink):
        with pytest.raises(
            SchemaError, match=r"another release \(revision 0002\): name another.*rebuild"
        ) as told:
            use(url)
        assert told.value.revision == "0002"
