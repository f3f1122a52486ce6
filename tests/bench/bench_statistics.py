"""The numbers of a year of minutes in milliseconds: run by `python -m tests.bench.bench_statistics`.

*All numbers*: those of days, bars, trades and buy and hold. *Days*: the part that a sweep takes of each set.
"""

import numpy as np
from msgspec.structs import replace

from projections.fold.money import Account, equity_at
from projections.research.daily import DAILY, daily, days_of
from projections.research.holding import bought
from projections.research.round_trips import Fills, round_trips
from projections.research.statistics import Curve, metrics
from streams.events import Market
from tests.bench.timing import best
from tests.research import INITIAL, INVERSE, MINUTE, START, fills_of

BARS, TURNS = 525_600, 7_876


def main() -> None:
    market = replace(INVERSE, fee=5_000, cash_scale=8)
    run, fills = year(market)
    trips = round_trips(fills)
    held = bought(market, run.initial, int(run.closes[0]), 0)
    days = days_of(run.ends)
    at_days, row = run.equity[days.last], np.empty(len(DAILY))
    print(f"{BARS:,} bars, {len(fills):,} fills; best of 20 rounds, ms")
    for name, work in {
        "all numbers": lambda: metrics(run, fills, trips, market, held),
        "round trips": lambda: round_trips(fills),
        "days": lambda: daily(at_days, run.initial, 365.0, row),
    }.items():
        taken = best(work, rounds=20)
        print(f"{name:20s} {taken.wall_s * 1e3:8.3f}   load {taken.load:.1f}")


def year(market: Market) -> tuple[Curve, Fills]:
    """A random walk, and a bot that turns now and then."""
    chance = np.random.default_rng(5)
    ends = START + MINUTE * np.arange(1, BARS + 1, dtype=np.int64)
    closes = 40_000 + 5 * np.cumsum(chance.integers(-3, 4, BARS))
    closes = np.maximum(closes, 10_000)
    at = np.linspace(10, BARS - 10, TURNS).astype(np.int64)
    trades = [(k % 2 == 0, 1_000 if k == 0 else 2_000, int(closes[i])) for k, i in enumerate(at)]
    fills = fills_of(market, Account(INITIAL), trades)
    equity, position = np.full(BARS, INITIAL, np.int64), np.zeros(BARS, np.int64)
    for k, i in enumerate(at):
        to = at[k + 1] if k + 1 < TURNS else BARS
        account = Account(*(int(fills[k][name]) for name in ("cash", "position", "cost")))
        position[i:to] = account.position
        equity[i:to] = [equity_at(market, price)(account) for price in closes[i:to].tolist()]
    return Curve(ends, closes, equity, position, INITIAL, START), fills


if __name__ == "__main__":
    main()
