"""`import`: recorded trades of a file into the journal, folded beside."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api.cli.failures import INTERRUPTED, CommandFailedError, refusing
from api.cli.options import Json, NoFold, Symbol, Venue
from api.cli.output import print_json, progress, say
from api.cli.session import Session
from streams.background import Background

if TYPE_CHECKING:
    from infra.exchange.files import ImportResult
    from infra.exchange.trade_file import FileOptions, TradeFile
    from streams.events import Market

Given = dict[str, Any]
"""What the options say of a market: contract, price_step, size_step, closed, fee, slippage; None: nothing."""
BASIS_POINT = 10_000
PERCENT = 100


class InterruptedImportError(Exception):
    """The person at the keyboard ended it; raised within the thread that reads the file."""


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet, Feather, JSON lines; or .gz.")],
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
        typer.Option("--column", metavar="FIELD=NAME", help="The column of time, price, size, side or id."),
    ] = None,
    time_unit: Annotated[
        Literal["s", "ms", "us", "ns", "iso"] | None, typer.Option("--time-unit", help="Unit of times.")
    ] = None,
    signed: Annotated[
        bool | None, typer.Option("--signed/--unsigned", help="The sign of a size is the taker's side.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Make each bad row a dead letter.")] = False,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Fetched afterwards: revises candles, fills no order.")
    ] = False,
    no_fold: NoFold = False,
    json: Json = False,
) -> None:
    """Append a file's trades to their market and fold until caught up; a repeat goes on where it ended."""
    began = time.monotonic()
    with Session() as session:
        from infra.commands.manager import params_of
        from infra.exchange.trade_file import FileOptions
        from streams.topics import market_key

        options = FileOptions(params_of(column or ()), time_unit, signed)
        given: Given = {
            "contract": contract, "price_step": price_step, "size_step": size_step, "closed": closed,
            "fee": None if fee is None else rate(fee, "--fee-bp"),
            "slippage": None if slippage is None else rate(slippage, "--slippage-bp"),
        }  # fmt: skip
        with refusing():
            append = _append(
                session, file, options, (venue, symbol), given, skip_bad=skip_bad, backfill=backfill
            )
        place = _Stretch(session, market_key(venue, symbol))
        result = _run(session, append, no_fold)
        lost = {} if no_fold else place.lost()
        _tell(result, lost, round(time.monotonic() - began, 3), json)


def _tell(result: "ImportResult", lost: dict[str, int], seconds: float, json: bool) -> None:
    """What an import did; `lost` is empty where nothing was folded, so that nobody knows yet."""
    if json:
        shown = {name: getattr(result, name) for name in ("ticks", "total", "records")}
        print_json({**shown, "seconds": seconds, "bad_rows": result.bad_rows, **lost})
    else:
        bad = f", {result.bad_rows:,} bad rows passed over" if result.bad_rows else ""
        say(
            f"{result.ticks:,} ticks appended in {result.records:,} records, {result.total:,} of the file"
            f" are in the journal{bad}; {seconds} s"
        )
    if any(lost.values()):
        say(
            f"warning: {lost['late']:,} of these trades are too late for any candle, and"
            f" {lost['dead_letters']:,} of these records could not be folded; see `tcpdashboard log"
            " candles` and `… log system`. Sort the file by time, or import it into a fresh home"
        )


class _Stretch:
    """The journal records of a market that an import appends, and what of them came to nothing."""

    def __init__(self, session: Session, market: str) -> None:
        from streams.records import partition_of
        from streams.topics import JOURNAL

        self._session = session
        self._place = (JOURNAL, partition_of(market.encode(), session.log.partitions))
        self._first = session.log.highwater(*self._place)

    def lost(self) -> dict[str, int]:
        """Trades beyond the horizon, and dead letters, that follow from the records."""
        from infra.db import queries

        partition, end = self._place[1], self._session.log.highwater(*self._place)
        return queries.lost(self._session.database, partition, self._first, end)


Report = Callable[[float, int], None]
Append = Callable[[Report], "ImportResult"]


def _append(
    session: Session,
    path: Path,
    options: "FileOptions",
    name: tuple[str, str],
    given: Given,
    *,
    skip_bad: bool,
    backfill: bool,
) -> Append:
    """The work of appending, checked so far as the file's head and the market go."""
    from infra.commands.journal_view import import_place, view, watermark
    from infra.exchange.files import file_source, import_file
    from infra.exchange.trade_file import TradeFile
    from streams.records import partition_of
    from streams.topics import market_key

    file = TradeFile(path, options)
    key = market_key(*name)
    known = view(session.log, partition_of(key.encode(), session.log.partitions)).markets.get(key)
    if known is None:
        asked = {option: value for option, value in given.items() if value is not None}
        market, description = file.infer_market(*name, **asked)
        say(description)
    else:
        market = _respecified(file, known, given)
    reached = None if known is None else watermark(session.log, key)

    start, before = import_place(session.log, key, file_source(path, key))

    def append(report: Report) -> "ImportResult":
        return import_file(
            session.log, path, market, options=options, known=before, scan_from=start, watermark=reached,
            backfill=backfill, skip_bad=skip_bad, progress=report,
        )  # fmt: skip

    return append


def _respecified(file: "TradeFile", known: "Market", given: Given) -> "Market":
    """The known market with what the options change: fees and steps may, its nature may not."""
    from msgspec.structs import replace

    for option in ("contract", "closed"):
        if given[option] not in (None, getattr(known, option)):
            raise CommandFailedError(
                f"market {known.key} is known with --{option} {getattr(known, option)}, which cannot change;"
                " leave the option out, or import under another --venue"
            )
    asked = {option: given[option] for option in ("price_step", "size_step") if given[option] is not None}
    market = known
    if asked:
        new, _ = file.infer_market(known.venue, known.symbol, contract=known.contract, **asked)
        for name in ("price", "size"):
            if f"{name}_step" in asked:
                market = replace(market, **_step(known, new, name))
    rates = {option: given[option] for option in ("fee", "slippage") if given[option] is not None}
    return replace(market, **rates)


def _step(known: "Market", new: "Market", name: str) -> dict[str, int]:
    """Step and scale of price or size as asked for; the scale only grows."""
    old, asked = getattr(known, f"{name}_scale"), getattr(new, f"{name}_scale")
    scale = max(old, asked)
    step = getattr(new, f"{name}_step") * 10 ** (scale - asked)
    changes = {f"{name}_scale": scale, f"{name}_step": step}
    if name == "size":
        same = step == known.size_step * 10 ** (scale - old)
        changes["min_size"] = known.min_size * 10 ** (scale - old) if same else step
    return changes


def rate(text: str, option: str) -> int:
    """A rate in 1e-8 of basis points in text."""
    try:
        rate = Decimal(text) * BASIS_POINT
    except ArithmeticError:
        rate = Decimal("NaN")
    if not rate.is_finite() or not 0 <= rate < BASIS_POINT * BASIS_POINT or rate != int(rate):
        raise typer.BadParameter(f"{option} {text!r}: basis points from 0, at most 4 decimals")
    return int(rate)


# ------------------------------------------------------------------ appending while folding


def _run(session: Session, append: Append, no_fold: bool) -> "ImportResult":
    from api.cli.folding import fold, fold_everything, folds_elsewhere

    with progress("importing", PERCENT) as advance:
        if no_fold or folds_elsewhere(session):
            result = append(lambda fraction, ticks: advance(int(fraction * PERCENT)))
            if not no_fold:
                fold_everything(session)
            return result
        side = _Appending(append, lambda fraction: advance(int(fraction * PERCENT)))
        with side:
            reached = fold(session, side.ended)
        result = side.result()
        if result is None or not reached:
            say("interrupted; the same command goes on where it ended")
            raise typer.Exit(INTERRUPTED)
        return result


class _Appending:
    """Appends in a thread, so that the fold keeps the main one, where signals arrive."""

    def __init__(self, append: Append, advance: Callable[[float], None]) -> None:
        self._append = append
        self._advance = advance
        self._result: ImportResult | None = None
        self._error: Exception | None = None
        self._thread = Background("import", self._run)

    def ended(self) -> bool:
        return self._thread.join(0)

    def result(self) -> "ImportResult | None":
        """None where it was interrupted. Raises what ended it."""
        if self._error is not None:
            raise self._error
        return self._result

    def __enter__(self) -> "_Appending":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def _run(self) -> None:
        try:
            self._result = self._append(self._report)
        except InterruptedImportError:
            self._result = None
        except Exception as error:  # noqa: BLE001 - raised again by `result`, in the main thread
            self._error = error

    def _report(self, fraction: float, ticks: int) -> None:
        if self._thread.stopping.is_set():
            raise InterruptedImportError
        self._advance(fraction)
