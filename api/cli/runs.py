"""`runs`: the ledger of trials, what was ever run over history."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.failures import FAILED, CommandFailedError, refusing
from api.cli.options import Json
from api.cli.output import print_json, print_rows, print_table, say
from api.cli.research import refusing_lookups, strategies_aside
from api.cli.session import Session

if TYPE_CHECKING:
    from infra.research.trials import Trial

app = typer.Typer(help="The ledger of trials: every backtest and sweep.", no_args_is_help=True)
TrialId = Annotated[int, typer.Argument(metavar="ID", help="See `runs list`.")]
LISTED = ("id", "at", "state", "kind", "market", "timeframe", "strategy", "sets", "sharpe", "who")
BEST = 10
NOTHING_TO_COMPARE = 3


@app.command("list")
def list_(json: Json = False) -> None:
    """All trials, newest first; of each its best Sharpe."""
    with Session() as session:
        rows = [_listed(trial) for trial in reversed(_trials(session).values())]
        if not json:
            rows = [
                row | {"sharpe": "\u2013" if (best := row["sharpe"]) is None else f"{best:.2f}"}
                for row in rows
            ]
        print_rows(rows, LISTED, json=json)


@app.command()
def show(trial: TrialId, json: Json = False) -> None:
    """What was asked of a trial, and what came of it."""
    with Session() as session:
        found = _one(_trials(session), trial)
        shown = _shown(found)
        if json:
            print_json({**shown, "sets": [_set(found, *row) for row in found.rows()]})
            return
        print_table(
            ({"what": k, "value": v} for k, v in shown.items() if v not in (None, "", [])), ("what", "value")
        )
        _print_best(found)


@app.command()
def compare(one: TrialId, other: TrialId, json: Json = False) -> None:
    """What was asked otherwise in two trials, and which numbers differ in the sets that both have."""
    with Session() as session:
        from infra.research.ledger import in_words
        from infra.research.trials import differing

        known = _trials(session)
        both = _one(known, one), _one(known, other)
        found = differing(*both)
    asked = {name: {"one": mine, "other": theirs} for name, (mine, theirs) in found.asked.items()}
    numbers = {
        name: {
            "sets": count,
            "one": _as_shown(both[0], name, mine),
            "other": _as_shown(both[1], name, theirs),
        }
        for name, (count, mine, theirs) in found.numbers.items()
    }
    if json:
        print_json({"asked": asked, "common": found.common, "equal": found.equal, "numbers": numbers})
        return
    if asked:
        print_table([{"asked": k, **v} for k, v in asked.items()], ("asked", "one", "other"))
    say("" if asked else "The same was asked of both.")
    both_have = f"{in_words(found.common)} {'is' if found.common == 1 else 'are'} in both"
    say(f"{both_have}, {found.equal:,} of them equal in every number.")
    if numbers:
        say("In so many of them a number differs; its values are those of the first such set.")
        print_table([{"number": k, **v} for k, v in numbers.items()], ("number", "sets", "one", "other"))


@app.command()
def again(trial: TrialId, json: Json = False) -> None:
    """Run a trial once more from what stands in the ledger, and say whether it gives the same bytes.

    Exit code 0: it does. 1: it does not, or cannot be run. 3: the trial has no results to compare with.
    """
    with Session() as session, refusing_lookups(), refusing(), strategies_aside():
        from infra.research.again import again as run_again

        known, ledger = _trials(session), session.ledger
        assert ledger is not None
        done = run_again(ledger, _one(known, trial), session.strategies)
    versions = {name: {"then": then, "now": now} for name, (then, now) in done.versions.items()}
    if json:
        print_json({"again": trial, "trial": done.entry.trial, "same": done.same, "versions": versions})
    for name, both in versions.items():
        say(f"{name} is {both['now'] or 'of a checkout'} now, and was {both['then'] or 'of a checkout'}")
    words = {True: "it gives the same bytes", False: "it gives other bytes", None: "nothing to compare with"}
    say(f"trial {trial} again, as trial {done.entry.trial}: {words[done.same]}")
    if done.entry.lacking:
        say(f"! {done.entry.lacking}")
    if not done.same or done.entry.lacking:
        raise typer.Exit(NOTHING_TO_COMPARE if done.same is None else FAILED)


def _trials(session: Session) -> "dict[int, Trial]":
    from infra.research.ledger import MAKE_ONE
    from infra.research.trials import trials_of

    ledger = session.ledger
    if ledger is None:
        raise CommandFailedError(
            f"there is no home in {session.settings.home}, so no trial is recorded. {MAKE_ONE}"
        )
    found = trials_of(ledger)
    for words in found.unread:
        say(f"! {words}")
    return found.known


def _one(known: "dict[int, Trial]", trial: int) -> "Trial":
    if trial not in known:
        raise CommandFailedError(f"there is no trial {trial}; `tcpdashboard runs list` shows those there are")
    return known[trial]


def _listed(trial: "Trial") -> dict[str, Any]:
    from infra.present.values import iso

    started = trial.started
    return {
        "id": trial.id,
        "at": iso(started.at // 1_000_000 * 1_000_000),
        "state": trial.state,
        "kind": f"{started.kind}, look" if started.look else started.kind,
        "market": started.market,
        "timeframe": started.timeframe,
        "strategy": " ".join(started.strategies),
        "sets": started.sets,
        "sharpe": trial.best(),
        "who": started.who,
    }


def _shown(trial: "Trial") -> dict[str, Any]:
    from infra.present.values import event_to_json, iso

    resumed = [iso(start.at) for start in trial.starts[1:]]
    return {"id": trial.id, "state": trial.state, **event_to_json(trial.started), "resumed": resumed}


def _set(trial: "Trial", params: dict[str, Any], row: Any) -> dict[str, Any]:
    values, error = row
    metrics = {name: _as_shown(trial, name, value) for name, value in values.items()}
    return {"params": params, "metrics": metrics, "error": error}


def _as_shown(trial: "Trial", name: str, value: Any) -> Any:
    """A metric as `backtest --json` shows it; one that this release does not know as it is."""
    from infra.research.result import shown
    from projections.research.statistics import DEFINITIONS

    return shown(name, value, trial.parts[0].cash_scale) if name in DEFINITIONS else value


def _print_best(trial: "Trial") -> None:
    from infra.research.result import in_words
    from infra.research.swept import beside_metrics

    rows = sorted(trial.rows(), key=lambda one: -(one[1][0].get("sharpe") or -1e300))
    if not rows:
        return
    end = trial.parts[0]
    table: list[dict[str, Any]] = []
    for params, (values, error) in rows[:BEST]:
        told = {
            name: "\u2013" if value is None else in_words(name, value, end.cash_scale, end.settle)
            for name in ("sharpe", "return", "hold_return", "max_drawdown", "trades")
            for value in [values.get(name)]
        }
        table.append({**beside_metrics(params), **told, "error": error})
    print_table(table, table[0])
    if len(rows) > BEST:
        say(f"… and {len(rows) - BEST:,} more; --json has all")
