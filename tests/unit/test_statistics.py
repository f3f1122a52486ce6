"""Statistics of runs: small ones by hand, and what is said where there is no number."""

import numpy as np
import pytest
from msgspec.structs import replace

from projections.fold.money import Account
from projections.research.holding import bought, rescaled, worth
from projections.research.round_trips import TooLargeError, round_trips
from projections.research.round_trips import rescaled as rescaled_fills
from projections.research.statistics import DEFINITIONS, Curve, Metrics, metrics
from streams.events import Market
from tests.research import FILL, INITIAL, INVERSE, MINUTE, SPOT, START, curve, fills_of

DAY = 86_400_000_000_000
NONE = np.zeros(0, FILL)
NOT_HELD = "there was no price to buy at, not the cash for the smallest size, or an amount exceeds 64 bits"


def of(run: Curve, fills: np.ndarray = NONE, market: Market = SPOT, annualise: float = 365) -> Metrics:
    return metrics(run, fills, round_trips(fills), market, None, annualise)


def test_three_days_by_hand() -> None:
    values, _ = of(curve([110, 99, 121], step=DAY, initial=100))
    changes = [0.1, -0.1, 121 / 99 - 1]
    mean = sum(changes) / 3
    deviation = (sum((c - mean) ** 2 for c in changes) / 2) ** 0.5
    assert values["days"] == 3
    assert values["return"] == pytest.approx(0.21)
    assert values["cagr"] == pytest.approx(1.21 ** (365 / 3) - 1)
    assert values["volatility"] == pytest.approx(deviation * 365**0.5)
    assert values["sharpe"] == pytest.approx(mean / deviation * 365**0.5)
    assert values["sortino"] == pytest.approx(mean / (0.01 / 3) ** 0.5 * 365**0.5)
    assert values["max_drawdown"] == values["max_drawdown_days"] == pytest.approx(-0.1)
    assert values["drawdown_start"] == START + DAY
    assert values["drawdown_bottom"] == START + 2 * DAY
    assert values["drawdown_recovery"] == START + 3 * DAY
    assert values["under_water"] == 2 * DAY


def test_a_fall_within_a_day_counts_for_the_drawdown_and_not_for_the_days() -> None:
    values, why = of(curve([50, 100, 100, 100], step=DAY // 2, initial=100))
    assert values["max_drawdown"] == -0.5
    assert values["max_drawdown_days"] == 0.0
    assert why["calmar"] == "the equity was never below an earlier one at the end of a day"


def test_the_bar_that_ends_at_midnight_is_the_last_of_its_day() -> None:
    assert of(curve([1] * 24, step=DAY // 24)).values["days"] == 1
    assert of(curve([1] * 25, step=DAY // 24)).values["days"] == 2


def test_a_day_without_a_bar_is_a_day_without_a_change() -> None:
    run = curve([110, 110, 121], step=DAY, initial=100)
    hole = Curve(*(column[[0, 2]] for column in run[:4]), *run[4:])
    assert of(hole).values == {**of(run).values, "exposure": 0.0}


def test_a_fall_from_the_initial_cash_begins_where_the_run_began() -> None:
    values, why = of(curve([90, 80], initial=100))
    assert (values["drawdown_start"], values["drawdown_bottom"]) == (START, START + 2 * MINUTE)
    assert values["under_water"] == 2 * MINUTE
    assert why["drawdown_recovery"] == "it has not recovered by the last bar"


@pytest.mark.parametrize(
    ("equity", "name", "words"),
    [
        ([], "return", "there is no bar"),
        ([], "exposure", "there is no bar"),
        ([110], "sharpe", "the run is one UTC day, two are needed"),
        ([100, 100], "sharpe", "the returns of all days are the same"),
        ([110, 121, 133, 146], "sortino", "no day lost money"),
        ([100, 100], "calmar", "the equity was never below an earlier one at the end of a day"),
        ([100, 100], "drawdown_start", "the equity was never below an earlier one"),
        ([50, 0], "cagr", "the account ended at nothing or less"),
        ([50, -1], "calmar", "the account ended at nothing or less"),
        (
            [-1, -1],
            "volatility",
            "the account was at nothing or less at the end of 2019-01-01, of which there is no return",
        ),
        ([10**9], "cagr", "it is too large for a number"),
        ([100], "win_rate", "there is no closed trade"),
        (
            [100],
            "hold_return",
            "there was no price to buy at, not the cash for the smallest size, or an amount exceeds 64 bits",
        ),
    ],
)
def test_where_there_is_no_number_there_are_words(equity: list[int], name: str, words: str) -> None:
    values, why = of(curve(equity, step=DAY, initial=100))
    assert values[name] is None
    assert why[name] == words


def test_returns_that_are_all_the_same_have_no_deviation_left_over_by_rounding() -> None:
    # a third a day: seven of them added up are not seven thirds
    values, why = of(curve([4**k * 3 ** (7 - k) for k in range(1, 8)], step=DAY, initial=3**7))
    assert values["volatility"] == 0.0
    assert why["sharpe"] == "the returns of all days are the same"


def test_a_run_without_cash_has_no_ratio() -> None:
    values, why = of(curve([100], initial=0))
    assert (values["return"], values["turnover"], values["final"]) == (None, None, 100)
    assert why["return"] == "there was no cash to begin with"


def test_days_of_a_year_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="annualise by -1: it must be a number of days above 0"):
        of(curve([1]), annualise=-1)


def test_round_trips_by_hand() -> None:
    # fee 1 %: buys 10 at 100, 10 more at 110, sells 5 at 120, turns to −10 at 90, closes at 80, is long again
    wanted = [
        (True, 10, 100),
        (True, 10, 110),
        (False, 5, 120),
        (False, 25, 90),
        (True, 10, 80),
        (True, 1, 80),
    ]
    fills = fills_of(SPOT, Account(1_000_000), wanted)
    trips = round_trips(fills)
    assert trips["side"].tolist() == [1, -1, 1]
    assert trips["size"].tolist() == [20, 10, 1]
    assert trips["entry"].tolist() == [210_000, 90_000, 8_000]
    assert trips["entry_price"].tolist() == [100, 90, 80]
    assert trips["exit_price"].tolist() == [90, 80, -1]
    # 5 × 120 + 15 × 90 − 2,100 is −150.00; the fee of the turn, 22.50, is 13.50 and 9.00
    assert trips["realised"].tolist() == [-15_000, 10_000, 0]
    assert trips["fees"].tolist() == [1_000 + 1_100 + 600 + 1_350, 900 + 800, 80]
    assert trips["fills"].tolist() == [4, 2, 1]
    assert trips["opened"].tolist() == [START, START + 3 * MINUTE, START + 5 * MINUTE]
    assert trips["closed"].tolist() == [START + 3 * MINUTE, START + 4 * MINUTE, -1]
    values, why = of(curve([1_000_000], initial=1_000_000), fills)
    assert (values["trades"], values["open_trades"]) == (2, 1)
    assert values["win_rate"] == 0.5
    assert values["profit_factor"] == 8_300 / 19_050
    assert values["expectancy"] == -5_375
    assert values["average_trade"] == pytest.approx((8_300 / 90_000 - 19_050 / 210_000) / 2)
    assert values["worst_trade"] == pytest.approx(-19_050 / 210_000)
    assert values["fees"] == 5_830
    assert values["turnover"] == pytest.approx(5_830 / 10_000)
    assert "profit_factor" not in why


def test_trades_that_all_won_have_no_profit_factor() -> None:
    fills = fills_of(SPOT, Account(1_000_000), [(True, 10, 100), (False, 10, 110)])
    values, why = of(curve([1_000_000]), fills)
    assert values["win_rate"] == 1.0
    assert why["profit_factor"] == "no trade lost money"


def test_a_trip_that_began_before_the_first_fill_is_left_out() -> None:
    wanted = [(True, 10, 100), (False, 10, 110), (True, 10, 100), (False, 10, 90)]
    trips = round_trips(fills_of(SPOT, Account(1_000_000), wanted)[1:])
    assert trips["opened"].tolist() == [START + 2 * MINUTE]


def test_amounts_that_do_not_fit_together_are_refused() -> None:
    fills = fills_of(SPOT, Account(1_000_000), [(True, 10, 100), (False, 10, 110)])
    fills["realised"] = 2**62
    with pytest.raises(TooLargeError, match="exceed 64 bits: take less cash"):
        round_trips(fills)


def test_what_trips_entered_with_need_not_fit_together() -> None:
    fills = fills_of(SPOT, Account(1_000_000), [(True, 10, 100), (False, 10, 110)] * 3)
    fills["cost"][::2] = 2**62
    assert round_trips(fills)["entry"].tolist() == [2**62] * 3


def test_what_one_trip_entered_with_must_fit() -> None:
    fills = fills_of(SPOT, Account(1_000_000), [(True, 10, 100), (True, 10, 100), (True, 10, 100)])
    fills["cost"] = [2**62, 0, 2**62]
    with pytest.raises(TooLargeError, match="exceed 64 bits: take less cash"):
        round_trips(fills)


def test_a_fee_too_large_for_a_product_is_shared_all_the_same() -> None:
    fills = fills_of(SPOT, Account(1_000_000), [(True, 10, 100), (False, 15, 100)])
    fills["fee"] = 2**61 + 1
    assert round_trips(fills)["fees"].tolist() == [
        2**61 + 1 + -(-(2**61 + 1) * 10 // 15),
        2**61 + 1 - -(-(2**61 + 1) * 10 // 15),
    ]


def test_fills_before_a_scale_grew_count_at_the_last_scale() -> None:
    wanted = [(True, 10, 100), (False, 10, 110)]
    old = fills_of(SPOT, Account(1_000_000), wanted)
    finer = replace(SPOT, price_scale=1, size_scale=2, cash_scale=4)
    later = [(buy, size * 100, price * 10) for buy, size, price in wanted]
    whole = fills_of(finer, Account(100_000_000), later)
    old[1] = whole[1]
    old["era"] = [0, 1]
    assert round_trips(rescaled_fills(old, (SPOT, finer))).tolist() == round_trips(whole).tolist()


def test_buy_and_hold_of_an_inverse_contract_by_hand() -> None:
    # 1 BTC at 4,000.0 buys 3,997 contracts: of 0.99925 BTC, with a fee of 0.00074943_75, rounded up
    held = bought(INVERSE, 10**8, 40_000, bar=1)
    assert held is not None
    assert held[1:5] == (56, 3_997, 99_925_000, 40_000)
    bars = np.array([0, 1, 2], np.int64)
    closes = np.array([10_000, 40_000, 80_000], np.int64)
    equities = worth(held, INVERSE, bars, closes)
    assert equities is not None
    assert equities.tolist() == [
        10**8,
        56 + 99_925_000,
        56 + 2 * 99_925_000 - 49_962_500,
    ]
    finer = replace(INVERSE, price_scale=2, cash_scale=9)
    later = rescaled(held, INVERSE, finer)
    assert later is not None
    at_finer = worth(later, finer, bars, closes * 10)
    assert at_finer is not None
    assert at_finer[0] == 10**9


def test_buying_and_holding_beyond_64_bits_has_no_number() -> None:
    dear = replace(SPOT, cash_scale=10)
    held = bought(dear, 2**62, 100, 0)
    assert held is not None
    assert rescaled(held, dear, replace(dear, cash_scale=12)) is None
    run = curve([2**62] * 2, initial=2**62)._replace(closes=np.array([100, 300], np.int64))
    values, why = metrics(run, NONE, round_trips(NONE), dear, held)
    assert values["hold_return"] is None
    assert why["hold_return"].endswith("an amount exceeds 64 bits")


def test_cash_for_less_than_the_smallest_size_holds_nothing() -> None:
    assert bought(SPOT, 100, 100, bar=0) is None


def test_buy_and_hold_stands_among_the_numbers() -> None:
    run = curve([INITIAL] * 3, step=DAY)._replace(closes=np.array([100, 50, 200], np.int64))
    values, _ = metrics(run, NONE, round_trips(NONE), SPOT, bought(SPOT, INITIAL, 100, 0))
    assert values["hold_drawdown"] == pytest.approx(-0.5, abs=0.01)
    assert values["hold_return"] == pytest.approx(0.98, abs=0.01)


def test_every_number_has_a_definition() -> None:
    for name, metric in DEFINITIONS.items():
        assert metric.definition.endswith("."), name
        assert metric.title
