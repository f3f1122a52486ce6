"""`tcpdashboard gaps …`: where trades may be missing, and asking for them once more."""

import asyncio
from typing import Annotated, Any

import typer

from api.cli.failures import FAILED, CommandFailedError, refusing
from api.cli.options import Json
from api.cli.output import Rows, print_json, print_table, say
from api.cli.session import Session

HELP = "Where trades may be missing, by market and time: the newest gaps in the journal."
app = typer.Typer(help=HELP, invoke_without_command=True, rich_markup_mode=None)

LISTED = ("market", "from", "to", "trades", "state", "reason")
ASKED = ("market", "from", "to", "trades", "missing", "result")


@app.callback()
def list_(
    context: typer.Context,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nothing has filled in.")] = False,
    json: Json = False,
) -> None:
    """Where trades may be missing, by market and time: the newest gaps in the journal."""
    if context.invoked_subcommand is not None:
        return
    with Session() as session:
        from infra.commands import journal_view
        from infra.present import facts

        found = journal_view.gaps(session.log, only_open=only_open)
        if not found:
            say("nothing is missing" if only_open else "no gap is in the journal")
        _print((facts.gap(*one) for one in found), LISTED, json=json)


def _print(rows: Rows, columns: tuple[str, ...], *, json: bool) -> None:
    if not json:
        print_table(map(_cells, rows), columns)
        return
    for row in rows:
        print_json(row)


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """A gap for people; what is wider than their terminal goes on in a second line."""
    first, last = row["first_id"], row["last_id"]
    ids = "" if first is None else str(first) if first == last else f"{first} to {last}"
    state = "filled" if row["filled"] else "final" if row["final"] else "open"
    times = {"from": row["start"].replace("T", " "), "to": row["end"].replace("T", " ")}
    return row | times | {"trades": ids, "state": state}


@app.command()
def fill(
    market: Annotated[
        str | None, typer.Argument(metavar="[VENUE:SYMBOL]", help="Only those of this market.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask exchanges once more for all that is missing, also for what is final. Exit code 1 where something
    still is."""
    with Session() as session:
        from infra.exchange.gap_filling import ask_again, asked
        from infra.present import facts

        with refusing():
            wanted = asked(session.log, market)
        if not wanted:
            say("nothing is missing")
            return
        found, failures = asyncio.run(ask_again(session.settings, session.log, wanted))
        rows = (
            facts.gap(one.market, one.gap) | {"missing": one.missing, "result": one.result} for one in found
        )
        _print(rows, ASKED, json=json)
        if failures:
            raise CommandFailedError("; ".join(failures))
        if any(one.missing != 0 for one in found):
            raise typer.Exit(FAILED)
