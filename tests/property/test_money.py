"""Money is exact: it balances to the unit, and equals the formulas in rational arithmetic."""

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.fold.money import (
    INT64_MAX,
    Account,
    MoneyOverflowError,
    affordable,
    equity,
    fee,
    size_for,
    slipped,
    trade,
    value,
)
from streams.events import E8, Contract, Market


def market(contract: Contract, *, fee: int = 75_000, slippage: int = 20_000) -> Market:
    return Market(
        venue="test",
        symbol="X/Y",
        base="X",
        quote="Y",
        settle="Y" if contract != "inverse" else "X",
        contract=contract,
        price_scale=2,
        size_scale=3,
        cash_scale=8,
        price_step=50,
        size_step=5,
        min_size=5,
        multiplier=3,
        multiplier_scale=1,
        fee=fee,
        slippage=slippage,
    )


CONTRACTS = st.sampled_from(["spot", "linear", "inverse"])
TRADES = st.lists(
    st.tuples(
        st.booleans(), st.integers(1, 10**6).map(lambda n: n * 5), st.integers(1, 10**6).map(lambda n: n * 50)
    ),
    max_size=30,
)


def exact_value(m: Market, size: int, price: int) -> Fraction:
    """The value in whole settle units, by the contract's definition."""
    multiplier = Fraction(m.multiplier, 10**m.multiplier_scale)
    amount, at = Fraction(size, 10**m.size_scale), Fraction(price, 10**m.price_scale)
    return amount * multiplier / at if m.contract == "inverse" else amount * multiplier * at


@given(CONTRACTS, st.integers(0, 2**60), st.integers(1, 2**53))
def test_a_value_is_the_exact_value_rounded_once(contract: Contract, size: int, price: int) -> None:
    m = market(contract)
    exact = exact_value(m, size, price) * 10**m.cash_scale
    for up, rounded in ((True, ceil(exact)), (False, floor(exact))):
        if rounded <= INT64_MAX:
            assert value(m, size, price, up=up) == rounded
        else:
            with pytest.raises(MoneyOverflowError, match=f"value of {rounded} exceeds 64 bits"):
                value(m, size, price, up=up)


@given(CONTRACTS, TRADES)
def test_cash_cost_fees_and_realised_profit_balance_after_any_trades(contract: Contract, trades) -> None:
    m, account = market(contract), Account(10**15)
    for buy, size, price in trades:
        account = trade(m, account, size, price, buy=buy).account
        assert account.cash + account.cost + account.fees - account.realised == 10**15
        assert account.cost >= 0
        assert (account.position == 0) <= (account.cost == 0)


@given(CONTRACTS, st.booleans(), st.integers(1, 10**5), st.integers(1, 10**5), st.integers(1, 10**5))
def test_a_round_trip_earns_what_the_contract_pays_less_fees_and_at_most_two_units(
    contract: Contract, buy: bool, steps: int, entry: int, exit_: int
) -> None:
    m, size, entry, exit_ = market(contract), steps * 5, entry * 50, exit_ * 50
    opened = trade(m, Account(10**18), size, entry, buy=buy)
    closed = trade(m, opened.account, size, exit_, buy=not buy)
    change = exact_value(m, size, exit_) - exact_value(m, size, entry)
    profit = change * (1 if buy else -1) * (-1 if contract == "inverse" else 1) * 10**m.cash_scale
    assert profit - 2 < closed.realised <= profit
    assert closed.account.position == 0
    assert closed.account.cost == 0
    assert closed.account.cash == 10**18 + closed.realised - opened.fee - closed.fee


@given(CONTRACTS, st.integers(0, 10**14), st.integers(1, 10**6))
def test_the_largest_size_for_a_sum_fits_and_one_step_more_does_not(
    contract: Contract, cash: int, price: int
) -> None:
    m, price = market(contract), price * 50
    size = size_for(m, cash, price)
    assert value(m, size, price, up=True) <= cash
    assert value(m, size + m.size_step, price, up=True) > cash
    assert size % m.size_step == 0


@given(CONTRACTS, TRADES, st.booleans(), st.integers(1, 10**7), st.integers(1, 10**6))
def test_an_affordable_order_leaves_no_debt_and_no_leverage(
    contract: Contract, trades, buy: bool, steps: int, price: int
) -> None:
    m, account, price = market(contract), Account(10**12), price * 50
    for side, size, at in trades[:3]:
        fits = affordable(m, account, size, at, buy=side)
        account = trade(m, account, fits, at, buy=side).account if fits else account
    before = account
    size = affordable(m, account, steps * 5, price, buy=buy)
    assert 0 <= size <= steps * 5
    if not size:
        return
    after = trade(m, account, size, price, buy=buy).account
    opens = abs(after.position) > abs(before.position) or (after.position > 0) != (before.position > 0)
    if after.position and opens:
        assert after.cash >= 0
        assert value(m, abs(after.position), price, up=False) <= equity(m, after, price) + 1


@given(CONTRACTS, st.integers(1, 10**9), st.booleans())
def test_slippage_moves_the_price_against_the_bot_onto_the_step(
    contract: Contract, ticks: int, buy: bool
) -> None:
    m, price = market(contract), ticks * 50
    at = slipped(m, price, buy=buy)
    moved = Fraction(price) * (E8 + m.slippage * (1 if buy else -1)) / E8
    assert at % m.price_step == 0
    assert at >= moved if buy else at <= max(moved, m.price_step)
    assert abs(at - moved) < m.price_step or at == m.price_step


@given(CONTRACTS, st.integers(1, 10**8), st.integers(1, 10**8))
def test_a_fee_is_its_share_of_the_value_rounded_up(contract: Contract, size: int, price: int) -> None:
    m = market(contract)
    assert fee(m, size, price) == ceil(Fraction(value(m, size, price, up=True) * m.fee, E8))
