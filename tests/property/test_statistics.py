"""Statistics of runs: those of empyrical where it defines them, exact where they are money, and never NaN."""

import math
from collections.abc import Sequence

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.fold.money import Account, affordable, trade
from projections.research.daily import DAILY, DAY_NS, daily, days_of
from projections.research.round_trips import round_trips
from projections.research.statistics import DEFINITIONS, metrics
from streams.events import Contract
from tests.property.test_money import CONTRACTS, TRADES, market
from tests.research import FILL, INITIAL, MINUTE, START, curve, fills_of

EQUITIES = st.lists(st.integers(10**7, 10**11), min_size=2, max_size=40)
ANY = st.lists(st.integers(-(10**6), 10**6) | st.integers(-(2**62), 2**62), max_size=40)


def row_of(equity: Sequence[int], annualise: float = 365.0) -> dict[str, float]:
    row = np.empty(len(DAILY))
    daily(np.array(equity, np.int64), INITIAL, annualise, row)
    return dict(zip(DAILY, row.tolist(), strict=True))


@settings(deadline=None)
@given(EQUITIES, st.sampled_from([365, 252]))
def test_the_numbers_of_days_are_those_of_empyrical(equity: list[int], annualise: int) -> None:
    levels = np.array([INITIAL, *equity], np.float64)
    returns = levels[1:] / levels[:-1] - 1.0
    ours = row_of(equity, annualise)
    with np.errstate(all="ignore"):
        theirs = {
            "return": empyrical.cum_returns_final(returns),
            "cagr": empyrical.annual_return(returns, annualization=annualise),
            "volatility": empyrical.annual_volatility(returns, annualization=annualise),
            "sharpe": empyrical.sharpe_ratio(returns, annualization=annualise),
            "sortino": empyrical.sortino_ratio(returns, annualization=annualise),
            "calmar": empyrical.calmar_ratio(returns, annualization=annualise),
            "max_drawdown_days": empyrical.max_drawdown(returns),
        }
    for name, their in theirs.items():
        expected = float(their) if np.isfinite(their) else math.nan
        assert ours[name] == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True), name


@settings(deadline=None)
@given(EQUITIES)
def test_the_numbers_of_days_do_not_depend_on_the_length_of_bars(equity: list[int]) -> None:
    whole = curve(equity, step=DAY_NS)
    between = [[e] * 5 + [now] for e, now in zip([INITIAL, *equity], equity, strict=False)]
    parts = curve([e for day in between for e in day], step=DAY_NS // 6)
    none = np.zeros(0, FILL)
    long, short = (metrics(c, none, round_trips(none), market("spot")).values for c in (whole, parts))
    assert {name: long[name] for name in ("days", *DAILY)} == {name: short[name] for name in ("days", *DAILY)}


@settings(deadline=None)
@given(
    ANY, st.integers(1, 10**6) | st.sampled_from([0, 2**62]), st.sampled_from([MINUTE, DAY_NS // 4, DAY_NS])
)
def test_every_number_is_finite_or_none_with_words(equity: list[int], initial: int, step: int) -> None:
    none = np.zeros(0, FILL)
    run = curve(equity, step=step)._replace(initial=initial)
    values, why = metrics(run, none, round_trips(none), market("spot"))
    assert list(values) == list(DEFINITIONS)
    assert all(value is None or math.isfinite(value) for value in values.values())
    assert {name for name, value in values.items() if value is None} == set(why)
    assert all(why.values())


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_the_deepest_fall_is_that_of_all_pairs_of_bars(equity: list[int]) -> None:
    run = curve(equity)._replace(initial=20)
    levels = [20, *equity]
    falls = [min(now / max(levels[: i + 1]) - 1.0 for i, now in enumerate(levels))]
    none = np.zeros(0, FILL)
    found = metrics(run, none, round_trips(none), market("spot")).values
    assert found["max_drawdown"] == min(falls)
    if min(falls) < 0:
        peak, bottom, again = (
            len(levels) if found[name] is None else (int(found[name]) - START) // MINUTE
            for name in ("drawdown_start", "drawdown_bottom", "drawdown_recovery")
        )
        assert levels[peak] == max(levels[: bottom + 1])
        assert levels[bottom] / levels[peak] - 1.0 == min(falls)
        assert all(level < levels[peak] for level in levels[peak + 1 : again])
        assert again == len(levels) or levels[again] >= levels[peak]
    heights = [i for i, level in enumerate(levels) if level >= max(levels[: i + 1])]
    gaps = [
        later - at for at, later in zip(heights, [*heights[1:], len(equity)], strict=True) if later - at > 1
    ]
    last = len(equity) - heights[-1]
    assert found["under_water"] == MINUTE * max([0, *gaps, last])


@settings(deadline=None)
@given(CONTRACTS, TRADES)
def test_round_trips_hold_every_unit_of_profit_and_fee(
    contract: Contract, trades: list[tuple[bool, int, int]]
) -> None:
    m = market(contract)
    account = Account(10**12)
    wanted: list[tuple[bool, int, int]] = []
    for buy, most, price in trades:
        size = affordable(m, account, most, price, buy=buy)
        if size:
            wanted.append((buy, size, price))
            account = trade(m, account, size, price, buy=buy).account
    fills = fills_of(m, Account(10**12), wanted)
    trips = round_trips(fills)
    assert (sum(trips["realised"].tolist()), sum(trips["fees"].tolist())) == (account.realised, account.fees)
    closed = trips[trips["closed"] >= 0]
    assert len(trips) - len(closed) == (account.position != 0)
    if not account.position:
        assert sum(closed["net"].tolist()) == account.cash - 10**12
    # the same, trip by trip: a fill that turns the position is cut in two
    by_hand: list[tuple[int, int]] = []
    for fill in fills:
        signed = int(fill["size"] if fill["buy"] else -fill["size"])
        if fill["closes"]:
            closes = abs(int(fill["position"]) - signed)
            part = -(-int(fill["fee"]) * closes // abs(signed))
            net, paid = by_hand[-1]
            by_hand[-1] = (net + int(fill["realised"]), paid + part)
            if fill["opens"]:
                by_hand.append((0, int(fill["fee"]) - part))
        elif fill["opens"]:
            by_hand.append((0, int(fill["fee"])))
        else:
            net, paid = by_hand[-1]
            by_hand[-1] = (net + int(fill["realised"]), paid + int(fill["fee"]))
    assert [(int(t["realised"]), int(t["fees"])) for t in trips] == by_hand


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=50, unique=True))
def test_each_day_has_the_last_bar_up_to_its_midnight(ends: list[int]) -> None:
    ends = sorted(ends)
    days = days_of(np.array(ends, np.int64))
    midnights = list(range(-(-ends[0] // DAY_NS) * DAY_NS, -(-ends[-1] // DAY_NS) * DAY_NS + 1, DAY_NS))
    assert days.ends.tolist() == midnights
    assert days.last.tolist() == [max(i for i, end in enumerate(ends) if end <= m) for m in midnights]
