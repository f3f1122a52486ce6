"""What the doors ask of the database: pages of rows, resumed by the key of the last row that was seen.

Rows are plain, formatted as JSON shows them: money, prices and sizes decimal strings, times ISO 8601, causes
`partition:offset:index`. A page reads its own rows only, however far into the table it lies, and holds no
connection afterwards. The API gives them page by page, the command line all of them (`infra.db.queries`).
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Engine,
    FromClause,
    Row,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    select,
    tuple_,
)

from infra.db import tables
from infra.present.values import decimal_string, iso
from projections.fold.decide import WORDS
from streams.topics import PROJECTED, SYSTEM

OHLC = ("open", "high", "low", "close")
INT64_MAX = 2**63 - 1


class Window(NamedTuple):
    """Rows of event time after < time ≤ until, at most `limit` of them, behind the row with key `cursor`.

    `newest`: the newest first.
    """

    limit: int
    after_ns: int | None = None
    until_ns: int | None = None
    cursor: tuple[int, ...] | None = None
    newest: bool = False


class Page(NamedTuple):
    """`next` is the cursor of the page that follows; None at the end."""

    rows: list[Any]
    next: tuple[int, ...] | None


class Newest(NamedTuple):
    end_ns: int
    price: str


CANDLE_KEY = ("end_ns", "revision")
RAW_CANDLE = (
    *CANDLE_KEY, *OHLC, "volume", "trades", "price_scale", "size_scale", "empty", "incomplete",
)  # fmt: skip
EVENT_KEY = tables.CAUSE
BOT_KEY = ("bot_id",)
LETTER_KEY = ("time_ns", "partition", "offset", "stream_number")


def candles(engine: Engine, market: str, timeframe: str, window: Window, *, revisions: bool) -> Page:
    """Candles by close time; only the newest revision of each unless all are asked for."""
    page = raw_candles(engine, market, timeframe, window, revisions=revisions)
    return page._replace(rows=[_candle(row) for row in page.rows])


def raw_candles(engine: Engine, market: str, timeframe: str, window: Window, *, revisions: bool) -> Page:
    """The same as the table holds them: rows of the columns `RAW_CANDLE`, numbers with their scales."""
    table, newer = tables.candles, tables.candles.alias()
    query = select(*(table.c[name] for name in RAW_CANDLE))
    query = query.where(table.c.market == market, table.c.timeframe == timeframe)
    if not revisions:
        same = (newer.c[name] == table.c[name] for name in ("market", "timeframe", "end_ns"))
        query = query.where(~exists().where(*same, newer.c.revision > table.c.revision))
        if window.cursor is not None:  # a candle that was revised since its page was read does not come again
            window = window._replace(cursor=(window.cursor[0], -1 if window.newest else INT64_MAX))
    return _page(engine, query, table, CANDLE_KEY, window)


def signals(engine: Engine, bot_id: int, window: Window) -> Page:
    """Every signal of a bot, executed or refused, in the order of the journal."""
    return _of_bot(engine, tables.signals, bot_id, window, _signal)


def orders(engine: Engine, bot_id: int, window: Window) -> Page:
    """Orders of a bot with what became of them, in the order of the journal."""
    return _of_bot(engine, tables.orders, bot_id, window, _order)


def fills(engine: Engine, bot_id: int, window: Window, *, lineage: bool = False) -> Page:
    """Fills of a bot in the order of the journal; `position` is that after the fill, P&L is gross of fees.

    `lineage` adds `signal` (the cause of the signal behind the order), `candle` (the market, timeframe and
    close time that the signal saw), `candle_rows` (the journal records `partition:first-last` it was made
    of) and `row` (`partition:offset:row`, the trade that filled the order); None where there is none.
    """
    if not lineage:
        return _of_bot(engine, tables.fills, bot_id, window, _fill)
    query = _with_lineage(select(tables.fills).where(tables.fills.c.bot_id == bot_id))
    page = _page(engine, query, tables.fills, EVENT_KEY, window)
    return page._replace(rows=[_fill(row) | _lineage(row) for row in page.rows])


def equity(engine: Engine, bot_id: int, window: Window) -> Page:
    """Marks of a bot at candle closes."""
    return _of_bot(engine, tables.equity, bot_id, window, _mark)


def peak(engine: Engine, bot_id: int, until_ns: int) -> str | None:
    """The highest equity of a bot at marks up to a time; None where there is none."""
    mark = tables.equity.c
    query = (
        select(func.max(mark.equity), mark.cash_scale)  # a scale may have grown on the way
        .where(mark.bot_id == bot_id, mark.time_ns <= until_ns)
        .group_by(mark.cash_scale)
    )
    with engine.connect() as connection:
        found = [decimal_string(*row) for row in connection.execute(query)]
    return max(found, key=Decimal, default=None)


def bots(
    engine: Engine, window: Window, *, status: str | None = None, ids: Iterable[int] | None = None
) -> Page:
    """The newest specification, status and holdings of bots, by id.

    `equity` and `pnl`, which is equity less initial cash, are those of a bot's newest mark, at the close of a
    candle; `marked` is its time, None before the first.
    """
    bot, held = tables.bots, tables.bot_positions
    query = select(
        bot, *(held.c[name].label(f"held_{name}") for name in _HELD), *(_newest_mark(name) for name in _MARK)
    ).join_from(bot, held, bot.c.bot_id == held.c.bot_id, isouter=True)
    if status is not None:
        query = query.where(bot.c.status == status)
    if ids is not None:
        query = query.where(bot.c.bot_id.in_(sorted(ids)))
    page = _page(engine, query, bot, BOT_KEY, window)
    return page._replace(rows=[_bot(row) for row in page.rows])


def bot(engine: Engine, bot_id: int) -> dict[str, Any] | None:
    """One row of `bots`; None when the database knows no such bot."""
    return next(iter(bots(engine, Window(1), ids=[bot_id]).rows), None)


def has_market(engine: Engine, market: str) -> bool:
    """Whether anything was derived of this market."""
    with engine.connect() as connection:
        query = select(tables.markets.c.market).where(tables.markets.c.market == market)
        return connection.execute(query).first() is not None


def reached(engine: Engine) -> dict[tuple[str, int], tuple[int, int]]:
    """By topic and partition: the last offset applied, and the last journal offset it came from."""
    at = tables.positions.c
    with engine.connect() as connection:
        rows = connection.execute(select(at.topic, at.partition, at.offset, at.cause_offset))
        return {(topic, partition): (offset, cause) for topic, partition, offset, cause in rows}


def newest(engine: Engine) -> dict[str, Newest]:
    """Close time and price of each market's newest 1m candle, by market."""
    candle, market = tables.candles.c, tables.markets.c
    last = (
        select(func.max(candle.end_ns))
        .where(candle.market == market.market, candle.timeframe == "1m")
        .correlate(tables.markets)
        .scalar_subquery()
    )
    here = (candle.market == market.market) & (candle.timeframe == "1m") & (candle.end_ns == last)
    wanted = select(market.market, candle.end_ns, candle.close, candle.price_scale)
    query = wanted.join_from(tables.markets, tables.candles, here).order_by(market.market, candle.revision)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return {key: Newest(end, decimal_string(close, scale)) for key, end, close, scale in rows}


def refusal(engine: Engine, partition: int, offset: int) -> str | None:
    """Why the fold took the journal record at this place for a dead letter; None where it did not."""
    event = tables.system_events.c
    query = select(event.event).where(
        event.topic == SYSTEM, event.partition == partition, event.type == "dead_letter.v1",
        event.cause_offset == offset,
    )  # fmt: skip
    with engine.connect() as connection:
        found = connection.execute(query).scalar()
    return None if found is None else msgspec.json.decode(found)["error"]


def dead_letters(engine: Engine) -> int:
    """How many records could not be read or folded."""
    with engine.connect() as connection:
        counted = select(func.count()).where(tables.system_events.c.type == "dead_letter.v1")
        return connection.execute(counted).scalar_one()


def letters(engine: Engine, window: Window) -> Page:
    """Dead letters by the time of their notice in the log; `notice` is its position there.

    `offset` is None for a message that was no event, and so came into no stream.
    """
    event = tables.system_events.c
    number = case({name: number for number, name in enumerate(PROJECTED)}, value=event.topic)
    found = (
        select(*(event[name] for name in ("time_ns", "topic", "partition", "offset", "market", "event")))
        .add_columns(number.label("stream_number"))
        .where(event.type == "dead_letter.v1")
        .subquery()
    )
    page = _page(engine, select(found), found, LETTER_KEY, window)
    return page._replace(rows=[_letter(row) for row in page.rows])


# ------------------------------------------------------------------ pages


def _page(engine: Engine, query: Select[Any], table: FromClause, key: Sequence[str], window: Window) -> Page:
    columns = [table.c[name] for name in key]
    time = table.c.end_ns if table is tables.candles else table.c.time_ns
    if window.after_ns is not None:
        query = query.where(time > window.after_ns)
    if window.until_ns is not None:
        query = query.where(time <= window.until_ns)
    if window.cursor is not None:
        here = tuple_(*columns)
        query = query.where(here < window.cursor if window.newest else here > window.cursor)
    order = [column.desc() if window.newest else column for column in columns]
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(*order).limit(window.limit + 1)).all()
    more = len(rows) > window.limit
    rows = rows[: window.limit]
    last = tuple(getattr(rows[-1], name) for name in key) if more else None
    return Page(list(rows), last)


def _of_bot(
    engine: Engine, table: Table, bot_id: int, window: Window, shown: Callable[[Row[Any]], dict[str, Any]]
) -> Page:
    page = _page(engine, select(table).where(table.c.bot_id == bot_id), table, EVENT_KEY, window)
    return page._replace(rows=[shown(row) for row in page.rows])


_HELD = ("position", "cost", "cash", "realised", "fees", "size_scale", "cash_scale", "time_ns")
_MARK = ("equity", "cash_scale", "time_ns")


def _newest_mark(name: str) -> ColumnElement[Any]:
    marks = tables.equity.c
    newest = select(marks[name]).where(marks.bot_id == tables.bots.c.bot_id)
    ordered = newest.order_by(*(marks[part].desc() for part in EVENT_KEY)).limit(1)
    return ordered.correlate(tables.bots).scalar_subquery().label(f"mark_{name}")


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


# ------------------------------------------------------------------ rows


def _candle(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    # taken apart at once: of thousands of rows each access by name is felt
    end, revision, first, high, low, last, volume, trades, scale, size_scale, empty, incomplete = row
    return {
        "timestamp": iso(end),
        "open": decimal_string(first, scale),
        "high": decimal_string(high, scale),
        "low": decimal_string(low, scale),
        "close": decimal_string(last, scale),
        "volume": decimal_string(volume, size_scale),
        "trades": trades,
        "revision": revision,
        "empty": empty,
        "incomplete": incomplete,
    }


def _signal(row: Row[Any]) -> dict[str, Any]:
    return {
        "time": iso(row.time_ns),
        "bot_id": row.bot_id,
        "timeframe": row.timeframe,
        "target": row.target,
        "previous": row.previous,
        "values": msgspec.json.decode(row.indicators),
        "price": decimal_string(row.price, row.price_scale),
        "decision": row.decision,
        "code": row.code,
        "words": WORDS.get(row.code, row.code),
        "origin": row.origin,
        "cause": _cause(row),
    }


def _order(row: Row[Any]) -> dict[str, Any]:
    return {
        "time": iso(row.time_ns),
        "bot_id": row.bot_id,
        "order_id": _cause(row),
        "side": row.side,
        "size": decimal_string(row.size, row.size_scale),
        "price": decimal_string(row.price, row.price_scale),
        "reason": row.reason,
        "status": row.status,
        "code": row.code,
        "filled": decimal_string(row.filled, row.size_scale),
        "updated": iso(row.updated_ns),
        "signal": _cause(row, "signal"),
    }


def _fill(row: Row[Any]) -> dict[str, Any]:
    return {
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
        "cash": decimal_string(row.cash, row.cash_scale),
        "cause": _cause(row),
    }


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


def _mark(row: Row[Any]) -> dict[str, Any]:
    return {
        "time": iso(row.time_ns),
        "bot_id": row.bot_id,
        "cash": decimal_string(row.cash, row.cash_scale),
        "position": decimal_string(row.position, row.size_scale),
        "equity": decimal_string(row.equity, row.cash_scale),
        "cause": _cause(row),
    }


def _letter(row: Row[Any]) -> dict[str, Any]:
    letter = msgspec.json.decode(row.event)
    return {
        "time": iso(row.time_ns),
        "stream": letter["topic"],
        "partition": letter["partition"],
        "offset": letter["offset"] if letter["offset"] >= 0 else None,
        "key": row.market,
        "error": letter["error"],
        "notice": f"{row.topic}:{row.partition}:{row.offset}",
    }


def _bot(row: Row[Any]) -> dict[str, Any]:
    initial = decimal_string(row.initial_cash, row.cash_scale)
    zero = decimal_string(0, row.cash_scale)
    traded, marked = row.held_time_ns is not None, row.mark_time_ns is not None

    def money(name: str, before: str) -> str:
        return decimal_string(getattr(row, f"held_{name}"), row.held_cash_scale) if traded else before

    worth = decimal_string(row.mark_equity, row.mark_cash_scale) if marked else initial
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
        "equity": worth,
        "pnl": f"{Decimal(worth) - Decimal(initial):f}",
        "marked": iso(row.mark_time_ns) if marked else None,
        "cause": _cause(row),
    }


def _cause(row: Row[Any], of: str = "cause") -> str | None:
    """`partition:offset:index`; None where the event had none."""
    partition = getattr(row, f"{of}_partition")
    if partition is None:
        return None
    return f"{partition}:{getattr(row, f'{of}_offset')}:{getattr(row, f'{of}_index')}"
