"""What every database is made of: the tables of this version, and no other's."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from infra.channels.store import metadata as channels
from infra.db.engine import open_engine
from infra.db.projector import DatabaseSink
from infra.db.rows import SYSTEM_EVENTS, Changes
from infra.db.schema import SchemaError, migrate, newest_revision
from infra.db.tables import metadata
from infra.upkeep.rebuild import content_hash
from streams.codec import DERIVED_EVENTS
from streams.events import Candle, Event, Fill, LateTick
from streams.topics import CANDLES
from tests.contract.conftest import NewDatabase
from tests.contract.database_rows import one
from tests.derived import candle


def test_migrations_lead_to_exactly_the_tables_of_the_code(url: str, new_database: NewDatabase) -> None:
    migrate(url)
    engine = open_engine(url)
    made = open_engine(new_database())
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
        open_engine("mysql://localhost/x")


@pytest.mark.parametrize(
    ("kind", "table"),
    [(Candle, "candles"), (LateTick, "late_ticks"), (Fill, "fills")],
)
def test_columns_stand_in_the_order_of_the_events_fields(kind: type[Event], table: str) -> None:
    names = [column.name.removesuffix("_ns") for column in metadata.tables[table].c]
    fields = list(kind.__struct_fields__)
    if kind is Fill:
        fields[2:3] = ["order_partition", "order_offset", "order_index"]
    assert [name for name in names if name != "market" and not name.startswith("cause_")] == fields


def test_every_derived_event_has_a_table() -> None:
    known = set(Changes()._add) | set(SYSTEM_EVENTS)
    assert known == set(DERIVED_EVENTS.values())
