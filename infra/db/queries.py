"""What is asked of the database: rows as the tables hold them, a page at a time (`infra.db.pages`).

How they look at the doors is `infra.present.facts`' to say.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, Select, Table, and_, case, exists, func, select

from infra.db import tables
from infra.db.pages import Page, Window, page
from infra.present.facts import CANDLE_COLUMNS, HELD, MARKED
from infra.present.rows import PARTS
from projections.fold.money import INT64_MAX
from streams.events import DeadLetter, Repeats
from streams.journal import event_tag
from streams.topics import PROJECTED, SYSTEM

CANDLE_KEY = ("timestamp", "revision")
EVENT_KEY = tables.CAUSE
BOT_KEY = ("bot_id",)
LETTER_KEY = ("timestamp", "partition", "offset", "index", "stream_number")


class _Reason(msgspec.Struct):
    reason: str


def candles(
    database: Engine, market: str, timeframe: str, window: Window, *, revisions: bool = False
) -> Page:
    """Candles by close time; only the newest revision of each unless all are asked for."""
    table, newer = tables.candles, tables.candles.alias()
    query = select(*(table.c[name] for name in CANDLE_COLUMNS))
    query = query.where(table.c.market == market, table.c.timeframe == timeframe)
    if not revisions:
        same = (newer.c[name] == table.c[name] for name in ("market", "timeframe", "timestamp"))
        query = query.where(~exists().where(*same, newer.c.revision > table.c.revision))
        if window.cursor is not None:  # a candle that was revised since its page was read does not come again
            window = window._replace(cursor=(window.cursor[0], -1 if window.newest else INT64_MAX))
    return page(database, query, table, CANDLE_KEY, window)


def signals(database: Engine, bot_id: int, window: Window) -> Page:
    """Every signal of a bot, executed or refused, in the order of the journal."""
    return _of_bot(database, tables.signals, bot_id, window)


def orders(database: Engine, bot_id: int, window: Window) -> Page:
    """Orders of a bot with what became of them, in the order of the journal."""
    return _of_bot(database, tables.orders, bot_id, window)


def fills(database: Engine, bot_id: int, window: Window, *, lineage: bool = False) -> Page:
    """Fills of a bot in the order of the journal; `lineage` adds the signal and the candle behind each."""
    if not lineage:
        return _of_bot(database, tables.fills, bot_id, window)
    query = _with_lineage(select(tables.fills).where(tables.fills.c.bot_id == bot_id))
    return page(database, query, tables.fills, EVENT_KEY, window)


def equity(database: Engine, bot_id: int, window: Window) -> Page:
    """Marks of a bot at candle closes."""
    return _of_bot(database, tables.equity, bot_id, window)


def bots(
    database: Engine, window: Window, *, status: str | None = None, ids: Iterable[int] | None = None
) -> Page:
    """The newest specification and status of bots, by id, with what each holds and its newest mark."""
    bot, held = tables.bots, tables.bot_positions
    query = select(
        bot, *(held.c[name].label(f"held_{name}") for name in HELD), *(_newest_mark(name) for name in MARKED)
    ).join_from(bot, held, bot.c.bot_id == held.c.bot_id, isouter=True)
    if status is not None:
        query = query.where(bot.c.status == status)
    if ids is not None:
        query = query.where(bot.c.bot_id.in_(sorted(ids)))
    return page(database, query, bot, BOT_KEY, window)


def bot(database: Engine, bot_id: int) -> Row[Any] | None:
    """One row of `bots`; None when the database knows no such bot."""
    return next(iter(bots(database, Window(1), ids=[bot_id]).rows), None)


def markets(database: Engine) -> list[str]:
    """Keys of the markets of which anything was derived."""
    market = tables.markets.c.market
    with database.connect() as connection:
        return list(connection.execute(select(market).order_by(market)).scalars())


def has_market(database: Engine, market: str) -> bool:
    """Whether anything was derived of this market."""
    with database.connect() as connection:
        query = select(tables.markets.c.market).where(tables.markets.c.market == market)
        return connection.execute(query).first() is not None


def reached(database: Engine) -> dict[tuple[str, int], tuple[int, int]]:
    """By topic and partition: the last offset applied, and the last journal offset it came from."""
    at = tables.positions.c
    with database.connect() as connection:
        rows = connection.execute(select(at.topic, at.partition, at.offset, at.cause_offset))
        return {(topic, partition): (offset, cause) for topic, partition, offset, cause in rows}


def newest(database: Engine) -> dict[str, Any]:
    """Of each market the `timestamp`, `close` and `price_scale` of its newest 1m candle, by market."""
    candle, market = tables.candles.c, tables.markets.c
    last = (
        select(func.max(candle.timestamp))
        .where(candle.market == market.market, candle.timeframe == "1m")
        .correlate(tables.markets)
        .scalar_subquery()
    )
    here = (candle.market == market.market) & (candle.timeframe == "1m") & (candle.timestamp == last)
    wanted = select(market.market, candle.timestamp, candle.close, candle.price_scale)
    query = wanted.join_from(tables.markets, tables.candles, here).order_by(market.market, candle.revision)
    with database.connect() as connection:
        return {row.market: row for row in connection.execute(query)}


def statuses(database: Engine) -> dict[str, int]:
    """How many bots there are by status."""
    column = tables.bots.c.status
    with database.connect() as connection:
        rows = connection.execute(select(column, func.count()).group_by(column).order_by(column))
        return {row[0]: row[1] for row in rows}


# ------------------------------------------------------------------ dead letters


def refusal(database: Engine, partition: int, offset: int) -> str | None:
    """The dead letter, as JSON, that the fold made of the journal record at this place; None for none."""
    event = tables.system_events.c
    query = select(event.event).where(
        event.topic == SYSTEM, event.partition == partition, event.type == "dead_letter.v1",
        event.cause_offset == offset,
    )  # fmt: skip
    with database.connect() as connection:
        return connection.execute(query).scalar()


def count_letters(database: Engine) -> int:
    """How many dead letters there are."""
    with database.connect() as connection:
        counted = select(func.count()).where(tables.system_events.c.type == "dead_letter.v1")
        return connection.execute(counted).scalar_one()


def letters(database: Engine, window: Window) -> Page:
    """Dead letters by the time of their notice in the log."""
    event = tables.system_events.c
    number = case({name: number for number, name in enumerate(PROJECTED)}, value=event.topic)
    found = (
        select(tables.system_events, number.label("stream_number"))
        .where(event.type == "dead_letter.v1")
        .subquery()
    )
    return page(database, select(found), found, LETTER_KEY, window)


def why_refused(database: Engine, topic: str, partition: int, offset: int) -> str | None:
    """Why a derived record became a dead letter when it was projected; None for one that did not."""
    event = tables.system_events.c
    place = (event.topic == topic, event.partition == partition, event.offset == offset)
    query = select(event.event).where(*place, event.type == "dead_letter.v1", event.cause_offset < 0)
    with database.connect() as connection:
        text = connection.scalar(query)
    return None if text is None else msgspec.json.decode(text, type=_Reason).reason


class Fate(NamedTuple):
    """Of a market's trades: how many are `late`, in no candle, and how many are `repeats`; `dead`: offsets of
    journal records that could not be folded."""

    late: int
    repeats: int
    dead: list[int]


def fate(database: Engine, market: str, partition: int, offsets: Iterable[range]) -> Fate:
    """What became of the trades of a market in records of its journal partition."""
    late, system = tables.late_ticks, tables.system_events
    found = Fate(0, 0, [])
    with database.connect() as connection:
        for part in offsets:

            def follows(table: Table, part: range = part) -> ColumnElement[bool]:
                within = table.c.cause_offset.between(part.start, part.stop - 1)
                return and_(table.c.cause_partition == partition, within)

            mine = and_(follows(late), late.c.market == market)
            many = connection.scalar(select(func.count()).select_from(late).where(mine)) or 0
            repeats = and_(follows(system), system.c.market == market, system.c.type == event_tag(Repeats))
            told = connection.scalars(select(system.c.event).where(repeats))
            letters = and_(follows(system), system.c.type == event_tag(DeadLetter))
            dead = connection.scalars(select(system.c.cause_offset).where(letters)).all()
            found = Fate(
                found.late + many,
                found.repeats + sum(msgspec.json.decode(event)["trades"] for event in told),
                [*found.dead, *dead],
            )
    return found


# ------------------------------------------------------------------ parts of queries


def _of_bot(database: Engine, table: Table, bot_id: int, window: Window) -> Page:
    return page(database, select(table).where(table.c.bot_id == bot_id), table, EVENT_KEY, window)


def _newest_mark(name: str) -> ColumnElement[Any]:
    marks = tables.equity.c
    newest = select(marks[name]).where(marks.bot_id == tables.bots.c.bot_id)
    ordered = newest.order_by(*(marks[part].desc() for part in EVENT_KEY)).limit(1)
    return ordered.correlate(tables.bots).scalar_subquery().label(f"mark_{name}")


def _with_lineage(query: Select[Any]) -> Select[Any]:
    fill, order, signal, candle = tables.fills.c, tables.orders.c, tables.signals.c, tables.candles.c
    its_order = (order[f"cause_{part}"] == fill[f"order_id_{part}"] for part in PARTS)
    its_signal = (signal[f"cause_{part}"] == order[f"signal_{part}"] for part in PARTS)
    its_candle = and_(
        candle.market == signal.market,
        candle.timeframe == signal.timeframe,
        candle.timestamp == signal.timestamp,
        candle.revision == 0,  # the one that strategies saw
    )
    return (
        query.outerjoin(tables.orders, and_(order.bot_id == fill.bot_id, *its_order))
        .outerjoin(tables.signals, and_(signal.bot_id == order.bot_id, *its_signal))
        .outerjoin(tables.candles, and_(signal.candle_offset.is_not(None), its_candle))
        .add_columns(*(order[f"signal_{part}"] for part in PARTS))
        .add_columns(*(signal[f"candle_{part}"] for part in PARTS))
        .add_columns(candle.timestamp.label("candle_timestamp"), candle.first_offset, candle.last_offset)
    )
