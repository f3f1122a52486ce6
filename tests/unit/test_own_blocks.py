"""Own blocks: how they are declared, and how one that reads what it must not is refused."""

import re
from pathlib import Path

import numpy as np
import pytest

from infra.strategies.registry import Strategies, load_strategies
from projections.strategies import StrategyDefinitionError, block
from projections.strategies.code import CompiledCode, History
from tests.programs import KERNELS

HEAD = """
import math

from projections.strategies import BaseStrategy, block, param, sma
"""
CLASS = """

class Mine(BaseStrategy):
    n: int = param(9, low=1, high=500)
    mine = one("close", "n")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.mine > 0.0 else pos
"""
HONEST = """
@block(reads="n + 1")
def one(values, i, seen, column, n: int):
    return values[i, column] - values[i - n, column] if seen > n else math.nan
"""


def written(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def load(folder: Path, blocks: str) -> Strategies:
    return load_strategies(KERNELS, [written(folder / "mine.py", HEAD + blocks + CLASS)])


def mine(strategies: Strategies) -> CompiledCode:
    assert not strategies.broken
    code = strategies.latest("mine")
    assert isinstance(code, CompiledCode)
    return code


def ran(code: CompiledCode, closes: list[float], **params: object) -> list[float]:
    values = np.repeat(np.array(closes)[:, None], 5, axis=1)
    run = code.run(History(np.arange(len(closes)), np.ascontiguousarray(values)), params)
    return run.values[:, 0].tolist()


def test_a_block_in_the_strategys_file_is_stepped_with_the_others(tmp_path: Path) -> None:
    code = mine(load(tmp_path, HONEST))
    assert (code.lookback({"n": 2}), code.need({"n": 2})) == (3, 3)
    assert ran(code, [1.0, 5.0, 4.0, 2.5], n=2)[2:] == [3.0, -2.5]


def test_the_example_of_the_document_loads_and_says_what_it_shows(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "blocks.md").read_text()
    (example,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "@block" in part)
    strategies = load_strategies(KERNELS, [written(tmp_path / "breakout.py", example)])
    assert not strategies.broken
    code = strategies.latest("breakout")
    assert isinstance(code, CompiledCode)
    assert code.value_names == ("top", "edges.high", "edges.low", "calm")
    assert ran(code, [1.0, 5.0, 4.0, 2.5], n=2)[2:] == [5.0, 5.0]


def test_a_block_of_a_package_is_part_of_the_codes_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path / "our_blocks" / "__init__.py", "")
    imported = "from our_blocks.changes import one\n"
    written(tmp_path / "our_blocks" / "changes.py", HEAD + HONEST)
    old = mine(load(tmp_path / "a", imported))
    assert ran(old, [1.0, 5.0, 4.0], n=2)[-1] == 3.0
    twice = HONEST.replace("return values[i, column]", "return 2.0 * values[i, column]")
    written(tmp_path / "our_blocks" / "changes.py", HEAD + twice)
    strategies = load(tmp_path / "a", imported)
    new = mine(strategies)
    assert ran(new, [1.0, 5.0, 4.0], n=2)[-1] == 7.0
    assert new.code_hash != old.code_hash
    archived = strategies.get("mine", old.code_hash)
    assert isinstance(archived, CompiledCode)
    assert ran(archived, [1.0, 5.0, 4.0], n=2)[-1] == 3.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "return values[i + 1, column]",
            "reads row i + 1, a candle that has not closed yet: read row i and those before it",
        ),
        ("return values[i + (2 if seen > 30 else 0), column]", "reads row i + 2, a candle that has not"),
        ("return sum(values[:, column])", "a candle that has not closed yet"),
        ("return values[-1, column]", "a candle that has not closed yet"),
        (
            "return values[i - n - 1, column] if seen > n + 1 else math.nan",
            "reads row i - 10, so 11 candles with the current one, and declares 10: declare more (reads=)",
        ),
        (
            "return values[i - n, column] if seen >= n else math.nan",
            "reads row i - 9 at its candle 9: give NaN until seen is more than 9",
        ),
        ("return values[i + 100_000, column]", "failed at its candle 1: IndexError"),
        (
            "values[i, column] = 0.0",
            "failed at its candle 1: ValueError: assignment destination is",
        ),
        ("return 1.0, 2.0", "returned 2 numbers; it declares 1 (outputs=) and 0 of its state"),
        ("return None", "failed at its candle 1: TypeError"),
    ],
)
def test_a_block_that_reads_what_it_must_not_is_refused_with_the_row_and_the_way_out(
    tmp_path: Path, text: str, words: str
) -> None:
    head, _, _ = HONEST.partition("    return")
    strategies = load(tmp_path, f"{head}    {text}\n")
    (error,) = strategies.broken
    assert error.reason.startswith("own block one ")
    assert words in error.reason
    assert Path(error.file).read_text().splitlines()[error.line - 1].startswith("class Mine")


def test_a_block_that_depends_on_more_candles_than_it_needs_is_refused(tmp_path: Path) -> None:
    text = """
@block(reads=1, needs={needs!r})
def one(values, i, seen, column, n: int, level=0.0):
    level = values[i, column] if seen == 1 else level + (values[i, column] - level) / n
    return level, level
"""
    (error,) = load(tmp_path, text.format(needs="10 * n")).broken
    assert "depends on candles before the last 90, which are all that it says that it needs" in error.reason
    assert mine(load(tmp_path, text.format(needs="60 * n"))).need({}) == 540


def test_a_block_over_another_one_is_held_against_the_same(tmp_path: Path) -> None:
    peeking = HONEST.replace("values[i, column] -", "values[i + 1, column] -")
    nested = CLASS.replace('one("close", "n")', 'sma(one(sma("close", 3), "n"), 3)')
    file = written(tmp_path / "mine.py", HEAD + peeking + nested)
    (error,) = load_strategies(KERNELS, [file]).broken
    assert "own block one reads row i + 1" in error.reason


def test_two_own_blocks_of_one_name_are_refused(tmp_path: Path) -> None:
    other = HONEST.replace("column] -", "column] +")
    twice = HONEST + "first = one\n" + other
    both = CLASS.replace("    mine =", '    two = first("close", 3)\n    mine =')
    (error,) = load_strategies(KERNELS, [written(tmp_path / "mine.py", HEAD + twice + both)]).broken
    assert "Mine has two own blocks named one" in error.reason


def test_what_numba_cannot_compile_in_a_block_is_told_with_its_line(tmp_path: Path) -> None:
    code = mine(load(tmp_path, HONEST.replace("    return", "    n.bit_length()\n    return")))
    with pytest.raises(Exception, match="line 8"):
        code.compile()


def _no_led(values: object, i: int, column: int) -> float:
    return 0.0


def _state(values: object, i: int, seen: int, level: float = 1.0) -> tuple[float, float]:
    return level, level


def _plain(values: object, i: int, seen: int, column: int, n: int) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("function", "reads", "needs", "words"),
    [
        (_no_led, 1, None, "own block _no_led: its first arguments must be values, i, seen"),
        (_state, 1, None, "own block _state: level=1.0 is its state, which begins at 0.0"),
        (
            _plain,
            "m",
            None,
            "own block _plain: reads='m' must be a sum of windows and numbers, such as 'n + 1'",
        ),
        (_plain, 0, None, "reads='0' must be a sum"),
        (_plain, "2 * n", None, "reads='2 * n' must be a sum"),
        (
            _plain,
            "n",
            "n / 2",
            "needs='n / 2' must be a sum of windows and numbers, such as 'n + 1' or 60 * n",
        ),
        (abs, 1, None, "own block abs must be a plain function"),
    ],
)
def test_a_wrongly_declared_block_is_refused(
    function: object, reads: str | int, needs: str | None, words: str
) -> None:
    with pytest.raises(StrategyDefinitionError) as error:
        block(reads=reads, needs=needs)(function)  # pyright: ignore[reportArgumentType] - wrong on purpose
    assert words in str(error.value)


def test_a_block_is_called_with_what_it_asks_for() -> None:
    made = block(reads="n", needs="30 * n + 1")(_plain)
    assert made("close", n="m").arguments == ("close", "m")
    assert made("close", 5, timeframe="1h").frame == "1h"
    assert made("close", 5).need({}) == 30 * 8 + 1  # as with a window of 8
    with pytest.raises(StrategyDefinitionError, match=r"own block _plain\(column, n\): missing a required"):
        made("close")
