"""`candles`, `signals`, `trades` and `equity`: what the database holds, in event time."""

from pathlib import Path
from typing import Annotated

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
        from streams.topics import market_key

        market = market_key(venue, symbol)
        _check_market(session, market)
        if chosen == "json":
            rows = queries.candles(
                session.database, market, timeframe, after_ns, until_ns, revisions=revisions
            )
            write_rows(rows, CANDLES, chosen, out)
            return
        from api.http import formats
        from infra.db.pages import Window

        window = Window(queries.ROWS_PER_PAGE, after_ns, until_ns)
        chunks = queries.raw_candles(session.database, market, timeframe, window, revisions=revisions)
        if chosen == "csv":
            write_chunks(formats.csv_of(chunks), out)
        else:
            write_batches(formats.batches_of(chunks), formats.SCHEMA, chosen, out)


def signals(
    bot_id: BotId,
    after: From = None,
    until: To = None,
    form: Formatted = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Every signal of a bot, executed or refused, with the indicator values that made it."""
    _write("signals", bot_id, (after, until), SIGNALS, format_of(form, json, out), out)


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
    columns: Columns = {**TRADES, **LINEAGE} if lineage else TRADES
    _write("trades", bot_id, (after, until), columns, format_of(form, json, out), out, lineage=lineage)


def equity(
    bot_id: BotId,
    after: From = None,
    until: To = None,
    form: Formatted = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Cash, position and equity of a bot at candle closes."""
    _write("equity", bot_id, (after, until), EQUITY, format_of(form, json, out), out)


def _write(
    what: str,
    bot_id: int,
    times: tuple[str | None, str | None],
    columns: Columns,
    form: Format,
    out: Path | None,
    **options: bool,
) -> None:
    """What the query of this name gives of a bot. Raises `RefusedError` for one that nobody knows."""
    after_ns, until_ns = time_of(times[0], "--from"), time_of(times[1], "--to")
    with Session() as session:
        from infra.db import queries

        if queries.bot(session.database, bot_id) is None:
            session.manager.market_of(bot_id)
        rows = getattr(queries, what)(session.database, bot_id, after_ns, until_ns, **options)
        write_rows(rows, columns, form, out)


def _check_market(session: Session, market: str) -> None:
    """Raises `RefusedError` for a market that neither the database nor the journal knows."""
    from infra.db import queries

    if not any(row["market"] == market for row in queries.markets(session.database)):
        from infra.commands.manager import find_market

        find_market(session.log, market)
