"""`candles`, `signals`, `trades` and `equity`: what the database holds, in event time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.options import (
    BotId,
    Format,
    Formatted,
    Frame,
    From,
    Json,
    Out,
    Symbol,
    To,
    Venue,
    format_of,
    time_of,
)
from api.cli.output import write_batches, write_chunks, write_rows
from api.cli.session import Session
from api.columns import CANDLES, EQUITY, LINEAGE, SIGNALS, TRADES, Columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from infra.db.pages import Page, Window


def candles(
    venue: Venue,
    symbol: Symbol,
    timeframe: Frame,
    after: From = None,
    until: To = None,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="Every revision, not only the newest.")
    ] = False,
    form: Formatted = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Candles of a market by close time; the newest revision of each."""
    chosen = format_of(form, json, out)
    after_ns, until_ns = time_of(after, "--from"), time_of(until, "--to")
    with Session() as session:
        from infra.db import queries
        from infra.db.pages import Window, every, pages
        from infra.present import facts
        from streams.topics import market_key

        market = market_key(venue, symbol)
        _check_market(session, market)

        def read(window: Window) -> "Page":
            return queries.candles(session.database, market, timeframe, window, revisions=revisions)

        window = Window(after_ns=after_ns, until_ns=until_ns)
        if chosen == "json":
            write_rows(map(facts.candle, every(read, window)), CANDLES, chosen, out)
            return
        from api.http import formats

        if chosen == "csv":
            write_chunks(formats.csv_of(pages(read, window)), out)
        else:
            write_batches(formats.batches_of(pages(read, window)), formats.SCHEMA, chosen, out)


def signals(
    bot_id: BotId,
    after: From = None,
    until: To = None,
    form: Formatted = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Every signal of a bot, executed or refused, with the indicator values that made it."""
    from infra.db import queries
    from infra.present import facts

    _write(queries.signals, facts.signal, bot_id, (after, until), SIGNALS, format_of(form, json, out), out)


def trades(
    bot_id: BotId,
    after: From = None,
    until: To = None,
    lineage: Annotated[
        bool, typer.Option("--lineage", help="Add the signal, candle and journal rows behind each.")
    ] = False,
    form: Formatted = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Fills of a bot."""
    from infra.db import queries
    from infra.present import facts

    chosen = format_of(form, json, out)
    if not lineage:
        _write(queries.fills, facts.fill, bot_id, (after, until), TRADES, chosen, out)
        return

    def read(database: "Engine", bot_id: int, window: "Window") -> "Page":
        return queries.fills(database, bot_id, window, lineage=True)

    def shown(row: Any) -> dict[str, Any]:
        return facts.fill(row) | facts.lineage(row)

    _write(read, shown, bot_id, (after, until), {**TRADES, **LINEAGE}, chosen, out)


def equity(
    bot_id: BotId,
    after: From = None,
    until: To = None,
    form: Formatted = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Cash, position and equity of a bot at candle closes."""
    from infra.db import queries
    from infra.present import facts

    _write(queries.equity, facts.mark, bot_id, (after, until), EQUITY, format_of(form, json, out), out)


def _write(
    read: "Callable[[Engine, int, Window], Page]",
    shown: "Callable[[Any], dict[str, Any]]",
    bot_id: int,
    times: tuple[str | None, str | None],
    columns: Columns,
    form: Format,
    out: Path | None,
) -> None:
    """What a query gives of a bot. Raises `RefusedError` for one that nobody knows."""
    after_ns, until_ns = time_of(times[0], "--from"), time_of(times[1], "--to")
    with Session() as session:
        from infra.db import queries
        from infra.db.pages import Window, every

        if queries.bot(session.database, bot_id) is None:
            session.manager.market_of(bot_id)
        window = Window(after_ns=after_ns, until_ns=until_ns)
        rows = every(lambda window: read(session.database, bot_id, window), window)
        write_rows(map(shown, rows), columns, form, out)


def _check_market(session: Session, market: str) -> None:
    """Raises `RefusedError` for a market that neither the database nor the journal knows."""
    from infra.db import queries

    if not queries.has_market(session.database, market):
        from infra.commands.manager import find_market

        find_market(session.log, market)
