"""The newest state of bots and markets, for those who look at it live."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, func, select

from infra.db import queries, tables
from infra.present import decimal_string, iso


def marked(engine: Engine) -> Iterator[dict[str, Any]]:
    """Rows of `queries.bots` with their newest mark: `equity`, `pnl` and `marked`, its time or None.

    A mark is made at the close of a candle; `pnl` is equity less initial cash.
    """
    table = tables.equity
    newest = select(table.c.equity, table.c.cash_scale, table.c.time_ns).order_by(
        *(column.desc() for column in table.primary_key.columns)
    )
    with engine.connect() as connection:
        for bot in queries.bots(engine):
            row = connection.execute(newest.where(table.c.bot_id == bot["bot_id"]).limit(1)).first()
            equity = decimal_string(row.equity, row.cash_scale) if row else bot["initial_cash"]
            pnl = f"{Decimal(equity) - Decimal(bot['initial_cash']):f}"
            yield {**bot, "equity": equity, "pnl": pnl, "marked": iso(row.time_ns) if row else None}


def statuses(engine: Engine) -> dict[str, int]:
    """How many bots there are by status."""
    column = tables.bots.c.status
    with engine.connect() as connection:
        rows = connection.execute(select(column, func.count()).group_by(column).order_by(column))
        return {row[0]: row[1] for row in rows}


def newest_candle(engine: Engine, market: str, timeframe: str) -> dict[str, Any] | None:
    """The newest revision of the last closed candle, as `queries.candles` has it; None before the first."""
    column = tables.candles.c
    end = select(func.max(column.end_ns)).where(column.market == market, column.timeframe == timeframe)
    with engine.connect() as connection:
        end_ns = connection.execute(end).scalar()
    if end_ns is None:
        return None
    return next(iter(queries.candles(engine, market, timeframe, end_ns - 1, end_ns)))
