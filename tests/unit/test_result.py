"""A result tells what became of its bot, at one scale, beside buy and hold and what came late."""

import re
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from infra.research.backtesting import backtest
from infra.research.result import Result
from infra.research.sources import Data, in_last_revision
from infra.strategies.registry import Strategies, load_strategies
from projections.fold.money import Account, affordable, equity, size_for, slipped, trade
from projections.research.gather import gather
from projections.research.run import Prepared
from tests.journal import START, batch, records
from tests.programs import KERNELS
from tests.research import BTC, MINUTE, walked

CASH = 10_000 * 10**8
MINUTES = 600


def backtested(strategies: Strategies, prepared: Prepared, first: int = 0, last: int | None = None) -> Result:
    """Of the bars first … last − 1."""
    after = int(prepared.ends[first - 1]) if first else None
    until = None if last is None else int(prepared.ends[last - 1])
    data = Data(prepared, "journal", "Fills at the tick")
    return backtest(
        strategies.latest("sma_cross"), data, {"fast": 3, "slow": 10},
        cash="10000", short=True, after=after, until=until,
    )  # fmt: skip


def test_the_numbers_are_those_of_the_account(strategies: Strategies) -> None:
    prepared = walked(MINUTES)
    run = backtested(strategies, prepared, 20)
    cash, _, cost, realised, fees = run.outcome.account.tolist()
    values = run.found.values
    assert values["initial"] == CASH
    assert values["final"] == run.outcome.equity[-1]
    assert values["fees"] == fees == sum(run.trips["fees"].tolist())
    assert sum(run.trips["realised"].tolist()) == realised
    assert cash + cost + fees - realised == CASH
    assert values["trades"] + values["open_trades"] == len(run.trips) > 20
    assert run.curve.begin == START + 20 * MINUTE
    assert [line.about for line in run.honesty if line.warns] == ["sample"]


def test_buy_and_hold_buys_at_the_trade_behind_the_first_close(strategies: Strategies) -> None:
    prepared = walked(MINUTES)
    run = backtested(strategies, prepared, 20)
    # the minute closes with the first trade of the next, the second one fills
    price = int(prepared.columns.trades["price"][prepared.bars["trade"][20]])
    at = slipped(BTC, price, buy=True)
    account = Account(CASH)
    size = affordable(BTC, account, size_for(BTC, CASH, at), at, buy=True)
    account = trade(BTC, account, size, at, buy=True).account
    held = equity(BTC, account, int(prepared.bars["close"][-1]))
    assert run.found.values["hold_return"] == pytest.approx(held / CASH - 1.0, rel=1e-12)
    assert run.held is not None
    assert run.held.bar == 1


def test_the_bar_that_its_trade_closes_does_not_hold_yet(strategies: Strategies) -> None:
    rows = [(60 * minute + 30, 500 + minute, 1_000) for minute in range(40)]
    journal = records([(BTC.key, BTC), (BTC.key, batch(BTC, rows))])
    prepared = Prepared(gather(journal, BTC.key, ["1m"], ())[0])
    held = backtested(strategies, prepared, 20).held
    assert held is not None
    assert held.bar == 2


def test_a_scale_that_grows_changes_no_number(strategies: Strategies) -> None:
    whole = backtested(strategies, walked(MINUTES))
    finer = replace(
        BTC, price_scale=4, size_scale=5, cash_scale=10, price_step=100, size_step=100, min_size=100
    )
    prepared = walked(
        MINUTES, finer, batch(finer, [(60 * MINUTES + 1, 510, 100_000), (60 * MINUTES + 90, 510, 1)])
    )
    grown = backtested(strategies, prepared)
    last = int(np.searchsorted(grown.curve.ends, whole.curve.ends[-1], side="right"))
    assert prepared.bars["era"][last] == 1
    assert (grown.curve.equity[:last] == 100 * whole.curve.equity).all()
    assert (grown.curve.closes[:last] == 100 * whole.curve.closes).all()
    count = len(whole.trips) - 1
    assert (grown.trips["net"][:count] == 100 * whole.trips["net"][:count]).all()
    assert grown.found.values["initial"] == 100 * CASH


def test_late_trades_are_told_with_the_signals_that_they_would_change(strategies: Strategies) -> None:
    late = [(60 * minute + 30, 480, 1_000) for minute in range(MINUTES - 60, MINUTES - 30, 3)]
    closes = [(60 * minute + 59, 600, 1_000) for minute in range(MINUTES - 60, MINUTES - 30, 3)]
    prepared = walked(MINUTES, batch(BTC, late + closes))
    run = backtested(strategies, prepared)
    line = next(line for line in run.honesty if line.about == "revisions")
    assert line.warns
    assert line.text.startswith("10 bars were revised after closing; ")
    other = backtest(
        strategies.latest("sma_cross"),
        in_last_revision(run.data),
        {"fast": 3, "slow": 10},
        cash="10000",
        short=True,
    )
    assert next(line for line in other.honesty if line.about == "revisions") == line


RISES = """from projections.strategies import BaseStrategy, Signal


class Rises(BaseStrategy):
    window = 2

    def process_data(self, df):
        return Signal(1.0 if df["close"].iloc[-1] > df["open"].iloc[0] else 0.0)
"""


def test_a_strategy_in_plain_python_is_not_run_a_second_time(tmp_path: Path) -> None:
    (tmp_path / "rises.py").write_text(RISES)
    code = load_strategies(KERNELS, [tmp_path / "rises.py"]).latest("rises")
    prepared = walked(40, batch(BTC, [(60 * 35 + 30, 480, 1_000), (60 * 35 + 59, 600, 1_000)]))
    run = backtest(code, Data(prepared, "journal", "Fills at the tick"), cash="10000")
    told = {line.about: line for line in run.honesty}
    assert told["revisions"].text == (
        "1 bar was revised after closing; what that does to signals tells `--as-known --final`."
    )
    assert not told["look_ahead"].warns


PEEKS = """import numpy as np

from projections.strategies import BaseStrategy, Signal


class Peeks(BaseStrategy):
    window = 2

    def process_data(self, df):
        column = whole = df["close"].to_numpy()
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        rows = whole if whole.ndim == 1 else whole[3]
        ahead = rows[(column.ctypes.data - rows.ctypes.data) // 8 + len(df) :]
        return Signal(1.0 if len(ahead) and ahead[0] > column[-1] else 0.0)
"""


def test_a_strategy_that_peeks_is_told_with_its_bar(tmp_path: Path) -> None:
    (tmp_path / "peeks.py").write_text(PEEKS)
    code = load_strategies(KERNELS, [tmp_path / "peeks.py"]).latest("peeks")
    run = backtest(code, Data(walked(100), "journal", "Fills at the tick"), cash="10000")
    line = next(line for line in run.honesty if line.about == "look_ahead")
    assert line.warns
    told = re.search(r"at the bar (\S+) its target was (\S+); asked again", line.text)
    assert told is not None
    assert run.indicators["target"][told[1]] == float(told[2])


def test_a_range_without_a_trade_behind_its_first_close_holds_nothing(strategies: Strategies) -> None:
    prepared = walked(MINUTES, batch(BTC, [(60 * MINUTES,)]))
    run = backtested(strategies, prepared, MINUTES - 1)
    assert "hold_return" in run.why
