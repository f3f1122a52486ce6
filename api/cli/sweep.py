"""`sweep`: many sets of parameters over the same history, and which of them did best."""

import io
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.failures import FAILED, INTERRUPTED, CommandFailedError, refusing
from api.cli.import_market import rate
from api.cli.options import Frame, From, Json, Symbol, To, Venue, time_of
from api.cli.output import Advance, check_file, print_json, print_table, progress, say, write_chunks
from api.cli.research import (
    Annualise,
    Cash,
    Cold,
    Fee,
    File,
    Fill,
    Holdout,
    Look,
    Short,
    Size,
    Slippage,
    Source,
    Stamp,
    Strategy,
    check_source,
    data_of,
    refusing_lookups,
    strategies_aside,
)
from api.cli.session import Session

if TYPE_CHECKING:
    from pandas import DataFrame

    from infra.research.over_sets import Row
    from infra.research.swept import Swept
    from streams.events import Params

SHOWN = 20
JOBS = 1_000
SUFFIXES = (".parquet", ".csv")


def sweep(
    strategy: Strategy,
    venue: Venue,
    symbol: Symbol,
    timeframe: Frame,
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid", metavar="k=A:B:STEP", help="Values of a parameter, B among them; or k=v,v; repeatable."
        ),
    ],
    source: Source = None,
    data: File = None,
    stamp: Stamp = None,
    fill: Fill = None,
    after: From = None,
    until: To = None,
    chosen: Annotated[
        int | None, typer.Option("--random", metavar="N", help="N sets of the grid, by chance.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of that chance.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="J", min=1, max=JOBS, help="Sets at once. [default: one a core]"),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="METRIC", help="Highest first; `backtest --json` names them.")
    ] = "sharpe",
    cash: Cash = None,
    size: Size = "equity:1",
    short: Short = False,
    cold: Cold = False,
    fee: Fee = None,
    slippage: Slippage = None,
    annualise: Annualise = 365,
    holdout: Holdout = None,
    look: Look = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="All sets, as .parquet or .csv.", dir_okay=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Its picture as a page, without network."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same sweep was broken off.")
    ] = False,
    json: Json = False,
) -> None:
    """Test all sets of a grid of parameters: each is a row with the numbers of its backtest."""
    after_ns, until_ns = time_of(after, "--from"), time_of(until, "--to")
    check_source(source, data, stamp, fill, revisions=False)
    if out is not None and out.suffix not in SUFFIXES:
        raise CommandFailedError(f"--out {out}: name a file that ends in {' or '.join(SUFFIXES)}")
    if out is not None:
        check_file(out, "--out")
    if report is not None:
        check_file(report, "--report")
    with Session() as session, refusing_lookups(), refusing(), strategies_aside():
        from infra.research.backtesting import Asked, code_of
        from infra.research.grid import axis
        from infra.research.sweeping import begun, run

        _check_sort(sort)
        axes = [axis(text) for text in grid]
        if len(dict(axes)) < len(axes):
            raise CommandFailedError("a parameter has two axes: give each one --grid")
        code = code_of(strategy, session.strategies)
        known = data_of(session, f"{venue}:{symbol}", timeframe, source, data, stamp, fill, code)
        asked = Asked(
            cash=cash, sizing=size, short=short, after=after_ns, until=until_ns, cold=cold,
            fee=None if fee is None else rate(fee, "--fee-bp"), annualise=annualise,
            slippage=None if slippage is None else rate(slippage, "--slippage-bp"),
            holdout=holdout, look=look,
        )  # fmt: skip
        swept = begun(code, known, dict(axes), chosen, seed, session.strategies, asked)
        with progress("sweeping", len(swept.sets)) as advance:
            seen, home, ledger = Seen(sort, advance), session.settings.home, session.ledger
            with suppress(KeyboardInterrupt):
                run(swept, session.strategies, jobs or -1, seen, home=home, ledger=ledger, resume=resume)
    if out is not None and swept.whole:
        _write(swept.frame.sort_values(sort, ascending=False, kind="stable"), out)
    if report is not None and swept.whole:
        _draw(swept, sort, report)
    if resume and seen.kept == 0:
        say(
            "nothing of this sweep was kept: with any other strategy, data, range, costs, grid or version of"
            " tcpdashboard it is another one, and begins anew"
        )
    _print(seen, swept, json=json)
    if not swept.whole:
        say("broken off; what is done is kept: the same command with --resume goes on")
        raise typer.Exit(INTERRUPTED)
    if swept.entry.lacking or not swept.rows.ran:
        raise typer.Exit(FAILED)


class Seen:
    """How many sets are done, how long it has taken, and which is the best."""

    def __init__(self, sort: str, advance: Advance) -> None:
        self.sort, self._advance = sort, advance
        self.began = time.monotonic()
        self.kept = -1
        self.done = 0
        self._best = (-math.inf, "")

    def __call__(self, done: "Sequence[tuple[Params, Row]]", total: int) -> None:
        self.done += len(done)
        if self.kept < 0:
            self.kept = self.done
        for params, row in done:
            value = row.values.get(self.sort)
            if value is not None and value > self._best[0]:
                self._best = (value, f"; best {self.sort} {value:.6g}: {_words(params)}")
        text = f"{self.done:,} of {total:,} sets"
        if run := self.done - self.kept:
            text += f", {timedelta(seconds=round(self.seconds / run * (total - self.done)))} left"
        self._advance(self.done, f"{text}{self._best[1]}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def _check_sort(sort: str) -> None:
    from projections.research.statistics import DEFINITIONS

    if sort not in DEFINITIONS:
        raise CommandFailedError(
            f"there is no metric {sort!r} to sort by; there are: {', '.join(DEFINITIONS)}"
        )


def _words(params: "Params") -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


def _write(frame: "DataFrame", out: Path) -> None:
    if out.suffix == ".csv":
        content = frame.to_csv(index=False).encode()
    else:
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        content = buffer.getvalue()
    write_chunks([content], out)


def _draw(swept: "Swept", sort: str, report: Path) -> None:
    from infra.research.pieces import kept_returns
    from infra.research.report import write
    from infra.research.sweep_report import drawn, sweep_report

    returns = kept_returns(swept.folder, drawn(swept, sort)) if swept.folder else {}
    write(sweep_report(swept, sort, returns), report)


def _print(seen: Seen, swept: "Swept", *, json: bool) -> None:
    from infra.research.ledger import in_words
    from infra.research.result import shown
    from infra.research.spike import around
    from infra.research.sweep_report import told
    from infra.research.swept import beside_metrics

    numbers, scale = swept.best_first(seen.sort), swept.market.cash_scale
    for note in swept.notes:
        say(note)
    kept = f", {seen.kept:,} of them before" if seen.kept > 0 else ""
    refused = f"without {swept.invalid:,} that the strategy refuses"
    done = in_words(len(numbers)) if swept.whole else f"{len(numbers):,} of {in_words(len(swept.sets))}"
    say(f"{done} in {seen.seconds:.1f} s{kept}, {refused}")
    if errors := swept.rows.errors:
        say(f"! {in_words(len(errors))} failed; --json and --out say how. The first: {errors[min(errors)]}")
    if found := around(swept, seen.sort):
        say(f"{'' if found.spike is False else '! '}{found.words}")
    if json:
        for number in numbers:
            row = swept.rows.row(number)
            metrics = {name: shown(name, value, scale) for name, value in row.values.items()}
            told = {"params": swept.sets[number], "metrics": metrics, "error": row.error}
            print_json(told | swept.entry.to_dict())
        return
    table: list[dict[str, Any]] = [
        {**beside_metrics(swept.sets[number]), **told(swept, seen.sort, number)} for number in numbers[:SHOWN]
    ]
    if table:
        print_table(table, table[0])
    if len(numbers) > SHOWN:
        say(f"… and {len(numbers) - SHOWN:,} more")
