"""The newest state of bots and markets, for those who look at it live."""

from typing import Any

from sqlalchemy import Engine, func, select

from infra.db import queries, tables


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
