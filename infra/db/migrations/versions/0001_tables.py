"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

CAUSE = ("cause_partition", "cause_offset", "cause_index")


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False) for name in names]


def _nullable(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=True, autoincrement=False) for name in names]


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _keys(*names: str) -> list[sa.Column[str]]:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return [sa.Column(name, text, nullable=False) for name in names]


def _booleans(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean, nullable=False) for name in names]


def _doubles(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double, nullable=False) for name in names]


def _create(table: str, *columns: list[Any], key: str) -> None:
    constraint = sa.PrimaryKeyConstraint(*key.split(), name=op.f(f"pk_{table}"))
    flat = [column for group in columns for column in group]
    op.create_table(table, *flat, constraint, sqlite_with_rowid=False)


def upgrade() -> None:
    _markets()
    _trades()
    _bots()
    _machinery()


def _markets() -> None:
    _create(
        "positions",
        _keys("topic"),
        _integers("partition", "offset", "cause_offset"),
        _texts("cause_indexes"),
        key="topic partition",
    )
    _create(
        "markets",
        _keys("market"),
        _texts("venue", "symbol"),
        key="market",
    )
    _create(
        "candles",
        _keys("market", "timeframe"),
        _integers("end_ns", "revision", "open", "high", "low", "close", "volume", "trades"),
        _integers("price_scale", "size_scale"),
        _booleans("empty", "incomplete"),
        _integers("first_offset", "last_offset", *CAUSE),
        key="market timeframe end_ns revision",
    )
    _create(
        "late_ticks",
        _keys("market"),
        _integers("time_ns", "price", "size", "price_scale", "size_scale", *CAUSE),
        key="market cause_partition cause_offset cause_index",
    )


def _trades() -> None:
    _create(
        "signals",
        _keys("market"),
        _integers("bot_id", "time_ns"),
        _texts("timeframe"),
        _doubles("target", "previous"),
        _texts("indicators"),
        _integers("price", "price_scale"),
        _texts("decision", "code", "origin"),
        _integers(*CAUSE),
        key="bot_id cause_partition cause_offset cause_index",
    )
    _create(
        "orders",
        _keys("market"),
        _integers("bot_id", "time_ns"),
        _texts("side"),
        _integers("size", "price", "price_scale", "size_scale"),
        _texts("reason"),
        _nullable("signal_partition", "signal_offset", "signal_index"),
        _integers(*CAUSE),
        _texts("status", "code"),
        _integers("filled", "updated_ns"),
        key="bot_id cause_partition cause_offset cause_index",
    )
    _create(
        "fills",
        _keys("market"),
        _integers("bot_id", "time_ns", "order_partition", "order_offset", "order_index"),
        _texts("side"),
        _integers("price", "size", "fee", "realised", "position", "cost", "cash"),
        _texts("currency"),
        _integers("price_scale", "size_scale", "cash_scale", "row", *CAUSE),
        key="bot_id cause_partition cause_offset cause_index",
    )


def _bots() -> None:
    _create(
        "equity",
        _keys("market"),
        _integers("bot_id", "time_ns", "cash", "position", "equity", "cash_scale", "size_scale", *CAUSE),
        key="bot_id cause_partition cause_offset cause_index",
    )
    _create(
        "bots",
        _integers("bot_id", "time_ns"),
        _keys("market"),
        _texts("timeframe", "strategy", "code_hash", "params", "sizing_mode"),
        _integers("sizing_value", "sizing_scale"),
        _booleans("short"),
        _integers("initial_cash", "cash_scale"),
        _texts("currency", "status", "code", "words", "who"),
        _integers(*CAUSE),
        key="bot_id",
    )
    _create(
        "bot_positions",
        _keys("market"),
        _integers("bot_id", "time_ns", "position", "cost", "cash", "realised", "fees"),
        _texts("currency"),
        _integers("size_scale", "cash_scale", *CAUSE),
        key="bot_id",
    )


def _machinery() -> None:
    _create(
        "checkpoints",
        _texts("journal_sha256", "state_sha256"),
        _integers(*CAUSE),
        key="cause_partition cause_offset cause_index",
    )
    _create(
        "system_events",
        _keys("topic"),
        _integers("partition", "offset", "index", "time_ns"),
        _texts("market", "type", "event"),
        _integers(*CAUSE),
        key="topic partition offset index",
    )
