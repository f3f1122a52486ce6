"""The tables: what the derived streams say, one row a fact, each with the cause it came from.

Columns of an event are those of `infra.present.rows`: a new field of an event is a new column, and needs a
migration. Every column is a function of one partition of the log: none depends on the wall clock or on the
order between partitions, so a database that was killed, rebuilt or filled in other batches holds the same
rows. Money, prices and sizes are integers beside their decimal scale, times integer nanoseconds UTC.

`info={"content": False}` marks tables and columns that are positions or made of them (causes, offsets): two
runs over the same input in other batches agree in everything else. Keys of rows that belong to one bot or
market begin with it, so that key order is the same in both runs.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, MetaData, PrimaryKeyConstraint, Table, Text

from infra.present.rows import CAUSE, RowColumn, columns
from streams.events import (
    BotChanged,
    Candle,
    Checkpoint,
    Equity,
    Event,
    Fill,
    LateTick,
    Order,
    Signal,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

NOT_CONTENT: dict[str, Any] = {"content": False}
KEY = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is part of a key: compared by bytes in every database, so that key order is the same."""


def _integer(name: str, *, content: bool = True, nullable: bool = False) -> Column[int]:
    info = {} if content else NOT_CONTENT
    return Column(name, BigInteger, nullable=nullable, autoincrement=False, info=dict(info))


def _integers(*names: str) -> list[Column[int]]:
    return [_integer(name) for name in names]


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


def _key(name: str) -> Column[str]:
    return Column(name, KEY, nullable=False)


def _cause() -> list[Column[int]]:
    return [_integer(name, content=False) for name in CAUSE]


_TYPES: dict[type, Any] = {int: BigInteger, float: Double, bool: Boolean, str: Text}


def _column(one: RowColumn, key: tuple[str, ...]) -> Column[Any]:
    if one.type is int:
        return _integer(one.name, content=one.content, nullable=one.nullable)
    info = {} if one.content else dict(NOT_CONTENT)
    return Column(one.name, KEY if one.name in key else _TYPES[one.type], nullable=one.nullable, info=info)


def _table(name: str, *columns: Any, key: tuple[str, ...], content: bool = True) -> Table:
    # without SQLite's hidden rowid a row is written once, by its key, and ranges are read in one sweep
    info = {} if content else dict(NOT_CONTENT)
    constraint = PrimaryKeyConstraint(*key)
    return Table(name, metadata, *columns, constraint, info=info, sqlite_with_rowid=False)


def _of(
    kind: type[Event], name: str, *more: Column[Any], key: tuple[str, ...], content: bool = True
) -> Table:
    """The table of a kind of event: market, fields, cause, and what follows from later events."""
    its = [_column(one, key) for one in columns(kind)]
    market = [] if not content or any(column.name == "market" for column in its) else [_key("market")]
    return _table(name, *market, *its, *_cause(), *more, key=key, content=content)


positions = _table(
    "positions",
    _key("topic"),
    *_integers("partition", "offset", "cause_offset"),
    *_texts("cause_indexes"),
    key=("topic", "partition"),
    content=False,
)
"""Per stream and partition: the last offset applied, and the last cause, −1 before the first.

A journal record's outputs stand in one derived record a market, so their indexes rise within a market only:
`cause_indexes` is a JSON object, the last index by market among the outputs of journal offset `cause_offset`.
"""

markets = _table("markets", _key("market"), *_texts("venue", "symbol"), key=("market",))

BY_BOT = ("bot_id", *CAUSE)

candles = _of(Candle, "candles", key=("market", "timeframe", "timestamp", "revision"))
late_ticks = _of(LateTick, "late_ticks", key=("market", *CAUSE))
signals = _of(Signal, "signals", key=BY_BOT)
orders = _of(Order, "orders", *_texts("status", "code"), *_integers("filled", "updated"), key=BY_BOT)
"""`status`: pending, partial, filled, cancelled or rejected; `code` says why of the last two."""

fills = _of(Fill, "fills", key=BY_BOT)
equity = _of(Equity, "equity", key=BY_BOT)
"""A row for each bot of an event."""

bots = _of(BotChanged, "bots", key=("bot_id",))
"""The newest specification and status of each bot."""

bot_positions = _table(
    "bot_positions",
    _key("market"),
    *_integers("bot_id", "timestamp", "position", "cost", "cash", "realised_pnl", "fees"),
    *_texts("fee_currency"),
    *_integers("size_scale", "cash_scale"),
    *_cause(),
    key=("bot_id",),
)
"""Each bot that ever traded, after its newest fill; `realised_pnl` (gross of fees) and `fees` are totals."""

checkpoints = _of(Checkpoint, "checkpoints", key=CAUSE, content=False)

system_events = _table(
    "system_events",
    _key("topic"),
    *_integers("partition", "offset", "index", "timestamp"),
    *_texts("market", "type", "event"),
    *_cause(),
    key=("topic", "partition", "offset", "index"),
    content=False,
)
"""Notices about the machinery and dead letters, by their place in the log; `timestamp` is the record's own.

A record that the projector cannot read stands here as a `dead_letter.v1` at its own place. Notices without
a cause have −1 in its columns.
"""
