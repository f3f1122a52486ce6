"""Strategies: parameters, files, hashes, the archive, failures, and the pandas form."""

import re
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from infra.strategies import registry
from infra.strategies.registry import Strategies, UnknownStrategyError, load_strategies
from projections.strategies import (
    BaseStrategy,
    Signal,
    StrategyDefinitionError,
    StrategyParameterError,
    donchian,
    loops,
    macd,
    param,
    rsi,
    sma,
)
from projections.strategies.blocks import Indicator
from projections.strategies.code import (
    CompiledCode,
    Floats,
    History,
    StepFailure,
    StrategyCode,
    StrategyCompileError,
    StrategyRunError,
)
from projections.strategies.sma_cross import SmaCross

LIMITED = """
from projections.strategies import BaseStrategy, param

class Limited(BaseStrategy):
    limit: float = param(100.0)
    shift: float = param(0.0)
    kind: str = param("plain", choices=("plain", "double"))

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.close > p.limit:
            raise ValueError("the close is above the limit")
        return 1.0 + p.shift if p.kind == "plain" else -(1.0 + p.shift)
"""
MEAN = """
from projections.strategies import BaseStrategy, Signal, param

class Mean(BaseStrategy):
    n: int = param(3, low=1)
    window = 4
    value_names = ("mean", "rows")

    def process_data(self, df):
        if df["close"].iloc[-1] < 0:
            raise KeyError("nothing for a negative close")
        assert list(df) == ["timestamp", "open", "high", "low", "close", "volume"]
        assert str(df["timestamp"].dtype) == "datetime64[ns, UTC]"
        df["mine"] = 1.0
        mean = df["close"].tail(self.n).mean()
        return Signal(1.0 if df["close"].iloc[-1] > mean else self.position, {"mean": mean, "rows": len(df)})
"""


def written(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(text)
    return file


def load(tmp_path: Path, **files: str) -> Strategies:
    paths = [written(tmp_path / "mine", name, text) for name, text in files.items()]
    return load_strategies(tmp_path / "kernels", paths)


class Group:
    """Bots of one strategy on closes alone."""

    def __init__(self, code: StrategyCode, params: list[dict[str, object]]) -> None:
        self.code, self.lanes = code, code.lanes(params)
        self.lanes.values[:] = np.nan

    def step(self, closes: list[float]) -> list[StepFailure]:
        """Step on the last of the closes; a bot that fails is passed over, as the engine does."""
        values = np.repeat(np.array(closes)[:, None], 5, axis=1)
        at = History(60_000_000_000 * np.arange(1, len(closes) + 1), np.ascontiguousarray(values))
        self.lanes.seen[:] += 1
        failures: list[StepFailure] = []
        first = 0
        while first < len(self.lanes.target):
            failed = self.code.step(at, len(closes) - 1, first, self.lanes)
            if failed is None:
                break
            failures.append(failed)
            first = failed.bot + 1
        return failures


# ---------------------------------------------------------------- parameters


def test_parameters_have_defaults_own_types_and_are_sorted(tmp_path: Path) -> None:
    code = load(tmp_path).latest("rsi_reversion")
    checked = code.check({"n": "7", "low": 25})
    assert checked == {"high": 70.0, "low": 25.0, "n": 7}
    assert list(checked) == ["high", "low", "n"]
    assert isinstance(checked["low"], float)
    assert code.pack({"n": 7, "low": 25}).tolist() == [7.0, 25.0, 70.0]
    assert [p.name for p in code.parameters] == ["n", "low", "high"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fast": 0}, "strategy sma_cross: parameter fast=0 must be a whole number from 1 to 4999"),
        ({"fast": 2.5}, "strategy sma_cross: parameter fast=2.5 must be"),
        ({"fast": "x"}, "strategy sma_cross: parameter fast='x' must be"),
        ({"fast": True}, "strategy sma_cross: parameter fast=True must be"),
        ({"fast": None}, "strategy sma_cross: parameter fast=None must be"),
        ({"fast": float("nan")}, "strategy sma_cross: parameter fast=nan must be"),
        ({"fast": float("inf")}, "strategy sma_cross: parameter fast=inf must be"),
        ({"fats": 3}, "strategy sma_cross has no parameter 'fats'; its parameters are: fast, slow"),
        ({"fast": 9, "slow": 9}, "strategy sma_cross (fast=9, slow=9): fast must be below slow"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_and_range(
    tmp_path: Path, given: dict[str, object], words: str
) -> None:
    with pytest.raises(StrategyParameterError) as error:
        load(tmp_path).latest("sma_cross").check(given)
    assert words in str(error.value)


def test_the_parameter_signal_of_macd_stands_beside_the_function_of_that_name(tmp_path: Path) -> None:
    code = load(tmp_path).latest("macd_cross")
    assert code.check({}) == {"fast": 12, "signal": 9, "slow": 26}


def test_a_strategy_that_reads_too_far_back_is_refused(tmp_path: Path) -> None:
    text = MEAN.replace("window = 4", "window: int = param(4, low=1)")
    code = load(tmp_path, mean=text).latest("mean")
    assert code.lookback({"window": 12}) == 12
    with pytest.raises(StrategyParameterError, match="reads 5001 candles back; at most 5000 are kept"):
        code.check({"window": 5001})


def test_lookback_counts_the_candle_that_leaves_the_window(tmp_path: Path) -> None:
    strategies = load(tmp_path)
    assert strategies.latest("sma_cross").lookback({"fast": 3, "slow": 8}) == 9
    assert strategies.latest("macd_cross").lookback({}) == 1


def test_blocks_over_each_other_read_and_need_what_they_do_together(tmp_path: Path) -> None:
    class Chain(BaseStrategy):
        n: int = param(4, low=1)
        smooth = sma(rsi("close", "n"), 5)
        line = macd("close", 12, 26, 9).histogram

        @staticmethod
        def signal(bar: object, x: object, p: object, pos: float) -> float:
            return pos

    assert Chain.spec.value_names == ("smooth", "line")
    assert Chain.spec.lookback({"n": 4}) == 6  # the candle before the first of five
    assert Chain.spec.need({"n": 4}) == 30 * (26 + 9)
    assert Chain.spec.indicators["smooth"].need({"n": 9}) == 60 * 9 + 5


def test_a_number_that_a_block_does_not_give_is_refused_with_those_that_it_gives() -> None:
    with pytest.raises(AttributeError, match="macd has no number 'histo'; it has line, signal, histogram"):
        _ = macd("close", 12, 26, 9).histo
    with pytest.raises(AttributeError, match=r"sma has no number 'upper'$"):
        _ = sma("close", 12).upper


def deep(blocks: int) -> Indicator:
    """So many blocks over each other."""
    return sma(deep(blocks - 1) if blocks > 1 else "close", 2)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"average": sma("closed", 3)}, "S.average: sma has no column 'closed'"),
        ({"average": sma("close", "m")}, "S.average: n of sma must name a parameter of type int"),
        ({"average": sma("close", 0)}, "S.average: n=0 of sma must be a whole number from 1"),
        ({"average": sma(sma("closed", 3), 3)}, "S.average: sma has no column 'closed'"),
        ({"average": sma(rsi("close", 0), 3)}, "S.average: n=0 of rsi must be a whole number from 1"),
        ({"average": sma(donchian(9), 3)}, "S.average: sma is over one number: donchian(…).middle or"),
        ({"average": deep(9)}, "S.average: more than 8 blocks stand over each other"),
        ({"_average": sma("close", 3)}, "cannot begin with an underscore"),
        ({"signal": lambda self, bar, x, p, pos: 0}, "four arguments: signal(bar, x, p, pos)"),
        ({"process_data": lambda self, df: Signal(0)}, "both signal (compiled) and process_data (pandas)"),
        ({"name": "two words"}, "S.name is 'two words': it must be a word"),
        ({"n": param(3), "average": sma("close", "n")}, "declare it with low=1 or more"),
        ({"n": param(0, low=1)}, "S.n: its default 0 is not a whole number of at least 1"),
    ],
)
def test_a_wrongly_declared_class_is_refused_by_name(attributes: dict[str, object], words: str) -> None:
    body = {"signal": staticmethod(lambda bar, x, p, pos: pos), "__annotations__": {"n": int}} | attributes
    with pytest.raises(StrategyDefinitionError) as error:
        type("S", (BaseStrategy,), body)
    assert words in str(error.value)


# ---------------------------------------------------------------- files


def test_users_files_add_strategies_to_the_built_in_ones(tmp_path: Path) -> None:
    names = [code.name for code in load(tmp_path, limited=LIMITED, mean=MEAN)]
    assert names == ["bollinger_breakout", "limited", "macd_cross", "mean", "rsi_reversion", "sma_cross"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("import numpy\ndef broken(:\n", 2, "SyntaxError"),
        ("\n\nimport nothing_like_it\n", 3, "ModuleNotFoundError: No module named 'nothing_like_it'"),
        (LIMITED.replace("param(100.0)", 'param("x")'), 4, "its default 'x' is not a number"),
        (LIMITED.replace("class Limited", "class SmaCross"), 4, "there is already a strategy 'sma_cross'"),
        (
            LIMITED
            + LIMITED.replace("class Limited(BaseStrategy):", "class B(BaseStrategy):\n    name = 'limited'"),
            17,
            "there is already a strategy 'limited'",
        ),
        ("x = 1\n", 1, "there is no BaseStrategy class with signal or process_data"),
        (
            "from numba import njit\n\n@njit(fastmath=True)\ndef f(x):\n    return x\n" + LIMITED,
            1,
            "f has fastmath or parallel: its results are not repeatable",
        ),
    ],
)
def test_a_broken_file_is_reported_with_its_line_and_the_others_load(
    tmp_path: Path, text: str, line: int, reason: str
) -> None:
    strategies = load(tmp_path, broken=text, mean=MEAN)
    assert strategies.latest("mean").name == "mean"
    (error,) = strategies.broken
    assert (error.file, error.line) == (str(tmp_path / "mine" / "broken.py"), line)
    assert reason in error.reason
    with pytest.raises(UnknownStrategyError, match=r"there is no strategy 'limited'; .*broken\.py"):
        strategies.latest("limited")


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    strategies = load_strategies(tmp_path / "kernels", [tmp_path / "none.py"])
    assert "none.py:1: cannot be read" in str(strategies.broken[0])


def test_a_package_offers_strategies_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "site", "offered_strategy", LIMITED)
    info = tmp_path / "site" / "offered-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1\n")
    points = "limited = offered_strategy:Limited\nlost = offered_nowhere:Limited\n"
    (info / "entry_points.txt").write_text(f"[tcpdashboard.strategies]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    strategies = load_strategies(tmp_path / "kernels")
    assert strategies.latest("limited").name == "limited"
    assert "there is no module offered_nowhere" in str(strategies.broken[0])


# ---------------------------------------------------------------- hash and archive


def test_the_hash_depends_on_the_text_alone_and_not_on_where_or_when_it_lies(tmp_path: Path) -> None:
    first = load(tmp_path / "a", limited=LIMITED).latest("limited")
    again = load(tmp_path / "b", renamed=LIMITED).latest("limited")
    other = load(tmp_path / "c", limited=LIMITED.replace("100.0", "101.0")).latest("limited")
    assert first.code_hash == again.code_hash != other.code_hash
    assert len(first.code_hash) == 64


def test_changing_a_block_changes_the_hash_of_the_strategies_that_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {code.name: code.code_hash for code in load(tmp_path)}
    text = registry.kernels_source()
    changed = text.replace("mean = (total + carry) / n", "mean = (total + carry) / (n + 0.0)")
    assert changed != text
    monkeypatch.setattr(registry, "kernels_source", lambda: changed)
    after = {code.name: code.code_hash for code in load(tmp_path)}
    assert {name for name in before if before[name] != after[name]} == {"sma_cross"}


def test_a_module_beside_the_file_is_part_of_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "mine")
    text = LIMITED + "\nimport beside_it\n"
    written(tmp_path / "mine", "beside_it", "X = 1\n")
    before = load(tmp_path, limited=text).latest("limited").code_hash
    written(tmp_path / "mine", "beside_it", "X = 2\n")
    assert load(tmp_path, limited=text).latest("limited").code_hash != before


def test_code_that_has_changed_is_still_there_by_its_hash(tmp_path: Path) -> None:
    old = load(tmp_path, limited=LIMITED, mean=MEAN)
    changed = LIMITED.replace("return 1.0 + p.shift if", "return 0.5 + p.shift if")
    new = load(tmp_path, limited=changed, mean=MEAN.replace("window = 4", "window = 3"))
    for name in ("limited", "mean"):
        assert new.latest(name).code_hash != old.latest(name).code_hash
    archived = new.get("limited", old.latest("limited").code_hash)
    assert archived is not None
    assert archived.lookback({}) == 1
    for code, target in ((archived, 1.0), (new.latest("limited"), 0.5)):
        group = Group(code, [{}])
        assert group.step([1.0]) == []
        assert group.lanes.target.tolist() == [target]
    pandas = new.get("mean", old.latest("mean").code_hash)
    assert pandas is not None
    assert pandas.lookback({}) == 4


def test_archived_code_keeps_its_own_state_size_when_blocks_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load(tmp_path).latest("sma_cross")
    text = registry.kernels_source()
    monkeypatch.setattr(registry, "kernels_source", lambda: text.replace("carry += error", "carry = error"))
    new = load(tmp_path)
    archived = new.get("sma_cross", old.code_hash)
    assert archived is not None
    assert (archived.state_size, archived.lookback({})) == (old.state_size, old.lookback({}))
    group = Group(archived, [{"fast": 1, "slow": 2}])
    closes = [1.0, 3.0, 2.0]
    for i in range(3):
        assert group.step(closes[: i + 1]) == []
    assert group.lanes.target.tolist() == [-1.0]


def test_a_new_loop_leaves_the_code_of_a_strategy_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(tmp_path).latest("sma_cross")
    text = loops.LOOP.replace("fault[0] = i", "fault[0] = i + 0")
    assert text != loops.LOOP
    monkeypatch.setattr(loops, "LOOP", text)
    after = load(tmp_path).latest("sma_cross")
    assert after.code_hash == before.code_hash
    assert ran(after, [1.0, 2.0], fast=1, slow=2)[-1].tolist() == [2.0, 1.5]


def test_the_second_module_is_named_by_its_own_hash_and_names_that_of_the_first(tmp_path: Path) -> None:
    code = load(tmp_path).latest("sma_cross")
    Group(code, [{}]).step([1.0])
    assert not (tmp_path / "kernels" / "loops").exists()  # a live bot needs none
    ran(code, [1.0])
    (second,) = (tmp_path / "kernels" / "loops").glob("*.py")
    assert second.stem == sha256(second.read_bytes()).hexdigest()
    assert f"CODE_HASH = {code.code_hash!r}" in second.read_text()


def test_archived_code_runs_over_a_history_with_the_blocks_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load(tmp_path).latest("sma_cross")
    text = registry.kernels_source()
    monkeypatch.setattr(
        registry, "kernels_source", lambda: text.replace("(total + carry) / n", "(total + carry)")
    )
    new = load(tmp_path)
    archived = new.get("sma_cross", old.code_hash)
    assert archived is not None
    closes = [1.0, 3.0, 2.0]
    assert ran(archived, closes, fast=1, slow=2)[-1].tolist() == [2.0, 2.5]
    assert ran(new.latest("sma_cross"), closes, fast=1, slow=2)[-1].tolist() == [2.0, 5.0]


def ran(code: StrategyCode, closes: list[float], **params: object) -> Floats:
    assert isinstance(code, CompiledCode)
    values = np.array([[close] * 5 for close in closes])
    return code.run(History(np.arange(len(closes)), values), params).values


def test_unknown_or_altered_code_is_none(tmp_path: Path) -> None:
    old = load(tmp_path, limited=LIMITED).latest("limited").code_hash
    strategies = load(tmp_path)
    assert strategies.get("limited") is None
    assert strategies.get("limited", "0" * 64) is None
    assert strategies.get("limited", "../limited") is None
    assert strategies.get("sma_cross", old) is None
    (tmp_path / "kernels" / f"{old}.py").write_text("altered")
    assert load(tmp_path).get("limited", old) is None


def test_a_second_loading_leaves_the_modules_and_their_cache_as_they_are(tmp_path: Path) -> None:
    def times() -> dict[str, int]:
        return {str(f): f.stat().st_mtime_ns for f in (tmp_path / "kernels").rglob("*") if f.is_file()}

    load(tmp_path, limited=LIMITED).latest("limited").compile()
    before = times()
    assert any(name.endswith(".nbc") for name in before)
    load(tmp_path, limited=LIMITED).latest("limited").compile()
    assert times() == before


def test_nothing_is_compiled_before_it_steps(tmp_path: Path) -> None:
    code = load(tmp_path).latest("rsi_reversion")
    code.check({})
    assert not list((tmp_path / "kernels").rglob("*.nbc"))


# ---------------------------------------------------------------- failures


def test_a_bot_that_raises_fails_alone(tmp_path: Path) -> None:
    group = Group(load(tmp_path, limited=LIMITED).latest("limited"), [{}, {"limit": 1}, {"kind": "double"}])
    assert group.step([5.0]) == [StepFailure(1, "ValueError: the close is above the limit")]
    assert group.lanes.target.tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("shift", [0.25, -2.5])
def test_a_target_beyond_one_is_a_failure(tmp_path: Path, shift: float) -> None:
    group = Group(load(tmp_path, limited=LIMITED).latest("limited"), [{}, {"shift": shift}, {}])
    words = f"ValueError: the target is {1 + shift}, it must be a number from -1 to 1"
    assert group.step([5.0]) == [StepFailure(1, words)]
    assert group.lanes.target.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_target_that_is_no_number_is_a_failure_and_leaves_the_state(tmp_path: Path, value: str) -> None:
    text = f"""
from projections.strategies import BaseStrategy, ema
BAD = float("{value}")

class Bad(BaseStrategy):
    level = ema("close", 1)

    @staticmethod
    def signal(bar, x, p, pos):
        return BAD if bar.close > 3 else 1.0
"""
    group = Group(load(tmp_path, bad=text).latest("bad"), [{}])
    assert group.step([1.0]) == []
    assert (
        group.step([1.0, 9.0])[0].message
        == f"ValueError: the target is {value}, it must be a number from -1 to 1"
    )
    assert (group.lanes.target[0], group.lanes.state[0, 0], group.lanes.values[0, 0]) == (1.0, 1.0, 1.0)


def test_a_signal_that_does_not_compile_names_its_line(tmp_path: Path) -> None:
    text = LIMITED.replace("bar.close", "bar.colse")
    code = load(tmp_path, limited=text).latest("limited")
    words = "line 11: Unknown attribute 'colse' of type Bar(float64 x 5)"
    with pytest.raises(StrategyCompileError, match="colse"):
        code.compile()
    assert Group(code, [{}]).step([1.0]) == [StepFailure(0, f"StrategyCompileError: {words}")]
    with pytest.raises(StrategyRunError, match=f"^limited: StrategyCompileError: {re.escape(words)}$"):
        ran(code, [1.0])


def test_until_its_averages_are_warm_a_strategy_keeps_its_target(tmp_path: Path) -> None:
    group = Group(load(tmp_path).latest("sma_cross"), [{"fast": 1, "slow": 3}])
    group.lanes.target[0] = -0.5
    seen = []
    for i in range(1, 5):
        assert group.step([1.0, 2.0, 3.0, 1.0][:i]) == []
        seen.append(group.lanes.target[0])
    assert seen == [-0.5, -0.5, 1.0, -1.0]


def test_the_authors_compiled_functions_have_the_options_of_the_step_whoever_calls_them_first(
    tmp_path: Path,
) -> None:
    text = "from numba import njit\n\n@njit\ndef over(x, y):\n    return x / y\n\nover(1.0, 2.0)\n" + LIMITED
    code = load(tmp_path, limited=text.replace("return 1.0", "return over(1.0, p.shift) + 0 *")).latest(
        "limited"
    )
    group = Group(code, [{"shift": 2}, {"shift": 0}])
    assert group.step([1.0]) == [
        StepFailure(1, "ValueError: the target is inf, it must be a number from -1 to 1")
    ]
    assert group.lanes.target.tolist() == [0.5, 0.0]


# ---------------------------------------------------------------- pandas


def test_a_pandas_strategy_sees_its_window_that_ends_at_the_present(tmp_path: Path) -> None:
    code = load(tmp_path, mean=MEAN).latest("mean")
    assert (code.state_size, code.value_names, code.lookback({})) == (0, ("mean", "rows"), 4)
    group = Group(code, [{}, {"n": 1}])
    closes = [1.0, 2.0, 6.0, 4.0, 5.0, 3.0]
    rows = []
    for i in range(1, 7):
        assert group.step(closes[:i]) == []
        rows.append(group.lanes.values[0].tolist())
    assert rows[-2:] == [[5.0, 4.0], [4.0, 4.0]]
    assert group.lanes.target.tolist() == [1.0, 0.0]


def test_a_pandas_strategy_that_raises_fails_alone(tmp_path: Path) -> None:
    group = Group(load(tmp_path, mean=MEAN).latest("mean"), [{}, {}])
    assert group.step([-1.0])[0] == StepFailure(0, "KeyError raised in line 11 of the strategy's file")
    assert group.lanes.target.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("1.0", "TypeError: process_data returned float, it must return a Signal"),
        ("Signal(2.0)", "ValueError: the target is 2.0, it must be a number from -1 to 1"),
        ("Signal(float('nan'))", "ValueError: the target is nan, it must be a number from -1 to 1"),
        ("Signal(1.0, {'odd': 1.0})", "ValueError: the signal carries odd, which the class does not declare"),
    ],
)
def test_what_a_pandas_strategy_returns_is_checked(tmp_path: Path, returned: str, words: str) -> None:
    text = MEAN.split("        if df", maxsplit=1)[0] + f"        return {returned}\n"
    (failed,) = Group(load(tmp_path, mean=text).latest("mean"), [{}]).step([1.0])
    assert failed.message.startswith(words)


def test_process_data_of_a_compiled_strategy_steps_through_the_frame() -> None:
    frame = pd.DataFrame({c: [1.0, 2.0, 3.0, 1.0] for c in ("open", "high", "low", "close", "volume")})
    strategy = SmaCross({"fast": 1, "slow": 3})
    assert strategy.process_data(frame) == Signal(-1.0, {"fast_average": 1.0, "slow_average": 2.0})
    assert strategy.get_indicators() == {"fast_average": 1.0, "slow_average": 2.0}
    assert (strategy.fast, strategy.parameters) == (1, {"fast": 1, "slow": 3})
    with pytest.raises(ValueError, match="at least one candle"):
        strategy.process_data(frame[:0])


def test_the_archive_alone_is_enough_to_step(tmp_path: Path) -> None:
    hash_ = load(tmp_path, limited=LIMITED).latest("limited").code_hash
    shutil.rmtree(tmp_path / "mine")
    code = load_strategies(tmp_path / "kernels").get("limited", hash_)
    assert code is not None
    assert Group(code, [{}]).step([1.0]) == []
