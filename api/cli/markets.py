"""`tcpdashboard markets …`: specifications in the journal."""

from typing import Annotated, Literal

import typer

from api.cli.failures import CommandFailedError, refusing
from api.cli.import_market import rate
from api.cli.options import Json, Symbol, Venue
from api.cli.output import print_json, print_rows, say
from api.cli.session import Session, who

app = typer.Typer(help="Specify and list markets.", no_args_is_help=True, rich_markup_mode=None)

LISTED = (
    "market", "contract", "settle", "price_step", "size_step", "min_size", "closed", "fee", "slippage",
    "feed", "feed_since", "feed_reason",
)  # fmt: skip


@app.command()
def add(
    venue: Venue,
    symbol: Symbol,
    price_step: Annotated[str, typer.Option("--price-step", metavar="X")],
    size_step: Annotated[str, typer.Option("--size-step", metavar="X")],
    contract: Annotated[
        Literal["spot", "linear", "inverse"] | None,
        typer.Option("--contract", help="Follows from the symbol unless given."),
    ] = None,
    min_size: Annotated[
        str | None, typer.Option("--min-size", metavar="X", help="[default: the size step]")
    ] = None,
    multiplier: Annotated[
        str, typer.Option("--multiplier", metavar="X", help="Of a contract's value.")
    ] = "1",
    closed: Annotated[
        Literal["left", "right"], typer.Option("--closed", help="Which end belongs to a candle.")
    ] = "right",
    grace_ms: Annotated[
        int, typer.Option("--grace-ms", min=0, help="How long after its end a candle waits.")
    ] = 0,
    fee: Annotated[str, typer.Option("--fee-bp", metavar="X", help="Fee in basis points.")] = "0",
    slippage: Annotated[str, typer.Option("--slippage-bp", metavar="X", help="In basis points.")] = "0",
    json: Json = False,
) -> None:
    """Append a market's specification to the journal; the same one again is no error."""
    with Session() as session:
        from infra.commands.journal_view import view
        from infra.exchange.specification import described, specification
        from streams.journal import JournalWriter
        from streams.records import partition_of

        with refusing():
            market = specification(
                venue, symbol, contract=contract, price_step=price_step, size_step=size_step,
                min_size=min_size, multiplier=multiplier, closed=closed, grace_ms=grace_ms,
                fee=rate(fee, "--fee-bp"), slippage=rate(slippage, "--slippage-bp"),
            )  # fmt: skip
        partition = partition_of(market.key.encode(), session.log.partitions)
        known = view(session.log, partition).markets.get(market.key)
        if known not in (None, market):
            raise CommandFailedError(
                f"market {market.key} is known with another specification ({described(known)}); "  # type: ignore[arg-type] - None is handled above
                "`tcpdashboard import` changes its fees and steps"
            )
        if known is None:
            JournalWriter(session.log, f"market:{market.key}:{who()}", 0).append(market, key=market.key)
        if json:
            print_json({"market": market.key, "new": known is None})
        else:
            say(f"{market.key}: {described(market)}" + (" It was known." if known else ""))


@app.command("list")
def list_(json: Json = False) -> None:
    """Markets in the journal, and whether anybody vouches for their data."""
    with Session() as session:
        from infra.commands.journal_view import view
        from infra.present import facts
        from infra.present.values import event_to_json
        from streams.feeds import Feeds

        rows = [
            {"market": key} | event_to_json(market) | facts.feed(seen.feeds.get(key, Feeds()))
            for seen in (view(session.log, partition) for partition in range(session.log.partitions))
            for key, market in seen.markets.items()
        ]
        rows.sort(key=lambda row: row["market"])
        print_rows(rows, LISTED, json=json)
