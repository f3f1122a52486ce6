"""`backtest`: a strategy over recorded history, in a moment."""

import json as json_lines
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from api.cli.failures import FAILED, CommandFailedError, refusing
from api.cli.import_market import rate
from api.cli.options import Frame, From, Json, Params, Symbol, Timeframe, To, Venue, time_of
from api.cli.output import check_file, print_json, print_table, progress, say
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.research.result import Result
    from infra.research.sources import Data
    from projections.strategies.code import StrategyCode

Source = Annotated[
    Literal["journal", "candles"] | None,
    typer.Option("--source", help="The journal's ticks, or its candles alone. [default: journal]"),
]
File = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Bars of a Parquet, CSV or Feather file.", dir_okay=False),
]
Stamp = Annotated[
    Literal["close", "open"] | None, typer.Option("--stamp", help="What its times mean. [default: close]")
]
Fill = Annotated[
    Literal["next-open", "next-close", "next-mid", "worst"] | None,
    typer.Option("--fill", help="Where bars alone fill. [default: next-open]"),
]
Cash = Annotated[
    str | None, typer.Option("--cash", help="In the settle currency. [default: 10000, inverse 1]")
]
Size = Annotated[str, typer.Option("--size", help="amount:X, cash:X or equity:F.")]
Short = Annotated[bool, typer.Option("--short", help="May go short.")]
Cold = Annotated[bool, typer.Option("--cold", help="Don't warm up on what lies before.")]
Fee = Annotated[str | None, typer.Option("--fee-bp", metavar="X", help="[default: the market's]")]
Slippage = Annotated[str | None, typer.Option("--slippage-bp", metavar="X", help="[default: the market's]")]
Annualise = Annotated[float, typer.Option("--annualise", help="Days of a year.")]
Holdout = Annotated[
    str | None,
    typer.Option("--holdout", metavar="SHARE", help="Don't look at this last part of the candles, as 20%."),
]
Look = Annotated[bool, typer.Option("--look", help="Look at what --holdout holds out, and at that alone.")]
Strategy = Annotated[str, typer.Argument(help="Name of a strategy, or a file with one.")]
FRAMES = ("equity", "trades", "fills", "signals", "indicators")


def backtest(
    strategy: Strategy,
    venue: Venue,
    symbol: Symbol,
    timeframe: Frame,
    source: Source = None,
    data: File = None,
    stamp: Stamp = None,
    fill: Fill = None,
    after: From = None,
    until: To = None,
    param: Params = None,
    cash: Cash = None,
    size: Size = "equity:1",
    short: Short = False,
    cold: Cold = False,
    fee: Fee = None,
    slippage: Slippage = None,
    as_known: Annotated[bool, typer.Option("--as-known", help="Candles as bots saw them.")] = False,
    final: Annotated[
        bool, typer.Option("--final", help="In their last revision; with --as-known both, and what differs.")
    ] = False,
    annualise: Annualise = 365,
    holdout: Holdout = None,
    look: Look = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say what each number is.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new folder for the result's tables.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="The result as a page, without network."),
    ] = None,
    json: Json = False,
) -> None:
    """Test a strategy over a market's history: what a live bot would have done, trade for trade."""
    after_ns, until_ns = time_of(after, "--from"), time_of(until, "--to")
    check_source(source, data, stamp, fill, revisions=as_known or final)
    if out is not None and out.exists():
        raise CommandFailedError(f"{out} is there already; choose a folder that is not there yet")
    if report is not None:
        check_file(report, "--report")
    with Session() as session, refusing_lookups(), refusing(), strategies_aside():
        from infra.commands.given import params_of
        from infra.research.backtesting import backtest as test
        from infra.research.backtesting import code_of
        from infra.research.sources import in_last_revision

        code = code_of(strategy, session.strategies)
        asked: dict[str, Any] = {
            "cash": cash, "sizing": size, "short": short, "after": after_ns, "until": until_ns, "cold": cold,
            "fee": None if fee is None else rate(fee, "--fee-bp"), "annualise": annualise,
            "slippage": None if slippage is None else rate(slippage, "--slippage-bp"),
            "holdout": holdout, "look": look, "home": session.ledger,
        }  # fmt: skip
        params = params_of(param or ())
        code.check(params)
        both = as_known and final
        market = f"{venue}:{symbol}"
        known = data_of(session, market, timeframe, source, data, stamp, fill, code)
        first = in_last_revision(known) if final and not both else known
        result = test(code, first, params, say=say, **asked)
        other = test(code, in_last_revision(known), params, **asked) if both else None
        shown = _shown(result, other)  # asks the strategies again
    if out is not None:
        write(result, out)
    if report is not None:
        result.report(report)
    if json:
        print_json(shown)
    else:
        _print(result, other, explain=explain)
    if result.entry.lacking:
        raise typer.Exit(FAILED)


def strategies_aside() -> "redirect_stdout[TextIO]":
    """What a strategy prints goes to standard error: standard output is for the result."""
    return redirect_stdout(sys.stderr)


@contextmanager
def refusing_lookups() -> Iterator[None]:
    """A market or strategy that is not there is the user's."""
    try:
        yield
    except LookupError as error:
        raise CommandFailedError(str(error.args[0] if error.args else error)) from error


def check_source(
    source: str | None, file: Path | None, stamp: str | None, fill: str | None, *, revisions: bool
) -> None:
    """Raises `CommandFailedError` for options that say nothing of this source."""
    if file is not None and source == "journal":
        raise CommandFailedError("--source journal and --data contradict each other: name one of them")
    if file is not None and revisions:
        raise CommandFailedError("--as-known and --final are for what is recorded: a file has one revision")
    if file is None and stamp is not None:
        raise CommandFailedError("--stamp is for --data: recorded candles have their ends")
    if file is None and source != "candles" and fill is not None:
        raise CommandFailedError("--fill is for bars alone: the journal knows which trade fills")


def data_of(
    session: Session,
    market: str,
    timeframe: Timeframe,
    source: str | None,
    file: Path | None,
    stamp: Stamp,
    fill: Fill,
    code: "StrategyCode",
) -> "Data":
    """What is asked for by options that `check_source` has seen, for a strategy."""
    if file is not None:
        return _of_file(session, market, timeframe, file, stamp, fill)
    if source == "candles":
        return _candles(session, market, timeframe, fill)
    return _recorded(session, market, timeframe, code)


def _of_file(
    session: Session, market: str, timeframe: Timeframe, file: Path, stamp: Stamp, fill: Fill
) -> "Data":
    from infra.research.files import bars_of_file
    from streams.records import partition_of

    known = None
    if session.has_log:
        from infra.commands.journal_view import view  # compiled code of the fold, in a fresh installation

        known = view(session.log, partition_of(market.encode(), session.log.partitions)).markets.get(market)
    return bars_of_file(file, known or market, timeframe, stamp=stamp or "close", fill=fill or "next-open")


def _candles(session: Session, market: str, timeframe: Timeframe, fill: Fill) -> "Data":
    from infra.research.recorded_bars import recorded_bars

    _check_log(session)
    return recorded_bars(session.log, market, timeframe, fill=fill or "next-open")


def _recorded(session: Session, market: str, timeframe: Timeframe, code: "StrategyCode") -> "Data":
    from infra.research.sources import recorded
    from streams.records import partition_of
    from streams.topics import JOURNAL

    _check_log(session)
    total = session.log.highwater(JOURNAL, partition_of(market.encode(), session.log.partitions))
    with progress("reading the journal", total) as advance:
        return recorded(
            session.log,
            session.settings.home,
            market,
            timeframe,
            higher=code.higher,
            progress=lambda done, _: advance(done),
        )


def _check_log(session: Session) -> None:
    if not session.has_log:
        raise CommandFailedError(
            f"there is no journal in {session.settings.home}: import trades first, or test a file with --data"
        )


# ------------------------------------------------------------------ what is shown


def _shown(result: "Result", other: "Result | None") -> dict[str, Any]:
    shown = result.to_dict()
    if other is None:
        return shown
    return shown | {"final": other.to_dict(), "differs": _differs(result, other)}


def _print(result: "Result", other: "Result | None", *, explain: bool) -> None:
    say(result.headline)
    for incident in result.incidents:
        say(f"! {incident}")
    for line in result.honesty:
        say(f"{'! ' if line.warns else ''}{line.text}")
    for note in result.notes:
        say(note)
    from projections.research.statistics import DEFINITIONS

    rows = [
        {"what": DEFINITIONS[name].title, "value": text, "definition": DEFINITIONS[name].definition}
        for name, text in result.told
    ]
    print_table(rows, ("what", "value", "definition") if explain else ("what", "value"))
    if other is not None:
        for name, value in _differs(result, other).items():
            say(f"{name}: {value}")


def _differs(result: "Result", other: "Result") -> dict[str, Any]:
    """What the last revisions change, which no bot could know."""
    mine, theirs = (one.signals[["target"]] for one in (result, other))
    alike = len(mine.join(theirs, how="inner", lsuffix="_").query("target == target_"))
    return {
        "signals_as_known": len(mine),
        "signals_final": len(theirs),
        "signals_alike": alike,
        "final_as_known": result.metrics["final"],
        "final_final": other.metrics["final"],
    }


def write(result: "Result", out: Path) -> None:
    """The result's tables as Parquet and its numbers as JSON; the folder appears only when all is in it."""
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        (partial / "result.json").write_text(json_lines.dumps(result.to_dict(), indent=1), encoding="utf-8")
        for name in FRAMES:
            frame = getattr(result, name)
            (frame.to_frame() if name == "equity" else frame).to_parquet(partial / f"{name}.parquet")
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
