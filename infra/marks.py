"""Bots with their newest mark: equity and profit as of the last candle that changed them."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, select

from infra.db import queries, tables
from infra.present import decimal_string, iso


def marked(engine: Engine) -> Iterator[dict[str, Any]]:
    """Rows of `queries.bots` with `equity`, `pnl` (equity less initial cash) and `marked` (when)."""
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
