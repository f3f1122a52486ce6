"""What the doors ask of the database: generators of plain rows, formatted as people and JSON read them.

Money, prices and sizes are decimal strings, times ISO 8601, ids and causes `partition:offset:index`. Rows
stream: memory does not grow with the answer. `after_ns` is exclusive and `until_ns` inclusive, in event
time. A generator that is not read to its end holds a connection until it is closed.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, Select, Table, and_, func, select

from infra.db import tables
from infra.present import decimal_string, iso
from projections.decide import WORDS

ROWS_PER_FETCH = 1_000


def candles(
    engine: Engine,
    market: str,
    timeframe: str,
    after_ns: int | None = None,
    until_ns: int | None = None,
    *,
    revisions: bool = False,
) -> Iterator[dict[str, Any]]:
    """Candles by close time; only the newest revision of each unless all are asked for."""
    table = tables.candles
    query = (
        select(table)
        .where(table.c.market == market, table.c.timeframe == timeframe)
        .where(*_between(table.c.end_ns, after_ns, until_ns))
        .order_by(table.c.end_ns, table.c.revision)
    )
    rows = _stream(engine, query)
    if not revisions:
        rows = (_last(same_end) for _, same_end in groupby(rows, key=lambda row: row.end_ns))
    for row in rows:
        prices = {name: decimal_string(getattr(row, name), row.price_scale) for name in _OHLC}
        yield {
            "timestamp": iso(row.end_ns),
            **prices,
            "volume": decimal_string(row.volume, row.size_scale),
            "trades": row.trades,
            "revision": row.revision,
            "empty": row.empty,
            "incomplete": row.incomplete,
        }


_OHLC = ("open", "high", "low", "close")


def signals(
    engine: Engine, bot_id: int, after_ns: int | None = None, until_ns: int | None = None
) -> Iterator[dict[str, Any]]:
    """Every signal of a bot, executed or refused, in the order of the journal; `words` says its code."""
    for row in _stream(engine, _of_bot(tables.signals, bot_id, after_ns, until_ns)):
        yield {
            "time": iso(row.time_ns),
            "bot_id": row.bot_id,
            "target": row.target,
            "values": msgspec.json.decode(row.indicators),
            "decision": row.decision,
            "code": row.code,
            "cause": _cause(row),
            "words": WORDS.get(row.code, row.code),
        }


def trades(
    engine: Engine,
    bot_id: int,
    after_ns: int | None = None,
    until_ns: int | None = None,
    *,
    lineage: bool = False,
) -> Iterator[dict[str, Any]]:
    """Fills of a bot in the order of the journal; `position` is that after the fill, P&L is gross of fees.

    `lineage` adds `signal` (the cause of the signal behind the order), `candle` (the market, timeframe and
    close time that the signal saw), `candle_rows` (the journal records `partition:first-last` it was made
    of) and `row` (`partition:offset:row`, the trade that filled the order); None where there is none.
    """
    query = _of_bot(tables.fills, bot_id, after_ns, until_ns)
    for row in _stream(engine, _with_lineage(query) if lineage else query):
        fill = {
            "time": iso(row.time_ns),
            "bot_id": row.bot_id,
            "order_id": _cause(row, "order"),
            "side": row.side,
            "price": decimal_string(row.price, row.price_scale),
            "size": decimal_string(row.size, row.size_scale),
            "fee": decimal_string(row.fee, row.cash_scale),
            "fee_currency": row.currency,
            "realised_pnl": decimal_string(row.realised, row.cash_scale),
            "position": decimal_string(row.position, row.size_scale),
            "cause": _cause(row),
        }
        yield fill | _lineage(row) if lineage else fill


def equity(
    engine: Engine, bot_id: int, after_ns: int | None = None, until_ns: int | None = None
) -> Iterator[dict[str, Any]]:
    """Marks of a bot at candle closes."""
    for row in _stream(engine, _of_bot(tables.equity, bot_id, after_ns, until_ns)):
        yield {
            "time": iso(row.time_ns),
            "bot_id": row.bot_id,
            "cash": decimal_string(row.cash, row.cash_scale),
            "position": decimal_string(row.position, row.size_scale),
            "equity": decimal_string(row.equity, row.cash_scale),
            "cause": _cause(row),
        }


def bots(engine: Engine, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The newest specification, status and holdings of every bot, by id.

    `equity` and `pnl`, which is equity less initial cash, are those of its newest mark, at the close of a
    candle; `marked` is its time, None before the first.
    """
    for row in _stream(engine, _BOTS.order_by(tables.bots.c.bot_id).limit(limit)):
        yield _bot(row)


def bot(engine: Engine, bot_id: int) -> dict[str, Any] | None:
    """One row of `bots`, or None when the database knows no such bot."""
    return next((_bot(row) for row in _stream(engine, _BOTS.where(tables.bots.c.bot_id == bot_id))), None)


def _newest_mark(name: str) -> ColumnElement[Any]:
    """A column of a bot's newest mark, found by the key without reading the others."""
    mark = tables.equity
    newest_first = (column.desc() for column in mark.primary_key.columns)
    query = select(mark.c[name]).where(mark.c.bot_id == tables.bots.c.bot_id).order_by(*newest_first).limit(1)
    return query.correlate(tables.bots).scalar_subquery().label(f"mark_{name}")


_HELD = ("position", "cost", "cash", "realised", "fees", "size_scale", "time_ns")
_BOTS = select(
    tables.bots,
    tables.bot_positions.c.cash_scale.label("held_cash_scale"),
    *(tables.bot_positions.c[name].label(f"held_{name}") for name in _HELD),
    *(_newest_mark(name) for name in ("equity", "cash_scale", "time_ns")),
).join_from(
    tables.bots, tables.bot_positions, tables.bots.c.bot_id == tables.bot_positions.c.bot_id, isouter=True
)


def _bot(row: Row[Any]) -> dict[str, Any]:
    initial = decimal_string(row.initial_cash, row.cash_scale)
    traded = row.held_time_ns is not None
    zero = decimal_string(0, row.cash_scale)

    def money(name: str, before: str) -> str:
        return decimal_string(getattr(row, f"held_{name}"), row.held_cash_scale) if traded else before

    marked = row.mark_time_ns is not None
    equity = decimal_string(row.mark_equity, row.mark_cash_scale) if marked else initial
    venue, symbol = row.market.split(":", 1)
    return {
        "bot_id": row.bot_id,
        "venue": venue,
        "symbol": symbol,
        "timeframe": row.timeframe,
        "strategy": row.strategy,
        "params": msgspec.json.decode(row.params),
        "sizing": f"{row.sizing_mode}:{decimal_string(row.sizing_value, row.sizing_scale)}",
        "short": row.short,
        "initial_cash": initial,
        "currency": row.currency,
        "status": row.status,
        "code": row.code,
        "words": row.words,
        "who": row.who,
        "changed": iso(row.time_ns),
        "code_hash": row.code_hash,
        "position": decimal_string(row.held_position, row.held_size_scale) if traded else "0",
        "cost": money("cost", zero),
        "cash": money("cash", initial),
        "realised_pnl": money("realised", zero),
        "fees": money("fees", zero),
        "traded": iso(row.held_time_ns) if traded else None,
        "equity": equity,
        "pnl": f"{Decimal(equity) - Decimal(initial):f}",
        "marked": iso(row.mark_time_ns) if marked else None,
        "cause": _cause(row),
    }


def markets(engine: Engine) -> Iterator[dict[str, Any]]:
    """Markets of which anything was derived."""
    for row in _stream(engine, select(tables.markets).order_by(tables.markets.c.market)):
        yield {"market": row.market, "venue": row.venue, "symbol": row.symbol}


# ------------------------------------------------------------------ how rows are read


def _stream(engine: Engine, query: Select[Any]) -> Iterator[Row[Any]]:
    with engine.connect().execution_options(yield_per=ROWS_PER_FETCH) as connection:
        yield from connection.execute(query)


def _between(
    column: ColumnElement[int], after_ns: int | None, until_ns: int | None
) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if after_ns is not None:
        bounds.append(column > after_ns)
    if until_ns is not None:
        bounds.append(column <= until_ns)
    return bounds


def _of_bot(table: Table, bot_id: int, after_ns: int | None, until_ns: int | None) -> Select[Any]:
    query = select(table).where(table.c.bot_id == bot_id, *_between(table.c.time_ns, after_ns, until_ns))
    return query.order_by(*table.primary_key.columns)


def _with_lineage(query: Select[Any]) -> Select[Any]:
    fill, order, signal, candle = tables.fills.c, tables.orders.c, tables.signals.c, tables.candles.c
    parts = ("partition", "offset", "index")
    its_order = (order[f"cause_{part}"] == fill[f"order_{part}"] for part in parts)
    its_signal = (signal[f"cause_{part}"] == order[f"signal_{part}"] for part in parts)
    its_candle = and_(
        candle.market == signal.market,
        candle.timeframe == signal.timeframe,
        candle.end_ns == signal.time_ns,
        candle.revision == 0,  # the one that strategies saw
    )
    return (
        query.outerjoin(tables.orders, and_(order.bot_id == fill.bot_id, *its_order))
        .outerjoin(tables.signals, and_(signal.bot_id == order.bot_id, *its_signal))
        .outerjoin(tables.candles, and_(signal.origin == "strategy", its_candle))
        .add_columns(*(order[f"signal_{part}"] for part in parts))
        .add_columns(candle.timeframe.label("candle_timeframe"), candle.end_ns.label("candle_end_ns"))
        .add_columns(candle.first_offset, candle.last_offset)
    )


def _lineage(row: Row[Any]) -> dict[str, Any]:
    candle, candle_rows = None, None
    if row.candle_end_ns is not None:
        candle = f"{row.market} {row.candle_timeframe} {iso(row.candle_end_ns)}"
        candle_rows = f"{row.cause_partition}:{row.first_offset}-{row.last_offset}"
    return {
        "signal": _cause(row, "signal"),
        "candle": candle,
        "candle_rows": candle_rows,
        "row": f"{row.cause_partition}:{row.cause_offset}:{row.row}",
    }


def _cause(row: Row[Any], of: str = "cause") -> str | None:
    """`partition:offset:index`; None where the event had none."""
    partition = getattr(row, f"{of}_partition")
    if partition is None:
        return None
    return f"{partition}:{getattr(row, f'{of}_offset')}:{getattr(row, f'{of}_index')}"


def _last(rows: Iterator[Row[Any]]) -> Row[Any]:
    *_, newest = rows
    return newest


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
