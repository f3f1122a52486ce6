"""`replay` and `verify`: the fold again, without Faust."""

import difflib
import json as json_lines
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import to_builtins

from api.cli.failures import CommandFailedError, refusing
from api.cli.options import From, Json, To, time_of
from api.cli.output import print_json, print_table, progress, say
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.commands.manager import BotSpec
    from infra.process.settings import Settings
    from infra.upkeep.comparing import Unequal
    from infra.upkeep.fresh_home import Plan
    from projections.audit.anchors import Anchor
    from projections.audit.verify import Difference, State, Verified
    from streams.log import Log

UNEQUAL_MAX = 1_000
UNPROVEN = 3
"""Exit code of a verification that had nothing to compare."""
WORKER_HEADERS = ("epoch", "code")
BOTS_SHOWN = ("bot_id", "market", "strategy", "timeframe", "params", "status", "trades", "equity", "currency")


def replay(
    into: Annotated[
        Path, typer.Option("--into", help="Folder of the fresh home, without a log yet.", file_okay=False)
    ],
    after: From = None,
    until: To = None,
    bot: Annotated[
        list[str] | None,
        typer.Option(
            "--bot",
            metavar="BOT",
            help="In place of the recorded: 'sma_cross fast=7 slow=31 timeframe=1m cash=100000'; repeatable.",
        ),
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="With --from: do not warm the bots on what lies before it.")
    ] = False,
    json: Json = False,
) -> None:
    """Fold the journal again from nothing into a fresh home: with its bots, or with others.

    The bots of a range (--from) begin at its edge, with their initial cash, and warmed on the candles before
    it; the copy then begins with the last candle before the range. What is refused leaves nothing behind.
    """
    after_ns, until_ns = time_of(after, "--from"), time_of(until, "--to")
    if after_ns is not None and until_ns is not None and after_ns >= until_ns:
        raise CommandFailedError(f"--from {after} is not before --to {until}: the range is empty")
    if cold and after is None:
        raise CommandFailedError("--cold is for a range: name its beginning with --from")
    with Session() as session:
        from infra.upkeep.fresh_home import Range, plan_copy

        settings = _fresh(session, into)
        bots, total = _bots(session.log, bot), _journal_records(session.log)
        span = Range(after_ns, until_ns)
        with progress("looking what lies before", total) as advance:
            plan = plan_copy(session.log, session.strategies, span, bots, warm=not cold, progress=advance)
        with _whole_or_not_at_all(into):
            result = _replayed(session, settings, plan)
    if result["left_out"]:
        say(
            f"{result['left_out']} records hold no event, and so no time within the range: they were left out"
        )
    if json:
        print_json(result)
        return
    print_table(result["bots"], BOTS_SHOWN)
    say(
        f"{result['ticks']:,} ticks folded in {result['seconds']:.2f} s ({result['ticks_per_s']:,}/s) into"
        f" {into}; look at it with TCPD_HOME={into}"
    )


def anchor(
    append: Annotated[
        Path | None, typer.Option("--append", metavar="FILE", help="Write it behind what this file holds.")
    ] = None,
) -> None:
    """The chain of every stream but the ledger's up to now, as text, to be kept where nobody who can write
    here can write.

    `verify --anchor FILE` finds by it what was forged with everything that follows from it.
    """
    with Session() as session:
        from infra.worker.anchoring import append_anchor
        from projections.audit.anchors import Chains

        text = Chains(session.log, {}).text()
        if append is None:
            typer.echo(text, nl=False)
        else:
            append_anchor(append, text)


def verify(
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", metavar="FILE", help="Fail where the log does not contain its chains."),
    ] = None,
    database: Annotated[
        bool, typer.Option("--database", help="Compare the database too, up to what it has read.")
    ] = False,
    json: Json = False,
) -> None:
    """Fold the journal again in memory and compare every derived record with the recorded one.

    Values, keys, times and headers are compared, the newest snapshots, and that no stream ends before what
    snapshots, commits and the database say was read of it.

    Every record of every stream but the ledger of trials is read and held against its checksum; all that are
    damaged are named.

    Exit code 0: all is equal. 1: something differs, is missing or damaged. 3: nothing is folded, or nothing
    follows from it, so nothing was compared and nothing is proven.
    """
    began = time.monotonic()
    with Session() as session:
        from infra.upkeep.witnesses import witnesses
        from projections.audit.verify import verify as verify_log

        log, total = session.log, _journal_records(session.log)
        asked = witnesses(log, session.settings.database_url, say)
        anchors = _anchors(anchor)
        with progress("verifying", total) as advance:
            result = verify_log(log, session.strategies, lambda p: _state(log, p), asked, anchors, advance)
        worker = {} if result.difference is None else _worker(log, result.difference)
        unequal = _unequal(session) if database and result.equal else []
    if json:
        cells = {"database": [one._asdict() for one in unequal]} if database else {}
        print_json(_verified(result, worker) | cells)
    else:
        _print_found(result, unequal)
    if not result.equal:
        raise CommandFailedError(_message(result, worker))
    if unequal:
        raise CommandFailedError(_altered(unequal))
    if not result.proven:
        say(_unproven(result))
        raise typer.Exit(UNPROVEN)
    if not json:
        _say_equal(result)
        if database:
            say("the database holds what the log gives, up to what it has read")
        say(f"{result.records:,} journal records in {time.monotonic() - began:.2f} s")


# ------------------------------------------------------------------ replay


def _bots(log: "Log", given: list[str] | None) -> "list[BotSpec] | None":
    if given is None:
        return None
    from infra.commands.journal_view import view
    from infra.upkeep.fresh_home import bot_of

    views = [view(log, partition) for partition in range(log.partitions)]
    markets = {key: market for seen in views for key, market in seen.markets.items()}
    return [bot_of(text, markets) for text in given]


def _fresh(session: Session, into: Path) -> "Settings":
    """Settings of the fresh home. Raises `CommandFailedError` where one is already."""
    from dataclasses import replace

    if (into / "log").exists() or (into / "projections.db").exists():
        raise CommandFailedError(f"{into} holds a log already; choose a folder that is not there yet")
    return replace(session.settings.in_home(into.absolute()), partitions=session.log.partitions)


@contextmanager
def _whole_or_not_at_all(into: Path) -> Iterator[None]:
    """Make the folder; whatever fails takes away what was written there."""
    import shutil

    there = set(into.iterdir()) if into.is_dir() else None
    into.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for made in set(into.iterdir()) - (there or set()):
            if made.is_dir():
                shutil.rmtree(made, ignore_errors=True)
            else:
                made.unlink(missing_ok=True)
        if there is None:
            into.rmdir()
        raise


def _replayed(session: Session, settings: "Settings", plan: "Plan") -> dict[str, Any]:
    from infra.upkeep.fresh_home import copy_journal, fold_home
    from streams.backends import open_bare_log

    bare = open_bare_log(settings.log_url, partitions=settings.partitions)
    with closing(bare) as empty, progress("copying the journal", _journal_records(session.log)) as advance:
        copied = copy_journal(session.log, empty, plan, advance)
    with Session(settings) as target:
        began = time.monotonic()
        with progress("folding", _journal_records(target.log)) as advance:
            fold_home(target.log, session.strategies, advance)
        seconds = time.monotonic() - began
        _project(target)
        return {
            "ticks": copied.ticks,
            "records": _journal_records(target.log),
            "left_out": copied.left_out,
            "seconds": round(seconds, 3),
            "ticks_per_s": round(copied.ticks / max(seconds, 1e-9)),
            "bots": _summary(target),
        }


def _project(target: Session) -> None:
    from infra.upkeep.rebuild import rebuild

    rebuild(target.log, target.settings.database_url)


def _journal_records(log: "Log") -> int:
    from streams.topics import JOURNAL

    return sum(log.highwater(JOURNAL, p) - log.earliest(JOURNAL, p) for p in range(log.partitions))


def _summary(target: Session) -> list[dict[str, Any]]:
    from infra.db import queries
    from infra.db.pages import Window, every
    from infra.present import facts

    database = target.database

    def trades(bot_id: int) -> int:
        return sum(1 for _ in every(lambda window: queries.fills(database, bot_id, window), Window()))

    names = ("bot_id", "name", "market", "strategy", "timeframe", "params", "status", "equity", "currency")
    bots = map(facts.bot, every(lambda window: queries.bots(database, window), Window()))
    return [{name: bot[name] for name in names} | {"trades": trades(bot["bot_id"])} for bot in bots]


# ------------------------------------------------------------------ verify


def _say_equal(result: "Verified") -> None:
    counts = ", ".join(f"{count:,} {topic}" for topic, count in result.compared.items())
    say(f"equal: {counts}; {result.repeats} repeats hidden; state {result.state_hash[:16]}")
    if result.states_unchecked:
        say(
            f"{result.states_unchecked} state hashes could not be compared: they are of another version"
            " of the fold's state; the journal's hashes beside them are equal"
        )
    if result.behind:
        say(
            f"{result.behind} journal records are not folded yet: nothing is recorded and nothing is"
            " proven of them"
        )


def _anchors(file: Path | None) -> "list[Anchor]":
    if file is None:
        return []
    from projections.audit.anchors import anchors_in

    with refusing():
        return anchors_in(file.read_text(encoding="utf-8", errors="replace"), str(file))


def _state(log: "Log", partition: int) -> "State | None":
    from streams.snapshots import latest

    snapshot = latest(log, partition, say)
    return None if snapshot is None or snapshot.state is None else (snapshot.applied, snapshot.state)


def _unequal(session: Session) -> "list[Unequal]":
    """What differs in the database, at most `UNEQUAL_MAX` cells and rows."""
    from infra.upkeep.comparing import compare

    return list(islice(compare(session.log, session.settings.database_url), UNEQUAL_MAX))


def _altered(unequal: "list[Unequal]") -> str:
    more = len(unequal) - 1
    also = f"; and {more} more{' at least' if len(unequal) == UNEQUAL_MAX else ''}" if more else ""
    return f"database: {unequal[0]}{also}; `tcpdashboard rebuild` makes it anew from the log"


def _worker(log: "Log", difference: "Difference") -> dict[str, str]:
    """Who wrote a record that differs, by its headers: `epoch` of the worker and hash of its `code`."""
    if difference.offset is None:
        return {}
    place = (difference.topic, difference.partition, difference.offset)
    record = next(log.read(*place, difference.offset + 1), None)
    headers = {} if record is None else dict(record.headers)
    return {name: headers[name].decode(errors="replace") for name in WORKER_HEADERS if name in headers}


def _unproven(result: "Verified") -> str:
    """Plain message for a home that nobody seems to have folded."""
    from infra.present.values import iso

    if not result.records:
        return "nothing is proven: the journal is empty"
    message = (
        f"nothing is proven: of {result.records:,} journal records {result.behind:,} are not folded, as far"
        " as derived streams, snapshots, commits and the database tell, and from the others no event follows:"
        " there is nothing to compare"
    )
    if not result.started:
        return f"{message}; no worker was ever started here"
    last = iso(max(result.started.values()))
    return f"{message}; yet {len(result.started)} workers were started here, the last at {last}"


def _verified(result: "Verified", worker: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "equal": result.equal,
        "proven": result.equal and result.proven,
        "compared": result.compared,
        "repeats": result.repeats,
        "behind": result.behind,
        "records": result.records,
        "states_unchecked": result.states_unchecked,
        "state_hash": result.state_hash,
        "damaged": [to_builtins(damage) for damage in result.damaged],
    }
    if result.difference is not None:
        d = result.difference
        found["difference"] = {
            **{name: getattr(d, name) for name in ("topic", "partition", "offset", "cause", "why")},
            "worker": worker,
            "expected": _version(d, d.expected),
            "found": _version(d, d.found),
        }
    return found


def _message(result: "Verified", worker: dict[str, str]) -> str:
    parts: list[str] = []
    if result.damaged:
        first = result.damaged[0]
        place = f"{first.topic}:{first.partition}:{first.offset}"
        count = len(result.damaged)
        parts.append(f"{place}: {first.why}" + (f"; and {count - 1} more like it" if count > 1 else ""))
    if result.difference is not None:
        parts.append(_difference(result.difference, worker))
    return "; ".join(parts)


def _difference(difference: "Difference", worker: dict[str, str]) -> str:
    offset = "" if difference.offset is None else f":{difference.offset}"
    by = ", ".join(f"{name} {value}" for name, value in worker.items())
    return (
        f"{difference.topic}:{difference.partition}{offset} (cause {difference.cause}"
        f"{f', written by a worker of {by}' if by else ''}): {difference.why};"
        " the log was altered or damaged there: restore it from a copy"
    )


def _version(difference: "Difference", value: bytes | None) -> list[dict[str, Any]] | None:
    """The events of one version of a record; None where there is none."""
    if value is None:
        return None
    from infra.present.records import decoded
    from streams.records import Record

    record = Record(difference.topic, difference.partition, difference.offset or 0, 0, None, value)
    return [{"cause": cause, "type": kind, "event": event} for cause, kind, event in decoded(record)]


def _print_found(result: "Verified", unequal: "list[Unequal]") -> None:
    for damage in result.damaged:
        typer.echo(f"{damage.topic}:{damage.partition}:{damage.offset}: {damage.why}")
    if result.difference is not None:
        _print_versions(result.difference)
    for one in unequal:
        typer.echo(str(one))


def _print_versions(difference: "Difference") -> None:
    """Both versions as a diff, an event a line; of equal events their bytes."""
    versions = (_version(difference, difference.expected), _version(difference, difference.found))
    texts = [[json_lines.dumps(event, ensure_ascii=False) for event in version or []] for version in versions]
    if texts[0] == texts[1]:
        values = (difference.expected, difference.found)
        texts = [[value.hex()] if value is not None else [] for value in values]
    names = {"fromfile": "from the journal", "tofile": "recorded"}
    for line in difflib.unified_diff(texts[0], texts[1], **names, lineterm="", n=0):
        typer.echo(line)
