"""`import`: recorded trades of files into the journal, folded beside."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.cli.failures import CommandFailedError, refusing
from api.cli.import_market import Given, rate, specified
from api.cli.import_run import run, tell
from api.cli.options import Json, NoFold, Symbol, Venue, time_of
from api.cli.output import print_json, say
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.exchange.files import ImportOptions
    from infra.exchange.forms import FileOptions
    from infra.exchange.trade_file import TradeFile


def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="CSV, Parquet, Feather, JSON; .gz or .zip; or folders of them."),
    ],
    venue: Venue,
    symbol: Symbol,
    contract: Annotated[Literal["spot", "linear", "inverse"] | None, typer.Option("--contract")] = None,
    price_step: Annotated[str | None, typer.Option("--price-step", metavar="X")] = None,
    size_step: Annotated[str | None, typer.Option("--size-step", metavar="X")] = None,
    closed: Annotated[
        Literal["left", "right"] | None,
        typer.Option("--closed", help="Which end belongs to a candle. [default: right]"),
    ] = None,
    fee: Annotated[str | None, typer.Option("--fee-bp", metavar="X", help="Fee in basis points.")] = None,
    slippage: Annotated[
        str | None, typer.Option("--slippage-bp", metavar="X", help="In basis points.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="FIELD=NAME",
            help="The column of time, price, size, side, maker, id or symbol; without a name: none.",
        ),
    ] = None,
    header: Annotated[
        Literal["none", "first"] | None, typer.Option("--header", help="Where names of columns stand.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B,…", help="Names of all columns, where the file has none."),
    ] = None,
    time_unit: Annotated[
        Literal["s", "ms", "us", "ns", "iso"] | None, typer.Option("--time-unit", help="Unit of times.")
    ] = None,
    signed: Annotated[
        bool | None, typer.Option("--signed/--unsigned", help="The sign of a size is the taker's side.")
    ] = None,
    side: Annotated[
        Literal["taker", "maker"] | None, typer.Option("--side", help="Whose side the file gives.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="SYMBOL", help="Take the rows of this symbol of the file.")
    ] = None,
    member: Annotated[str | None, typer.Option("--member", metavar="NAME", help="Of a zip.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Make each bad row a dead letter.")] = False,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Fetched afterwards: revises candles, fills no order.")
    ] = False,
    gaps: Annotated[bool, typer.Option("--gaps", help="Record where trades seem to be missing.")] = False,
    more: Annotated[
        bool, typer.Option("--more", help="Leave the last minute open: a later import goes on.")
    ] = False,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Close the minutes up to this time.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be.")] = False,
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Append trades to their market and fold until caught up; a repeat goes on where it ended."""
    began = time.monotonic()
    if more and until is not None:
        raise typer.BadParameter("--more leaves the last minute open, --until closes it: give one of them")
    given: Given = {
        "contract": contract, "price_step": price_step, "size_step": size_step, "closed": closed,
        "fee": None if fee is None else rate(fee, "--fee-bp"),
        "slippage": None if slippage is None else rate(slippage, "--slippage-bp"),
    }  # fmt: skip
    from infra.exchange.files import ImportOptions
    from infra.exchange.forms import FileOptions

    with refusing():
        file_options = FileOptions(
            columns=_fields(column or ()),
            time_unit=time_unit,
            signed=signed,
            side=side,
            header=None if header is None else header == "first",
            names=tuple(columns.split(",")) if columns else (),
            only=only,
            member=member,
        )
    how = ImportOptions(backfill, skip_bad, gaps, more, time_of(until, "--until"))
    name = (venue, symbol)
    if dry_run:
        _dry_run(paths, file_options, name, given, how.until, json)
        return
    with Session() as session:
        _import(session, paths, file_options, how, name, given, began, no_fold=no_fold, json=json)


def _import(
    session: Session,
    paths: list[Path],
    options: "FileOptions",
    how: "ImportOptions",
    name: tuple[str, str],
    given: Given,
    began: float,
    *,
    no_fold: bool,
    json: bool,
) -> None:
    from infra.commands.journal_view import import_state
    from infra.exchange.files import Imported, file_source, import_files
    from infra.exchange.paths import trade_files
    from infra.exchange.pieces import FileReadError
    from infra.exchange.trade_file import BadRowError
    from streams.topics import market_key

    key = market_key(*name)
    with refusing():
        files = trade_files(paths, options, say)
        state = import_state(session.log, key, [file_source(file, key) for file in files])
        market, description = specified(files, state.markets.get(key), name, given)
    if description:
        say(description)
    imported = Imported()

    def told() -> int:
        for line in described(files):
            say(line)
        seconds = round(time.monotonic() - began, 3)
        return tell(session, key, imported, seconds, folded=not no_fold, json=json)

    try:
        run(
            session,
            lambda report: import_files(session.log, files, market, state, how, imported, report),
            no_fold,
        )
    except (BadRowError, FileReadError):
        if imported.rows:
            told()
        raise
    if code := told():
        raise typer.Exit(code)


def _dry_run(
    paths: list[Path],
    options: "FileOptions",
    name: tuple[str, str],
    given: Given,
    until: int | None,
    json: bool,
) -> None:
    """Read all and write nothing, not even a home."""
    from infra.commands.journal_view import view
    from infra.exchange.paths import trade_files
    from infra.exchange.survey import survey
    from infra.present.values import event_to_json, iso
    from streams.records import partition_of
    from streams.topics import market_key

    key = market_key(*name)
    with Session() as session, refusing():
        files = trade_files(paths, options, say)
        known = None
        if session.has_log:
            known = view(session.log, partition_of(key.encode(), session.log.partitions)).markets.get(key)
        market, description = specified(files, known, name, given)
    found = survey(files, market, until)
    forms = described(files)
    if json:
        shown = {
            "rows": found.rows,
            "trades": found.trades,
            "other_symbols": found.others,
            "bad_rows": found.bad,
        }
        candles = {"first_candle": iso(found.first), "last_candle": iso(found.last)} if found.trades else {}
        print_json(
            {"market": key, **event_to_json(market), "files": len(files), "forms": forms, **shown, **candles}
        )
        return
    for line in (*forms, description or f"{key} is known"):
        say(line)
    say(f"{found.rows:,} rows: {found.trades:,} trades, {found.others:,} of other symbols, {found.bad:,} bad")
    if found.first_bad is not None:
        say(f"the first bad row: {found.first_bad}")
    if found.trades:
        say(f"first candle {iso(found.first)}, last candle {iso(found.last)}; nothing was written")


def described(files: "list[TradeFile]") -> list[str]:
    """How the files are understood, a line for all of one kind."""
    from infra.exchange.survey import understood

    kinds: dict[str, list[str]] = {}
    for file in files:
        kinds.setdefault(understood(file), []).append(file.path.name)
    return [
        f"{names[0] if len(names) == 1 else f'{len(names)} files ({names[0]} … {names[-1]})'}: {kind}"
        for kind, names in kinds.items()
    ]


def _fields(pairs: Sequence[str]) -> dict[str, str]:
    """FIELD=NAME as a dict; a field without a name has no column."""
    fields: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in fields:
            raise CommandFailedError(
                f"--column {pair!r}: write each field once, as price=kurs, or id= for none"
            )
        fields[name] = value
    return fields
