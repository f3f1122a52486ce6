"""The tables: what the derived streams say, one row a fact, each with the cause it came from.

Every column is a function of one partition of the log: none depends on the wall clock or on the order between
partitions, so a database that was killed, rebuilt or filled in other batches holds the same rows. Money,
prices and sizes are integers beside their decimal scale, times integer nanoseconds UTC.

`info={"content": False}` marks tables and columns that are positions or made of them (causes, offsets): two
runs over the same input in other batches agree in everything else. Keys of rows that belong to one bot or
market begin with it, so that key order is the same in both runs.
"""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, MetaData, PrimaryKeyConstraint, Table, Text

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
CAUSE = ("cause_partition", "cause_offset", "cause_index")
"""Identity of the event that made a row."""

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


def _table(name: str, *columns: Any, key: tuple[str, ...], content: bool = True) -> Table:
    # without SQLite's hidden rowid a row is written once, by its key, and ranges are read in one sweep
    info = {} if content else dict(NOT_CONTENT)
    constraint = PrimaryKeyConstraint(*key)
    return Table(name, metadata, *columns, constraint, info=info, sqlite_with_rowid=False)


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

candles = _table(
    "candles",
    _key("market"),
    _key("timeframe"),
    *_integers("end_ns", "revision", "open", "high", "low", "close", "volume", "trades"),
    *_integers("price_scale", "size_scale"),
    Column("empty", Boolean, nullable=False),
    Column("incomplete", Boolean, nullable=False),
    _integer("first_offset", content=False),
    _integer("last_offset", content=False),
    *_cause(),
    key=("market", "timeframe", "end_ns", "revision"),
)

late_ticks = _table(
    "late_ticks",
    _key("market"),
    *_integers("time_ns", "price", "size", "price_scale", "size_scale"),
    *_cause(),
    key=("market", *CAUSE),
)

signals = _table(
    "signals",
    _key("market"),
    *_integers("bot_id", "time_ns"),
    *_texts("timeframe"),
    Column("target", Double, nullable=False),
    Column("previous", Double, nullable=False),
    *_texts("indicators"),
    *_integers("price", "price_scale"),
    *_texts("decision", "code", "origin"),
    *_cause(),
    key=("bot_id", *CAUSE),
)
"""Every change of a target, executed or refused; `indicators` is a JSON object in the strategy's order."""

orders = _table(
    "orders",
    _key("market"),
    *_integers("bot_id", "time_ns"),
    *_texts("side"),
    *_integers("size", "price", "price_scale", "size_scale"),
    *_texts("reason"),
    *(_integer(f"signal_{part}", content=False, nullable=True) for part in ("partition", "offset", "index")),
    *_cause(),
    *_texts("status", "code"),
    *_integers("filled", "updated_ns"),
    key=("bot_id", *CAUSE),
)
"""`status`: pending, partial, filled, cancelled or rejected; `code` says why of the last two."""

fills = _table(
    "fills",
    _key("market"),
    *_integers("bot_id", "time_ns"),
    *(_integer(f"order_{part}", content=False) for part in ("partition", "offset", "index")),
    *_texts("side"),
    *_integers("price", "size", "fee", "realised", "position", "cost", "cash"),
    *_texts("currency"),
    *_integers("price_scale", "size_scale", "cash_scale"),
    _integer("row", content=False),
    *_cause(),
    key=("bot_id", *CAUSE),
)

equity = _table(
    "equity",
    _key("market"),
    *_integers("bot_id", "time_ns", "cash", "position", "equity", "cash_scale", "size_scale"),
    *_cause(),
    key=("bot_id", *CAUSE),
)

bots = _table(
    "bots",
    *_integers("bot_id", "time_ns"),
    _key("market"),
    *_texts("timeframe", "strategy", "code_hash", "params", "sizing_mode"),
    *_integers("sizing_value", "sizing_scale"),
    Column("short", Boolean, nullable=False),
    *_integers("initial_cash", "cash_scale"),
    *_texts("currency", "status", "code", "words", "who"),
    *_cause(),
    key=("bot_id",),
)
"""The newest specification and status of each bot; `params` is a JSON object."""

bot_positions = _table(
    "bot_positions",
    _key("market"),
    *_integers("bot_id", "time_ns", "position", "cost", "cash", "realised", "fees"),
    *_texts("currency"),
    *_integers("size_scale", "cash_scale"),
    *_cause(),
    key=("bot_id",),
)
"""Each bot that ever traded, after its newest fill; `realised` (gross of fees) and `fees` are totals."""

checkpoints = _table(
    "checkpoints",
    *_texts("journal_sha256", "state_sha256"),
    *_cause(),
    key=CAUSE,
    content=False,
)

system_events = _table(
    "system_events",
    _key("topic"),
    *_integers("partition", "offset", "index", "time_ns"),
    *_texts("market", "type", "event"),
    *_cause(),
    key=("topic", "partition", "offset", "index"),
    content=False,
)
"""Notices about the machinery and dead letters, by their place in the log; `time_ns` is the record's own.

A record that the projector cannot read stands here as a `dead_letter.v1` at its own place. Notices without
a cause have −1 in its columns.
"""
