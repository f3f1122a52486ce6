"""Many sets walked side by side are what each is alone, in every number."""

import random
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from infra.research.backtesting import Asked, BacktestError, Setting, run, setting_of
from infra.research.over_sets import Row, over_sets
from infra.research.sources import Data
from infra.strategies.registry import Strategies, load_strategies
from projections.research import account, sets, tally, walk
from projections.research.account import CODES, FILL, ORDER, REASONS
from projections.research.daily import days_of, returns_of
from projections.research.gather import gather
from projections.research.round_trips import TooLargeError
from projections.research.run import Prepared
from projections.research.sets import walkable
from projections.strategies.code import StrategyCode
from streams.events import OnStale, Params
from tests.programs import KERNELS
from tests.property.worlds import World

WORLDS = 120
RUNS = 3
"""Of each world."""
RESTLESS = '''
from projections.strategies import BaseStrategy, param, sma

class Restless(BaseStrategy):
    """Any target whatever, often another; it fails at a volume, and raises at one."""
    n: int = param(3, low=1, high=9)
    share: float = param(0.5, low=0.0, high=1.0)
    fails: int = param(10**6, low=0, high=10**9)
    raises: int = param(10**6, low=0, high=10**9)
    average = sma("close", "n")
    highs = sma("high", 4)

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.volume == p.raises:
            raise ValueError("no more")
        if bar.volume == p.fails:
            return 1.5
        if x.highs > 1.02 * bar.high:
            return p.share
        if bar.close > x.average:
            return -1.0 if pos > 0.3 else -p.share
        return pos * -0.5 if bar.close == bar.high else pos
'''


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    file = tmp_path_factory.mktemp("strategies") / "restless.py"
    file.write_text(RESTLESS)
    return load_strategies(KERNELS, [file])


def alone(setting: Setting, code: StrategyCode, params: Params, seen: Counter[str]) -> tuple[Row, Any]:
    """The row of a set by a backtest of it, and its daily returns; `seen` counts what happened to it."""
    days = days_of(setting.data.prepared.ends[setting.first : setting.last])
    try:
        result = run(setting, code, params)
        values = result.found.values
    except (BacktestError, TooLargeError) as error:
        seen[" ".join(w for w in str(error).split() if w.isalpha())[:60]] += 1
        return Row({}, str(error)), np.full(len(days.ends), np.nan)
    happened = result.outcome.happened
    seen.update(CODES[code] for code in happened["code"].tolist())
    seen.update(REASONS[reason] for reason in happened["status"][happened["kind"] == ORDER].tolist())
    seen["fills"] += int((happened["kind"] == FILL).sum())
    failure = result.outcome.stretches[0].failure
    seen[failure.split(":")[0]] += 1
    return Row(values, failure), returns_of(result.curve.equity[days.last], result.curve.initial)


def check(setting: Setting, code: StrategyCode, those: Sequence[Params], seen: Counter[str]) -> None:
    done = over_sets(setting, code, those)
    for params, row, returns in zip(those, done.rows, done.returns, strict=True):
        expected, days = alone(setting, code, params, seen)
        assert row == expected, f"{code.name} {params}: {setting.asked}"
        assert np.array_equal(returns, days, equal_nan=True), f"{code.name} {params}: {setting.asked}"


def asked(chance: random.Random, prepared: Prepared) -> Asked:
    ends, pick = prepared.ends, chance.choice
    first, last = sorted(chance.sample(range(len(ends)), 2))
    scale = prepared.columns.eras[0].cash_scale
    most = (2**62 - 1) // 10 ** max(era.cash_scale for era in prepared.columns.eras)
    return Asked(
        cash=pick(["1", "10", "10000", str(most), str(2**63 // 10**scale)]),
        sizing=pick(["equity:1", "equity:0.3", "cash:9", "amount:5", "amount:3000"]),
        short=pick([True, True, False]), on_stale=pick(get_args(OnStale)),
        after=pick([None, int(ends[first])]), until=pick([None, int(ends[last])]),
        cold=pick([True, False]), fee=pick([None, 0, 75_000]), slippage=pick([None, 10_000]),
    )  # fmt: skip


def some_sets(chance: random.Random, code: StrategyCode, prepared: Prepared) -> list[Params]:
    pick, volumes = chance.choice, prepared.values[:, 4]
    if code.name == "sma_cross":
        return [code.check({"fast": f, "slow": s}) for f in (1, 2) for s in (3, 5)]
    rare = [10**6, 10**6, *(int(pick(list(volumes))) for _ in range(3))]
    return [
        code.check(
            {"n": pick([1, 2, 5]), "share": pick([0.25, 1.0]), "fails": pick(rare), "raises": pick(rare)}
        )
        for _ in range(5)
    ]


def test_a_row_is_the_backtest_of_its_set_whatever_happens(
    codes: Strategies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "PIECE", 37)
    seen: Counter[str] = Counter()
    for seed in range(WORLDS):
        world, chance = World(seed, codes, Counter()), random.Random(seed)
        world.live()
        timeframe = chance.choice(["1m", "1m", "5m"])
        prepared = Prepared(gather(world.journal, world.market.key, [timeframe], ())[0])
        for _ in range(RUNS):
            try:
                setting = setting_of(Data(prepared, "journal", ""), asked(chance, prepared))
            except ValueError:
                continue  # more cash than fits
            walks = walkable(prepared, setting.first, setting.last)
            of = seen if walks else Counter[str]()
            of.update(
                type(at.event).__name__
                for at in prepared.columns.events
                if setting.first <= at.bar < setting.last
            )
            code = codes.latest(chance.choice(["sma_cross", "restless"]))
            check(setting, code, some_sets(chance, code, prepared), of)
    assert all(seen[kind] > 5 for kind in MUST), seen


MUST = (
    "fills", "signal", "flatten", "bankrupt", "overflow", "strategy_error", "superseded", "stale_data",
    "cut_to_cash", "closed_only", "insufficient_cash", "too_small", "Vouched", "", "ValueError",
    "at the equity exceeds bits at take less cash",
    "strategy restless failed at the bar before it gave a so noth",
    "the amounts of these fills together exceed take less cash",
)  # fmt: skip
"""What must have happened to sets that were walked together."""


def test_what_is_compiled_in_is_compiled_anew_when_it_changes() -> None:
    for module, pinned in ((account, walk.ACCOUNT_SHA256), (tally, walk.TALLY_SHA256)):
        assert sha256(Path(str(module.__file__)).read_bytes()).hexdigest() == pinned
