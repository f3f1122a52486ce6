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
from projections.research.daily import DAY_NS, days_of, returns_of
from projections.research.gather import gather
from projections.research.round_trips import TooLargeError
from projections.research.run import Prepared
from projections.research.sets import Account, walkable
from projections.strategies.code import CompiledCode, StrategyCode
from streams.events import OnStale, Params, Sizing
from tests.programs import KERNELS
from tests.property.worlds import World
from tests.research import walked

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
    assert seen["the amounts of these fills together exceed take less cash"], seen


MUST = (
    "fills", "signal", "flatten", "bankrupt", "overflow", "strategy_error", "superseded", "stale_data",
    "cut_to_cash", "closed_only", "insufficient_cash", "too_small", "Vouched", "", "ValueError",
    "at the equity exceeds bits at take less cash",
    "strategy restless failed at the bar before it gave a so noth",
)  # fmt: skip
"""What must have happened to sets that were walked together."""


def test_split_along_time_anywhere_it_is_the_same_in_every_bit(codes: Strategies) -> None:
    chance, split = random.Random(1), 0
    for seed in range(WORLDS):
        world = World(seed, codes, Counter())
        world.live()
        prepared = Prepared(gather(world.journal, world.market.key, ["1m"], ())[0])
        if walkable(prepared, 0, len(prepared.ends)):
            split += 1
            check_split(chance, codes.latest(chance.choice(["sma_cross", "restless"])), prepared)
    assert split > 20


def test_so_it_is_over_days_of_which_some_have_no_bar(codes: Strategies) -> None:
    prepared, chance = walked(4_000), random.Random(2)
    columns = prepared.columns
    bars = columns.bars.copy()
    for name in ("end", "now"):
        bars[name][2_000:] += 3 * DAY_NS
    later = Prepared(columns._replace(bars=bars))
    for _ in range(10):
        check_split(chance, codes.latest("sma_cross"), later)


def check_split(chance: random.Random, code: StrategyCode, prepared: Prepared) -> None:
    assert isinstance(code, CompiledCode)
    last = len(prepared.ends)
    packed = np.array([code.pack(params) for params in some_sets(chance, code, prepared)])
    how, warm = Account(Sizing("equity", 1, 0), True, 10**6), np.zeros(len(packed), np.int64)
    whole, cut = (sets.Sets(code, packed, prepared, 0, warm, how) for _ in range(2))
    whole.over(last)
    for to in sorted({*(chance.randrange(1, last) for _ in range(3)), last}):
        cut.over(to)
    for name in ("tallies", "trips", "accounts", "ends", "days"):
        assert getattr(whole, name).tobytes() == getattr(cut, name).tobytes(), name
    assert whole.failures == cut.failures


FORMS = """
from projections.strategies import BaseStrategy, block, bollinger, day_vwap, keltner, macd, param, rsi, sma

@block(reads="n + 1")
def tired(values, i, seen, column, n: int):
    if seen == 1_990 + n:
        raise ValueError("tired")
    return values[i, column] - values[i - n, column] if seen > n else 0.0

class Own(BaseStrategy):
    n: int = param(3, low=2, high=99)
    moved = tired("close", "n")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.moved > 0.0 else -1.0

class Banded(BaseStrategy):
    n: int = param(5, low=2, high=99)
    width: float = param(1.0, low=0.1, high=9.0)
    bands = bollinger("close", "n", "width")
    channel = keltner(3, "width")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if bar.close > x.bands.upper else -1.0 if bar.close < x.channel.lower else pos

class Nested(BaseStrategy):
    n: int = param(3, low=2, high=99)
    inner = sma(rsi("close", "n"), 4)
    spread = macd("close", 3, 8, "n").histogram
    today = day_vwap()

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.inner > 50.0 and bar.close > x.today else -1.0 if x.spread < 0.0 else pos

class Above(BaseStrategy):
    n: int = param(2, low=2, high=99)
    here = sma("close", "n")
    above = sma("close", "n", timeframe="1h")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.here > x.above else -1.0
"""


@pytest.mark.parametrize(
    ("name", "those", "columns"),
    [
        ("banded", [{"n": n, "width": width} for n in (3, 9) for width in (0.5, 1.0, 2.0)], 3),
        ("nested", [{"n": n} for n in (2, 5)], 5),
        ("own", [{"n": n} for n in (5, 7, 20)], 3),
        ("above", [{"n": n} for n in (2, 3)], 0),
    ],
)
def test_so_it_is_for_blocks_of_every_form(
    tmp_path: Path, name: str, those: list[dict[str, Any]], columns: int
) -> None:
    (tmp_path / "forms.py").write_text(FORMS)
    code = load_strategies(KERNELS, [tmp_path / "forms.py"]).latest(name)
    assert isinstance(code, CompiledCode)
    prepared = walked(2_000)
    setting = setting_of(Data(prepared, "journal", ""), Asked(short=True))
    check(setting, code, [code.check(params) for params in those], Counter())
    later = setting_of(Data(prepared, "journal", ""), Asked(after=int(prepared.ends[1_600])))
    check(later, code, [code.check(params) for params in those], Counter())
    assert (0 if code.sharing is None else computed(code, those)) == columns


def computed(code: CompiledCode, those: Sequence[dict[str, Any]]) -> int:
    """How many distinct indicators they have."""
    assert code.sharing is not None
    checked = [code.check(params) for params in those]
    return sum(len({tuple(c[a] for a in line.arguments) for c in checked}) for line in code.sharing.lines)


def test_what_is_compiled_in_is_compiled_anew_when_it_changes() -> None:
    for module, pinned in ((account, walk.ACCOUNT_SHA256), (tally, walk.TALLY_SHA256)):
        assert sha256(Path(str(module.__file__)).read_bytes()).hexdigest() == pinned
