"""Records for a database, and the rows that it makes of them."""

from typing import Any

from msgspec.structs import replace
from sqlalchemy import Engine, Table, select

from infra.db import tables
from streams.causes import Cause
from streams.events import Fill
from streams.records import Output, Record
from tests.derived import CASH, START_NS, record

MARKET = "bitmex:BTC/USD:BTC"
MINUTE_NS = 60_000_000_000


def one(topic: str, offset: int, *events: Any, cause: int | None = None, first: int = 0) -> Record:
    """A record of one market in partition 1; its cause is journal offset `cause`, if not its own."""
    indexes = tuple(range(first, first + len(events)))
    return record(topic, MARKET, offset, Output(1, offset if cause is None else cause, indexes, events))


def first_fill(offset: int = 5, index: int = 0, **changes: Any) -> Fill:
    ending = (250, 0, 20, 153_800, CASH - 154_050, "BTC", 1, 0, 8, 17)
    fill = Fill(1, START_NS + 9, Cause(1, offset, index), "buy", 130_010, 20, *ending)
    return replace(fill, **changes)


def rows_of(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """All rows in the order of their key."""
    with engine.connect() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key.columns))
        return [dict(row._mapping) for row in found]


def system_events(engine: Engine) -> list[dict[str, Any]]:
    return rows_of(engine, tables.system_events)
