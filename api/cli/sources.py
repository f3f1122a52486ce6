"""`tcpdashboard sources …`: how what is collected stands, and what can be collected."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from api.cli.failures import CommandFailedError, refusing
from api.cli.options import Json
from api.cli.output import print_json, print_rows, print_table, say
from api.cli.session import Session, who

HELP = "How each market that is collected stands, by source."
app = typer.Typer(help=HELP, invoke_without_command=True, rich_markup_mode=None)

LISTED = (
    "market", "source", "state", "age s", "trades/s", "open", "final", "filled", "repeats", "refused",
    "skew ms", "cuts", "REST", "MB/day",
)  # fmt: skip


@app.callback()
def list_(context: typer.Context, json: Json = False) -> None:
    """How each market that is collected stands, by source: its feed's state, gaps, and what went wrong."""
    if context.invoked_subcommand is not None:
        return
    with Session() as session:
        from infra.exchange.sources import facts_of, sources

        rows = [facts_of(row) for row in sources(session.settings, session.log if session.has_log else None)]
    if json:
        for row in rows:
            print_json(row)
        return
    print_table(map(_cells, rows), LISTED)
    for line in _said(rows):
        say(line)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a line of the table: REST is pages asked in the last minute, of so many."""
    rest = "" if row["rest_pages"] is None else f"{row['rest_pages']}/{row['rest_pages_max']}"
    names = {
        "open": "gaps_open", "final": "gaps_final", "filled": "gaps_filled", "age s": "age_s",
        "trades/s": "trades_s", "skew ms": "skew_ms", "cuts": "reconnects", "MB/day": "mb_day",
    }  # fmt: skip
    return row | {cell: row[name] for cell, name in names.items()} | {"REST": rest}


def _said(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What people must know besides numbers, each once."""
    if not rows:
        yield "nothing is collected, and nothing was: `tcpdashboard up --feed VENUE:SYMBOL` begins"
    for row in rows:
        if row["reason"]:
            since = f" since {row['since']}" if row["since"] else ""
            yield f"{row['market']} is {row['state'].replace('_', ' ')}{since}: {row['reason']}"
    yield from dict.fromkeys(row["warning"] for row in rows if row["warning"])
    errors = ((row["source"], row["last_error_at"], row["last_error"]) for row in rows if row["last_error"])
    yield from (f"{source}, last error at {at}: {what}" for source, at, what in dict.fromkeys(errors))
    if rows and rows[0]["days_left"] is not None:
        yield f"as the log grows, the disk lasts {rows[0]['days_left']} days"


@app.command()
def symbols(
    venue: Annotated[str, typer.Argument(metavar="VENUE")],
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="Only those with this in them.")] = "",
    json: Json = False,
) -> None:
    """What an exchange has that can be collected with --feed."""
    with Session() as session:
        from infra.exchange.venues.known import venue as known
        from infra.exchange.venues.provider import VenueProvider
        from infra.process.errors import named
        from streams.topics import market_key

        with refusing():
            provider = VenueProvider(known(venue), proxy=session.settings.proxy)
        try:
            found = asyncio.run(provider.symbols(word))
        except Exception as error:
            raise CommandFailedError(f"{venue}: its markets could not be read: {named(error)}") from error
        keys = [market_key(venue, symbol) for symbol in found]
        print_rows(({"feed": key} for key in keys), ("feed",), json=json)


@app.command()
def reset(
    feed: Annotated[str, typer.Argument(metavar="VENUE:SYMBOL")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the journal beside who.")] = "",
    json: Json = False,
) -> None:
    """Let a market begin anew whose exchange counts its trades from the beginning again."""
    with Session() as session:
        from infra.exchange.resetting import reset as begin_anew
        from infra.present.values import event_to_json

        with refusing():
            event = begin_anew(session.settings, session.log, feed, who=who(), reason=reason)
        if json:
            print_json(event_to_json(event))
        else:
            say(f"{feed}: its next start goes on with the new ids, behind a gap")
