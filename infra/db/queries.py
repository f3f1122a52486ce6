"""What the command line asks of the database: generators of all rows, read page by page.

Rows are those of `infra.db.pages`, or the fields of them that commands show. Memory does not grow with the
answer, and no connection is held between pages. `after_ns` is exclusive and `until_ns` inclusive, in event
time.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, and_, func, select

from infra.db import pages, tables
from infra.db.pages import Page, Window

ROWS_PER_PAGE = 10_000
SIGNAL = ("time", "bot_id", "target", "values", "decision", "code", "cause", "words")
Rows = Iterator[dict[str, Any]]


def every(page: Callable[[Window], Page], window: Window) -> Iterator[list[Any]]:
    """The rows of every page from `window` on, `ROWS_PER_PAGE` at a time."""
    while True:
        found = page(window._replace(limit=ROWS_PER_PAGE))
        yield found.rows
        if found.next is None:
            return
        window = window._replace(cursor=found.next)


def candles(
    engine: Engine,
    market: str,
    timeframe: str,
    after_ns: int | None = None,
    until_ns: int | None = None,
    *,
    revisions: bool = False,
) -> Rows:
    """Candles by close time; only the newest revision of each unless all are asked for."""
    return _rows(
        lambda window: pages.candles(engine, market, timeframe, window, revisions=revisions),
        after_ns,
        until_ns,
    )


def raw_candles(
    engine: Engine, market: str, timeframe: str, window: Window, *, revisions: bool
) -> Iterator[list[Any]]:
    """The same as the table holds them, many at a time: see `pages.raw_candles`."""
    return every(lambda at: pages.raw_candles(engine, market, timeframe, at, revisions=revisions), window)


def signals(engine: Engine, bot_id: int, after_ns: int | None = None, until_ns: int | None = None) -> Rows:
    """Every signal of a bot, executed or refused, in the order of the journal; `words` says its code."""
    for row in _rows(lambda window: pages.signals(engine, bot_id, window), after_ns, until_ns):
        yield {name: row[name] for name in SIGNAL}


def trades(
    engine: Engine,
    bot_id: int,
    after_ns: int | None = None,
    until_ns: int | None = None,
    *,
    lineage: bool = False,
) -> Rows:
    """Fills of a bot in the order of the journal, with their `lineage` if asked for: see `pages.fills`."""
    for row in _rows(lambda window: pages.fills(engine, bot_id, window, lineage=lineage), after_ns, until_ns):
        del row["cash"]
        yield row


def equity(engine: Engine, bot_id: int, after_ns: int | None = None, until_ns: int | None = None) -> Rows:
    """Marks of a bot at candle closes."""
    return _rows(lambda window: pages.equity(engine, bot_id, window), after_ns, until_ns)


def bots(engine: Engine, limit: int | None = None) -> Rows:
    """The newest specification, status and holdings of every bot, or of the first so many, by id."""
    if limit is not None:
        return iter(pages.bots(engine, Window(limit)).rows)
    return _rows(lambda window: pages.bots(engine, window))


bot = pages.bot


def markets(engine: Engine) -> Rows:
    """Markets of which anything was derived."""
    with engine.connect() as connection:
        for row in connection.execute(select(tables.markets).order_by(tables.markets.c.market)):
            yield {"market": row.market, "venue": row.venue, "symbol": row.symbol}


def _rows(page: Callable[[Window], Page], after_ns: int | None = None, until_ns: int | None = None) -> Rows:
    for rows in every(page, Window(ROWS_PER_PAGE, after_ns, until_ns)):
        yield from rows


def lost(engine: Engine, partition: int, first: int, end: int) -> dict[str, int]:
    """How many late trades and dead letters follow from the journal records first ≤ offset < end."""

    def follows(table: Table) -> ColumnElement[bool]:
        cause = table.c
        return and_(cause.cause_partition == partition, cause.cause_offset >= first, cause.cause_offset < end)

    late, system = tables.late_ticks, tables.system_events
    letters = and_(follows(system), system.c.type == "dead_letter.v1")
    with engine.connect() as connection:
        return {
            "late": connection.scalar(select(func.count()).select_from(late).where(follows(late))) or 0,
            "dead_letters": connection.scalar(select(func.count()).select_from(system).where(letters)) or 0,
        }
