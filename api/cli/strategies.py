"""`strategies`: what there is, of which files, and their code carried to another machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.failures import CommandFailedError
from api.cli.options import Json
from api.cli.output import print_rows, say
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.strategies.archive import Kept
    from infra.strategies.registry import Strategies

Archive = Annotated[
    Path | None,
    typer.Option("--archive", metavar="FILE", help="Write the code that bots had, for verify elsewhere."),
]
Import = Annotated[
    Path | None,
    typer.Option("--import", metavar="FILE", help="Take code so written. verify runs it: know its author."),
]
CARRIED = ("strategy", "code_hash", "files")


def strategies(json: Json = False, archive: Archive = None, import_: Import = None) -> None:
    """Strategies, their parameters and files; exit code 1 when a file of yours is broken."""
    if archive and import_:
        raise typer.BadParameter("--archive and --import contradict each other")
    with Session() as session:
        if archive:
            _show_carried(_archive(session, archive), json=json)
        elif import_:
            from infra.strategies.archive import take

            _show_carried(take(import_, session.settings.kernels), json=json)
        else:
            _list(session.strategies, json=json)


def _list(known: "Strategies", *, json: bool) -> None:
    rows = [
        {
            "strategy": code.name,
            "params": {
                p.name: {"default": p.default, "range": p.range_text, "description": p.description}
                for p in code.parameters
            },
            "values": list(code.value_names),
            "code_hash": code.code_hash,
            "files": [
                {"file": known.sources(code).origins[path], "path": path, "sha256": hash_}
                for path, hash_ in known.sources(code).hashes.items()
            ],
        }
        for code in known
    ]
    table = (
        {
            "strategy": code.name,
            "params": ", ".join(f"{p.name}={p.default} ({p.range_text})" for p in code.parameters),
            "code_hash": code.code_hash[:12],
        }
        for code in known
    )
    print_rows(rows if json else table, ("strategy", "params", "code_hash"), json=json)
    if known.broken:
        raise CommandFailedError("; ".join(str(error) for error in known.broken))


def _archive(session: Session, file: Path) -> "list[Kept]":
    from infra.strategies.archive import export
    from infra.strategies.recorded import recorded_code

    recorded = recorded_code(session.log)
    if not recorded:
        raise CommandFailedError("the journal names no code: no bot was created, so `verify` needs none")
    _ = session.strategies  # today's code is written to the archive where it is loaded
    return export(session.settings.kernels, recorded, file)


def _show_carried(carried: "list[Kept]", *, json: bool) -> None:
    from infra.strategies.archive import other_versions

    rows: list[dict[str, Any]] = [
        {
            "strategy": code.head.name,
            "code_hash": code.hash if json else code.hash[:12],
            "files": list(code.sources.files) if json else ", ".join(code.sources.files),
        }
        for code in carried
    ]
    print_rows(rows, CARRIED, json=json)
    for line in sorted({line for code in carried for line in other_versions(code)}):
        say(line)
