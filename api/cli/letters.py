"""`tcpdashboard dead-letters …`: what could not be read or folded, and all of its bytes."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.failures import CommandFailedError
from api.cli.options import Json
from api.cli.output import print_json, print_table, say, write_chunks
from api.cli.session import Session

app = typer.Typer(
    help="What could not be read or folded.", invoke_without_command=True, rich_markup_mode=None
)

LISTED = ("id", "timestamp", "market", "venue_id", "reason")


@app.callback()
def list_(context: typer.Context, json: Json = False) -> None:
    """What could not be read or folded. A row that was mended goes in again by `import FILE --backfill`."""
    if context.invoked_subcommand is not None:
        return
    with Session() as session:
        from infra.db import queries
        from infra.db.pages import Window, every
        from infra.present import facts

        found = every(lambda window: queries.letters(session.database, window), Window())
        rows = map(facts.letter, found)
        if json:
            for row in rows:
                print_json(row)
        else:
            print_table(rows, LISTED)


@app.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="See `dead-letters`.")],
    raw: Annotated[bool, typer.Option("--raw", help="Its bytes alone, on standard output.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Its bytes into a file.", dir_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """One dead letter with all of its bytes, as the log has them."""
    with Session() as session:
        from infra.present.values import event_to_json, iso
        from infra.upkeep.letters import LetterError, find_letter

        try:
            letter = find_letter(session.log, session.database, id_)
        except LetterError as error:
            raise CommandFailedError(str(error)) from None
    if letter.cut:
        say(f"the log has the first {len(letter.data):,} bytes of {letter.event.size:,}")
    if raw or out is not None:
        write_chunks([letter.data], out)
        return
    row = {"id": id_, "timestamp": iso(letter.time_ns), **event_to_json(letter.event)}
    row |= {"data": letter.data.decode(errors="backslashreplace"), "cut": letter.cut}
    if json:
        print_json(row)
    else:
        print_table(({"field": name, "value": value} for name, value in row.items()), ("field", "value"))
