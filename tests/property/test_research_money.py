"""The compiled money of research equals the fold's, to the unit and the code, up to what neither can hold."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.fold import decide as fold_decide
from projections.fold import fills as fold_fills
from projections.fold import money as fold_money
from projections.fold.money import Account, MoneyOverflowError
from projections.research import decide, holding, money, tally
from projections.research.money import OVERFLOW
from streams.causes import Cause
from streams.events import Market, Sizing

Pick = Callable[[int, int], int]
"""An integer from low to high."""

ROOT = Path(__file__).parents[2]
MAX = money.INT64_MAX
W = np.zeros(money.SCRATCH, np.uint64)


def magnitude(pick: Pick, bits: int) -> int:
    """From 0 to below 2**bits, of any length alike."""
    return pick(0, 2 ** pick(0, bits) - 1)


def amount(pick: Pick) -> int:
    """What fits 64 bits, now and then just so, not below 0."""
    return magnitude(pick, 63) if pick(0, 15) else MAX - magnitude(pick, 40)


def signed(pick: Pick) -> int:
    return amount(pick) * (1 if pick(0, 3) else -1)


def a_market(pick: Pick) -> Market:
    wild = pick(0, 1)
    scales = [pick(0, 18) if wild else pick(0, 8) for _ in range(4)]
    contract = ("spot", "linear", "inverse")[pick(0, 2)]
    steps = 53 if wild else 4
    return Market(
        venue="test",
        symbol="X/Y",
        base="X",
        quote="Y",
        settle="X",
        contract=contract,
        price_scale=scales[0],
        size_scale=scales[1],
        cash_scale=scales[2],
        price_step=1 + magnitude(pick, steps),
        size_step=1 + magnitude(pick, steps),
        min_size=1 + magnitude(pick, steps),
        multiplier=1 + magnitude(pick, steps),
        multiplier_scale=scales[3],
        fee=pick(0, 1) * magnitude(pick, 26),
        slippage=pick(0, 1) * magnitude(pick, 26),
    )


def an_account(pick: Pick, market: Market, price: int) -> Account:
    """One that may have come about; its cost is near the value of what it holds, or anything."""
    position = signed(pick) if pick(0, 2) else 0
    cost = magnitude(pick, 63) if position else 0
    if position and pick(0, 1):
        near = fold_value(market, abs(position), price)
        cost = cost if near == OVERFLOW else min(near * pick(50, 150) // 100, MAX)
    cash = signed(pick)
    if cost and pick(0, 1):
        cash = min(cost * pick(0, 300) // 100, MAX)
    return Account(cash, position, cost, signed(pick), amount(pick))


def a_price(pick: Pick) -> int:
    return 1 + magnitude(pick, 53) if pick(0, 1) else pick(1, 10**7)


def fold_value(market: Market, size: int, price: int, *, up: bool = True) -> int:
    return told(lambda: fold_money.value(market, size, price, up=up))


def told(answer: Callable[[], int]) -> int:
    try:
        return answer()
    except MoneyOverflowError:
        return OVERFLOW


def vector(account: Account) -> np.ndarray:
    return np.array(account, np.int64)


def amounts_are_equal(pick: Pick) -> None:
    market, price, size = a_market(pick), a_price(pick), magnitude(pick, 63)
    m, cash, up, buy = money.constants(market), signed(pick), bool(pick(0, 1)), bool(pick(0, 1))
    assert money.value(m, W, size, price, up) == fold_value(market, size, price, up=up)
    assert money.fee(m, W, size, price) == told(lambda: fold_money.fee(market, size, price))
    assert money.size_for(m, W, cash, price) == told(lambda: fold_money.size_for(market, cash, price))
    assert money.slipped(m, W, price, buy) == fold_money.slipped(market, price, buy=buy)


def equities_are_equal(pick: Pick) -> None:
    market, price = a_market(pick), a_price(pick)
    account = an_account(pick, market, price)
    made = money.equity(money.constants(market), W, account.cash, account.position, account.cost, price)
    assert made == told(lambda: fold_money.equity(market, account, price))


def trades_are_equal(pick: Pick) -> None:
    market, price = a_market(pick), a_price(pick)
    account, buy, size = an_account(pick, market, price), bool(pick(0, 1)), a_size(pick, market)
    m, made = money.constants(market), vector(account)
    fits = money.affordable(m, W, made, size, price, buy)
    assert fits == told(lambda: fold_money.affordable(market, account, size, price, buy=buy))
    assert tuple(made) == account
    done = money.trade(m, W, made, size, price, buy)
    try:
        after, fee, realised = fold_money.trade(market, account, size, price, buy=buy)
    except MoneyOverflowError:
        after, fee, realised = account, 0, 0
        assert not done[0]
    else:
        assert done[0]
    assert (*made, *done[1:]) == (*after, fee, realised)


def a_size(pick: Pick, market: Market) -> int:
    size = 1 + magnitude(pick, 62)
    return max(size // market.size_step, 1) * market.size_step if pick(0, 3) else size


def decisions_are_equal(pick: Pick) -> str:
    market, price = a_market(pick), a_price(pick)
    account = an_account(pick, market, price)
    mode, scale = pick(0, 2), pick(0, 18)
    sizing = Sizing(decide.MODES[mode], magnitude(pick, 63) if pick(0, 1) else 10**scale, scale)
    standing = 0 if pick(0, 9) else pick(0, 3)
    short, holds = bool(pick(0, 2)), not pick(0, 4)
    target = a_target(pick)
    rules = fold_decide.Rules(decide.STANDINGS[standing], sizing, short, holds)
    expected = fold_decide.decide(market, rules, account, target, price)
    made = vector(account)
    executed, code, size = decide.decide(
        money.constants(market), W, made, standing, holds, short, mode, sizing.value, scale, target, price
    )
    assert (executed, decide.CODES[code], size) == expected
    assert tuple(made) == account
    return expected.code


def a_target(pick: Pick) -> float:
    kind = pick(0, 5)
    if kind < 3:
        return (-1.0, 0.0, 1.0)[kind]
    share = pick(0, 10**6) / 10**6 if kind < 5 else 2.0 ** -pick(0, 1074)
    return share * (1 if pick(0, 1) else -1)


def fills_are_equal(pick: Pick) -> str:
    market, price = a_market(pick), a_price(pick)
    account, buy, size = an_account(pick, market, price), bool(pick(0, 1)), a_size(pick, market)
    holds = not pick(0, 2)
    order = fold_fills.Waiting(Cause(0, 0, 0), buy, size, 0, 0, "signal")
    expected = fold_fills.fill(market, account, order, price, holds=holds)
    made = vector(account)
    done, at, filled, fee, realised, code = decide.fill(
        money.constants(market), W, made, buy, size, price, holds
    )
    word = None if code == decide.NO_CODE else decide.CODES[code]
    assert (at, filled, word) == (expected.price, expected.size, expected.rejected)
    assert done == (expected.traded is not None)
    after = fold_money.Traded(account, 0, 0) if expected.traded is None else expected.traded
    assert (*made, fee, realised) == (*after.account, after.fee, after.realised)
    return word or "filled"


EQUAL: list[Callable[[Pick], object]] = [
    amounts_are_equal,
    equities_are_equal,
    trades_are_equal,
    decisions_are_equal,
    fills_are_equal,
]


def hypothetical(test: Callable[[Pick], object]) -> Callable[[], None]:
    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        test(lambda low, high: data.draw(st.integers(low, high)))

    return run


test_values_fees_sizes_and_slipped_prices_are_the_folds = hypothetical(amounts_are_equal)
test_an_equity_is_the_folds = hypothetical(equities_are_equal)
test_what_is_affordable_and_what_a_trade_leaves_are_the_folds = hypothetical(trades_are_equal)
test_a_decision_is_the_folds = hypothetical(decisions_are_equal)
test_a_fill_is_the_folds = hypothetical(fills_are_equal)


def test_a_share_however_small_asks_for_the_folds_size() -> None:
    market = a_market(lambda low, high: min(high, 18))
    sizing = Sizing("amount", MAX, 0)
    rules = fold_decide.Rules("running", sizing, True)
    account = Account(MAX)
    sizes = set()
    for power in range(1075):
        expected = fold_decide.decide(market, rules, account, 2.0**-power, 1)
        made = decide.decide(
            money.constants(market), W, vector(account), 0, False, True, 0, MAX, 0, 2.0**-power, 1
        )
        assert (made[0], decide.CODES[made[1]], made[2]) == expected
        sizes.add(made[2])
    assert len(sizes) > 50


@pytest.mark.parametrize("equal", EQUAL[:3])
def test_ten_thousand_random_accounts_have_the_folds_money(equal: Callable[[Pick], None]) -> None:
    pick = random.Random(7).randint
    for _ in range(10_000):
        equal(pick)


def test_random_decisions_are_the_folds_whatever_their_code() -> None:
    pick = random.Random(1).randint
    seen = Counter(decisions_are_equal(pick) for _ in range(20_000))
    assert set(seen) == {
        "ok", "in_position", "closed_only", "bot_stopped", "bot_halted", "bankrupt", "stale_data",
        "short_not_allowed", "insufficient_cash", "too_small", "overflow",
    }  # fmt: skip


def test_random_fills_are_the_folds_whatever_becomes_of_them() -> None:
    pick = random.Random(2).randint
    seen = Counter(fills_are_equal(pick) for _ in range(20_000))
    assert set(seen) == {"filled", "stale_data", "insufficient_cash", "overflow", "cut_to_cash"}


def test_two_hundred_thousand_random_quotients_are_those_of_python() -> None:
    pick = random.Random(3).randint
    for _ in range(200_000):
        above = [pick(0, 2 ** pick(0, 63) - 1) for _ in range(4)]
        below = [pick(1, 2 ** pick(1, 63) - 1) for _ in range(4)]
        up = pick(0, 1) == 1
        numerator, denominator = np.prod(above, dtype=object), np.prod(below, dtype=object)
        exact = (numerator + (denominator - 1) * up) // denominator
        made = money.quotient(W, *above, *below, up)
        assert made == (exact if exact <= MAX else OVERFLOW), (above, below, up)


def test_without_a_compiler_the_same_code_gives_the_same() -> None:
    script = (
        "import random, numpy; from tests.property.test_research_money import EQUAL;"
        "numpy.seterr(over='ignore'); pick = random.Random(4).randint;"
        "[equal(pick) for equal in EQUAL for _ in range(500)]"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)


def test_the_words_of_a_decision_are_the_folds() -> None:
    assert tuple(fold_decide.WORDS) == decide.CODES


def test_what_is_cached_with_money_in_it_does_not_outlive_a_change_of_money() -> None:
    here = sha256(Path(money.__file__).read_bytes()).hexdigest()
    assert here == decide.MONEY_SHA256 == holding.MONEY_SHA256 == tally.MONEY_SHA256
