"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001_tables"
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
    _channels()
    op.execute("INSERT INTO mirror_turns (id, turn) VALUES (1, 0)")


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
        _keys("market"),
        _integers("timestamp"),
        _keys("timeframe"),
        _integers(
            "revision",
            "open",
            "high",
            "low",
            "close",
            "volume",
            "trades",
            "price_scale",
            "size_scale",
        ),
        _booleans("empty", "incomplete"),
        _integers("first_offset", "last_offset", *CAUSE),
        key="market timeframe timestamp revision",
    )
    _create(
        "late_ticks",
        _keys("market"),
        _integers("timestamp", "price", "size", "price_scale", "size_scale", *CAUSE),
        key="market cause_partition cause_offset cause_index",
    )


def _trades() -> None:
    _create(
        "signals",
        _keys("market"),
        _integers("bot_id", "timestamp"),
        _texts("timeframe"),
        _doubles("target", "previous"),
        _texts("values"),
        _integers("price", "price_scale"),
        _texts("decision", "code", "origin"),
        _nullable("candle_partition", "candle_offset", "candle_index"),
        _integers(*CAUSE),
        key="bot_id cause_partition cause_offset cause_index",
    )
    _create(
        "orders",
        _keys("market"),
        _integers("bot_id", "timestamp"),
        _texts("side"),
        _integers("size", "price", "price_scale", "size_scale"),
        _texts("reason"),
        _nullable("signal_partition", "signal_offset", "signal_index"),
        _integers(*CAUSE),
        _texts("status", "code"),
        _integers("filled", "updated"),
        key="bot_id cause_partition cause_offset cause_index",
    )
    _create(
        "fills",
        _keys("market"),
        _integers("bot_id", "timestamp", "order_id_partition", "order_id_offset", "order_id_index"),
        _texts("side"),
        _integers("price", "size", "fee"),
        _texts("fee_currency"),
        _integers(
            "realised_pnl",
            "position",
            "cost",
            "cash",
            "price_scale",
            "size_scale",
            "cash_scale",
            "row",
            "opens",
            "closes",
            *CAUSE,
        ),
        key="bot_id cause_partition cause_offset cause_index",
    )


def _bots() -> None:
    _create(
        "equity",
        _keys("market"),
        _integers(
            "timestamp",
            "mark_price",
            "bot_id",
            "cash",
            "position",
            "equity",
            "unrealised_pnl",
            "peak",
            "price_scale",
            "size_scale",
            "cash_scale",
            *CAUSE,
        ),
        key="bot_id cause_partition cause_offset cause_index",
    )
    _create(
        "bots",
        _integers("bot_id", "timestamp"),
        _texts("market", "timeframe", "strategy", "code_hash", "params", "sizing_mode"),
        _integers("sizing_value", "sizing_scale"),
        _booleans("short"),
        _integers("initial_cash", "cash_scale"),
        _texts("currency", "status", "code", "message", "who"),
        _booleans("steps"),
        _integers("since_partition", "since_offset", "since_index"),
        _texts("name", "tags", "on_stale"),
        _integers("warmed"),
        _integers(*CAUSE),
        key="bot_id",
    )
    _create(
        "bot_positions",
        _keys("market"),
        _integers("bot_id", "timestamp", "position", "cost", "cash", "realised_pnl", "fees"),
        _texts("fee_currency"),
        _integers("size_scale", "cash_scale", *CAUSE),
        key="bot_id",
    )


def _machinery() -> None:
    _create(
        "checkpoints",
        _texts("journal_sha256", "state_sha256"),
        _integers("state_version", *CAUSE),
        key="cause_partition cause_offset cause_index",
    )
    _create(
        "system_events",
        _keys("topic"),
        _integers("partition", "offset", "index", "timestamp"),
        _texts("market", "type", "event"),
        _integers(*CAUSE),
        key="topic partition offset index",
    )


def _channels() -> None:
    _create(
        "channels",
        _keys("channel"),
        _integers("seq"),
        _texts("snapshot"),
        key="channel",
    )
    _create(
        "channel_runs",
        _keys("channel"),
        _integers("first_seq"),
        _texts("topic"),
        _integers("partition", "offset", "cause_offset"),
        _texts("cause_indexes"),
        key="channel first_seq",
    )
    _create(
        "mirror_positions",
        _keys("topic"),
        _integers("partition", "offset", "cause_offset"),
        _texts("cause_indexes"),
        key="topic partition",
    )
    _create(
        "mirror_turns",
        _integers("id", "turn"),
        key="id",
    )
