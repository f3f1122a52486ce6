"""`tcpdashboard sources …`: how what is collected stands, and what can be collected."""

import asyncio
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.failures import CommandFailedError, refusing
from api.cli.options import Json
from api.cli.output import print_json, print_rows, print_table, say
from api.cli.session import Session, who

if TYPE_CHECKING:
    from infra.process.settings import Settings

HELP = "How each market that is collected stands, by source."
app = typer.Typer(help=HELP, invoke_without_command=True, rich_markup_mode=None)

MARKETS = ("market", "state", "age s", "trades/s", "open", "final", "filled", "refused")
SOURCES = ("source", "clock ms", "cuts", "REST", "repeats", "MB/day")


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
    print_table(map(_market, rows), MARKETS)
    if sources_at_work := {row["source"]: row for row in rows if row["collector"]}:
        sys.stdout.write("\n")
        print_table((_source(row, rows) for row in sources_at_work.values()), SOURCES)
    for line in _said(rows):
        say(line)


def _market(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a line of the first table: what is of its market alone."""
    return {
        "market": row["market"],
        "state": row["state"].replace("_", " "),
        "age s": None if row["age_s"] is None else round(row["age_s"], 1),
        "trades/s": None if row["trades_s"] is None else round(row["trades_s"], 1),
        "open": row["gaps_open"],
        "final": row["gaps_final"],
        "filled": row["gaps_filled"],
        "refused": row["refused"],
    }


def _source(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A line of the second table: what is of all markets of a row's source. REST is pages asked in the last
    minute, of so many."""
    return {
        "source": row["source"],
        "clock ms": row["skew_ms"],
        "cuts": row["reconnects"],
        "REST": None if row["rest_pages"] is None else f"{row['rest_pages']}/{row['rest_pages_max']}",
        "repeats": sum(one["repeats"] or 0 for one in rows if one["source"] == row["source"]),
        "MB/day": row["mb_day"],
    }


def _said(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What people must know besides numbers, each once."""
    if not rows:
        yield "nothing is collected, and nothing was: `tcpdashboard up --feed VENUE:SYMBOL` begins"
    from infra.exchange.sources import sentences

    yield from sentences(rows)
    yield from dict.fromkeys(row["warning"] for row in rows if row["warning"])
    reasons = {row["reason"] for row in rows}
    errors = ((row["source"], row["last_error_at"], row["last_error"]) for row in rows if row["last_error"])
    for source, at, what in dict.fromkeys(errors):
        if what not in reasons:
            yield f"{source}, last error at {at}: {what}"
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
            raise CommandFailedError(
                f"{venue}: its markets could not be read: {named(error)}; {_way(session.settings)}"
            ) from error
        keys = [market_key(venue, symbol) for symbol in found]
        if not keys:
            say(f"{venue} has nothing with {word!r} in it that can be collected")
        print_rows(({"feed": key} for key in keys), ("feed",), json=json)


def _way(settings: "Settings") -> str:
    """Out of an exchange that cannot be reached."""
    if settings.proxy is None:
        return "see whether it can be reached from here, or name a proxy with TCPD_PROXY"
    from infra.process.settings import shown

    return f"see whether it can be reached by the proxy {shown(settings.proxy)} ({settings.origins['proxy']})"


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
