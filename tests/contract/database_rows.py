"""Records for a database, and the rows that it makes of them, as the doors show them."""

from typing import Any

from sqlalchemy import Engine, Table, select

from infra.db import queries, tables
from infra.db.pages import Window, every
from infra.present import facts
from streams.causes import Cause
from streams.events import Fill
from streams.records import Output, Record
from tests.derived import START_NS, fill, record

MARKET = "bitmex:BTC/USD:BTC"
MINUTE_NS = 60_000_000_000

Shown = list[dict[str, Any]]


def one(topic: str, offset: int, *events: Any, cause: int | None = None, first: int = 0) -> Record:
    """A record of one market in partition 1; its cause is journal offset `cause`, if not its own."""
    indexes = tuple(range(first, first + len(events)))
    return record(topic, MARKET, offset, Output(1, offset if cause is None else cause, indexes, events))


def first_fill(offset: int = 5, index: int = 0, **changes: Any) -> Fill:
    return fill(**{"timestamp": START_NS + 9, "order_id": Cause(1, offset, index)} | changes)


def rows_of(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """All rows in the order of their key."""
    with engine.connect() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key.columns))
        return [dict(row._mapping) for row in found]


def system_events(engine: Engine) -> list[dict[str, Any]]:
    return rows_of(engine, tables.system_events)


def candles(
    engine: Engine, market: str = MARKET, after: int | None = None, until: int | None = None, **options: Any
) -> Shown:
    timeframe = options.pop("timeframe", "1m")
    found = every(
        lambda window: queries.candles(engine, market, timeframe, window, **options),
        Window(after_ns=after, until_ns=until),
    )
    return [facts.candle(row) for row in found]


def signals(engine: Engine, bot_id: int) -> Shown:
    found = every(lambda window: queries.signals(engine, bot_id, window), Window())
    return [facts.signal(row) for row in found]


def fills(engine: Engine, bot_id: int) -> Shown:
    return [facts.fill(row) for row in every(lambda at: queries.fills(engine, bot_id, at), Window())]


def marks(engine: Engine, bot_id: int) -> Shown:
    return [facts.mark(row) for row in every(lambda at: queries.equity(engine, bot_id, at), Window())]


def bots(engine: Engine) -> Shown:
    return [facts.bot(row) for row in every(lambda at: queries.bots(engine, at), Window())]


def bot(engine: Engine, bot_id: int) -> dict[str, Any]:
    row = queries.bot(engine, bot_id)
    assert row is not None
    return facts.bot(row)
