"""`tcpdashboard sources …`: exchanges that can be collected."""

import asyncio
from typing import Annotated

import typer

from api.cli.failures import CommandFailedError, refusing
from api.cli.options import Json
from api.cli.output import print_rows
from api.cli.session import Session

app = typer.Typer(help="Look at exchanges.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def sources() -> None:
    """Look at exchanges."""


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
        from streams.topics import market_key

        with refusing():
            provider = VenueProvider(known(venue), proxy=session.settings.proxy)
        try:
            found = asyncio.run(provider.symbols(word))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise CommandFailedError(f"{venue}: its markets could not be read: {reason}") from error
        keys = [market_key(venue, symbol) for symbol in found]
        print_rows(({"feed": key} for key in keys), ("feed",), json=json)
