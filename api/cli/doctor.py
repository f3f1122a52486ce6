"""`doctor`: every part, how it is, and what to do."""

import logging
from typing import Annotated

import typer

from api.cli.failures import FAILED
from api.cli.options import Json
from api.cli.output import print_json

MARKS = {"ok": "ok     ", "warning": "warning", "failed": "FAILED "}


def doctor(
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="The API's. [default: where it runs, or 8321]"),
    ] = None,
    json: Json = False,
) -> None:
    """Look at every part and say what to do; changes nothing. Exit code 1 when one failed."""
    from api.http.listening import API_PORT
    from infra.upkeep.doctor import examine

    logging.disable(logging.CRITICAL)  # what libraries say of a server that is away, a finding says in a line
    failed = False
    try:
        for finding in examine(API_PORT, port):
            failed |= finding.state == "failed"
            if json:
                print_json(finding._asdict())
            else:
                hint = f"\n{'':21}→ {finding.hint}" if finding.hint else ""
                typer.echo(f"{MARKS[finding.state]}  {finding.part:12}{finding.message}{hint}")
    finally:
        logging.disable(logging.NOTSET)
    if failed:
        raise typer.Exit(FAILED)
