"""Many seeded runs, and a table of them by venue and fault.

python -m tests.venues.soak                            300 runs over all venues
python -m tests.venues.soak --venue binance --seed 7   one of them again
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from infra.exchange.venues.known import VENUES
from infra.strategies.registry import load_strategies
from tests.venues.seeded import Outcome, one_run

RUNS = 300


def table(outcomes: Iterable[Outcome]) -> str:
    """Runs that are right, of all, by fault and venue; those of `mixed` have several."""
    outcomes = list(outcomes)
    venues = sorted({outcome.venue for outcome in outcomes})
    groups: defaultdict[str, defaultdict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        groups[outcome.title][outcome.venue].append(outcome)
        groups["all"][outcome.venue].append(outcome)
        if outcome.killed:
            groups["killed"][outcome.venue].append(outcome)
        if outcome.lost:
            groups["lost for good"][outcome.venue].append(outcome)
    last = ("mixed", "killed", "lost for good", "all")
    order = [*sorted(name for name in groups if name not in last), *(name for name in last if name in groups)]
    lines = [f"| {'fault':17s} | " + " | ".join(f"{venue:>9s}" for venue in venues) + " |"]
    lines += ["|" + "---|" * (len(venues) + 1)]
    for name in order:
        cells = (
            f"{sum(not o.wrong for o in groups[name][venue])} of {len(groups[name][venue])}"
            for venue in venues
        )
        lines.append(f"| {name:17s} | " + " | ".join(f"{cell:>9s}" for cell in cells) + " |")
    return "\n".join(lines)


def main(venues: list[str], seeds: Iterable[int]) -> int:
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        strategies = load_strategies(Path(folder), [])
        for seed in seeds:
            for venue in venues:
                outcomes.append(outcome := one_run(venue, seed, strategies))
                told = f"{outcome.spent_s:5.1f} s, {outcome.missing} of {outcome.trades} missing"
                print(f"{'wrong' if outcome.wrong else 'right'}: {outcome}: {told}", flush=True)
                for words in outcome.wrong:
                    print(f"    {words}", flush=True)
    print(table(outcomes))
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--venue", choices=list(VENUES))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--first", type=int, default=0, help="seed")
    given = parser.parse_args()
    asked = [given.venue] if given.venue else list(VENUES)
    chosen = (
        range(given.first, given.first + given.runs // len(asked)) if given.seed is None else [given.seed]
    )
    sys.exit(main(asked, chosen))
