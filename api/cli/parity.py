"""`parity`: a recorded bot beside the backtest of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.failures import CommandFailedError
from api.cli.options import From, Json, To, time_of
from api.cli.output import check_file, print_json, print_table, progress, say
from api.cli.session import Session
from infra.process.whole_file import whole_file

if TYPE_CHECKING:
    from infra.research.certificate import Certificate

UNPROVEN = 3
"""Exit code where there was nothing to compare."""
FORMS = (".json", ".html")


def parity(
    bot: Annotated[int | None, typer.Option("--bot", metavar="ID", help="Bot id, see `bots list`.")] = None,
    after: From = None,
    until: To = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out", metavar="FILE", help="Write the certificate, as .json or .html; may be given twice."
        ),
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Make this one again from the home.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a recorded bot again by the backtest, and compare what it did in every integer.

    Exit code 0: all is equal. 1: something differs. 3: it did nothing in the range, so nothing is proven.
    """
    span = time_of(after, "--from"), time_of(until, "--to")
    files = _files(out or [])
    if (bot is None) == (check is None):
        raise typer.BadParameter("give --bot ID, or --check FILE with a certificate")
    if check is not None and (files or span != (None, None)):
        raise typer.BadParameter("--check takes its range from the certificate, and writes none")
    with Session() as session:
        from infra.research.certificate import Asked, again, certify, from_json

        if not session.has_log:
            raise CommandFailedError(f"there is no log in {session.settings.home}: nothing is recorded")
        given = None if check is None else from_json(check.read_bytes(), str(check))
        log, code = session.log, session.strategies
        with progress("reading the journal", None) as advance:
            if given is not None:
                made = again(log, code, given, lambda done, _: advance(done))
            else:
                made = certify(log, code, Asked(bot or 0, *span), lambda done, _: advance(done))
    for file in files:
        _write(file, made)
    if json:
        from msgspec import to_builtins

        print_json(to_builtins(made))
    if given is not None:
        _compare(given, made)
    _end(made, json=json)


def _files(out: list[Path]) -> list[Path]:
    for file in out:
        if file.suffix not in FORMS:
            raise typer.BadParameter(f"--out {file}: name a file that ends in {' or '.join(FORMS)}")
        check_file(file, "--out")
    return out


def _write(file: Path, certificate: "Certificate") -> None:
    from infra.research.certificate import to_json
    from infra.research.certificate_page import page

    data = to_json(certificate) if file.suffix == ".json" else page(certificate).encode()
    with whole_file(file) as target:
        target.write(data)


def _compare(given: "Certificate", made: "Certificate") -> None:
    from infra.research.certificate import unlike

    names = unlike(given, made)
    if names:
        told = "; ".join(
            f"{name} is {getattr(given, name)!r}, the home gives {getattr(made, name)!r}"
            for name in names[:3]
        )
        raise CommandFailedError(f"the certificate does not hold: {told}"[:2_000])
    say("the certificate holds: the home gives the same one")
    if given.compared_by != made.compared_by:
        say("it was made by the backtest of another release, and this one's finds the same")


def _end(made: "Certificate", *, json: bool) -> None:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in made.compared.items())
    if not made.equal:
        if not json:
            _print_difference(made)
        assert made.difference is not None
        d = made.difference
        raise CommandFailedError(
            f"bot {made.bot_id}: the backtest is not what is recorded, first in {d.kind}, number {d.number},"
            f" at {d.time}; before it were equal: {counts}"
        )
    if not made.facts:
        say(
            f"nothing is proven: bot {made.bot_id} decided and held nothing from"
            f" {made.after or 'the beginning'} to {made.until or 'the end'}"
        )
        raise typer.Exit(UNPROVEN)
    if not json:
        say(f"bot {made.bot_id} on {made.market}, {made.timeframe}: equal in {counts}")
        say(
            f"journal of {made.records:,} records, chain {made.chain}, {made.checkpoints} checkpoints met,"
            f" {made.dead_letters} dead letters left out"
        )


def _print_difference(made: "Certificate") -> None:
    from infra.research.certificate_page import fields, sides

    assert made.difference is not None
    for title, recorded, backtest in sides(made.difference):
        rows = [
            {title: name, "recorded": one, "backtest": other, "": "" if one == other else "differs"}
            for name, one, other in fields(recorded, backtest)
        ]
        print_table(rows, (title, "recorded", "backtest", ""))
