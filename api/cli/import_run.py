"""Appending while folding, and what became of the rows."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from api.cli.failures import INTERRUPTED
from api.cli.output import print_json, progress, say
from api.cli.session import Session
from streams.background import Background

if TYPE_CHECKING:
    from infra.exchange.files import Imported

LATE = 4
"""Exit code: done, but rows came too late for any candle."""
PERCENT = 100
MISSING_SHOWN = 10

Report = Callable[[float, Path], None]
Append = Callable[[Report], None]


class InterruptedImportError(Exception):
    """The person at the keyboard ended it; raised within the thread that reads the files."""


def run(session: Session, append: Append, no_fold: bool) -> None:
    """Append, and fold beside, here or where another process does. Raises what ends the appending."""
    from api.cli.folding import fold, fold_everything, folds_elsewhere
    from streams.log import LogError

    with progress("importing", PERCENT) as advance:

        def report(fraction: float, file: Path) -> None:
            advance(int(fraction * PERCENT), f"importing {file.name}")

        if no_fold or folds_elsewhere(session):
            try:
                append(report)
            finally:
                if not no_fold:
                    fold_everything(session)
            return
        side = _Appending(append, report)
        complete = True
        with side:
            try:
                complete = fold(session, side.ended)
            except LogError:
                if not folds_elsewhere(session):
                    raise
                side.wait()  # another import began to fold first
                fold_everything(session)
        if side.interrupted or not complete:
            say("interrupted; the same command goes on where it ended")
            raise typer.Exit(INTERRUPTED)
        side.check()


class _Appending:
    """Appends in a thread, so that the fold keeps the main one, where signals arrive."""

    def __init__(self, append: Append, report: Report) -> None:
        self._append = append
        self._report = report
        self.interrupted = False
        self._error: Exception | None = None
        self._thread = Background("import", self._run)

    def ended(self) -> bool:
        return self._thread.join(0)

    def wait(self) -> None:
        while not self._thread.join(1):
            pass

    def check(self) -> None:
        """Raises what ended it."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> "_Appending":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.stop()

    def _run(self) -> None:
        try:
            self._append(self._reported)
        except InterruptedImportError:
            self.interrupted = True
        except Exception as error:  # noqa: BLE001 - raised again by `check`, in the main thread
            self._error = error

    def _reported(self, fraction: float, file: Path) -> None:
        if self._thread.stopping.is_set():
            raise InterruptedImportError
        self._report(fraction, file)


# ------------------------------------------------------------------ what became of the rows


def tell(
    session: Session, market: str, imported: "Imported", seconds: float, *, folded: bool, json: bool
) -> int:
    """Two lines that add up; returns the exit code."""
    for missing in imported.missing[:MISSING_SHOWN]:
        say(f"missing: {missing}")
    if len(imported.missing) > MISSING_SHOWN:
        say(f"missing: and {len(imported.missing) - MISSING_SHOWN:,} more such places")
    effect = _effect(session, market, imported) if folded else {"not_folded": imported.appended}
    if json:
        rows = {"rows": imported.rows, "ticks": imported.appended, "there": imported.there}
        rows |= {"other_symbols": imported.others, "bad_rows": imported.bad}
        shown: dict[str, Any] = rows | effect
        print_json(shown | {"records": imported.records, "missing": imported.missing, "seconds": seconds})
    else:
        say(
            f"{imported.rows:,} rows: {imported.appended:,} appended, {imported.there:,} there already,"
            f" {imported.others:,} of other symbols, {imported.bad:,} bad"
        )
        say(
            f"{imported.appended:,} appended: "
            + ", ".join(_WORDS[name].format(n) for name, n in effect.items())
        )
    if effect.get("late") or effect.get("not_foldable"):
        say("warning: trades are in no candle; see `tcpdashboard log candles` and `… log system`")
        return LATE
    return 0


_WORDS = {
    "in_candles": "{:,} in candles",
    "repeats": "{:,} repeats",
    "late": "{:,} too late for any candle",
    "not_foldable": "{:,} in records that could not be folded",
    "not_folded": "{:,} not folded yet",
}


def _effect(session: Session, market: str, imported: "Imported") -> dict[str, int]:
    """What the fold made of the rows that were appended."""
    from infra.db import queries
    from streams.records import partition_of

    partition = partition_of(market.encode(), session.log.partitions)
    fate = queries.fate(session.database, market, partition, imported.offsets)
    lost = _trades(session, partition, fate.dead)
    in_candles = imported.appended - fate.repeats - fate.late - lost
    effect = {"in_candles": in_candles, "repeats": fate.repeats, "late": fate.late}
    return effect | ({"not_foldable": lost} if lost else {})


def _trades(session: Session, partition: int, offsets: list[int]) -> int:
    """How many trades are in journal records."""
    from streams.codec import decode_input
    from streams.events import TickBatch
    from streams.ticks import trades, unpack
    from streams.topics import JOURNAL

    found = 0
    for offset in offsets:
        for record in session.log.read(JOURNAL, partition, offset, offset + 1):
            event = decode_input(record.value).event
            if isinstance(event, TickBatch):
                found += trades(unpack(event).kind)
    return found
