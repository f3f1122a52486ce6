"""`sweep`: each set as `backtest` tells it, and what is refused."""

from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from api.cli.sweep import Seen
from infra.research.over_sets import Row
from tests.integration.command_line import MARKET, CommandLine

ON = (*MARKET, "--timeframe", "1m")
SWEEP = ("sweep", "sma_cross", *ON, "--grid", "fast=3:5", "--grid", "slow=4,8,20")


def results(cli: CommandLine, *words: str) -> list[tuple[Any, ...]]:
    """The lines of a sweep without which trial of the ledger it was."""
    return [tuple(line[name] for name in ("params", "metrics", "error")) for line in cli.lines(*words)]


def test_a_line_of_a_sweep_is_what_backtest_says_of_its_set(recorded: CommandLine) -> None:
    how = ("--short", "--cash", "1000", "--fee-bp", "2", "--size", "equity:0.5")
    lines = recorded.lines(*SWEEP, *how, "--jobs", "2", "--json")
    assert len(lines) == 7
    for line in lines:
        params = [word for name, value in line["params"].items() for word in ("--param", f"{name}={value}")]
        backtest = recorded.line("backtest", "sma_cross", *ON, *params, *how)
        assert (line["metrics"], line["error"]) == (backtest["metrics"], "")
    ratios = [
        line["metrics"]["profit_factor"]
        for line in recorded.lines(*SWEEP, "--json", "--sort", "profit_factor")
    ]
    assert ratios == sorted(ratios, reverse=True) and ratios[0] > ratios[-1]


def test_a_file_holds_every_set_best_first(recorded: CommandLine, tmp_path: Path) -> None:
    lines = recorded.lines(*SWEEP, "--sort", "final", "--json", "--out", tmp_path / "sets.parquet")
    frame = pd.read_parquet(tmp_path / "sets.parquet")
    assert list(frame["final"]) == [float(line["metrics"]["final"]) for line in lines]
    recorded.out(*SWEEP, "--sort", "final", "--out", tmp_path / "sets.csv")
    assert list(pd.read_csv(tmp_path / "sets.csv")["final"]) == list(frame["final"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sets.csv", "sets.parquet"]


def test_a_report_holds_what_was_swept(recorded: CommandLine, tmp_path: Path) -> None:
    done = recorded.run(*SWEEP, "--sort", "final", "--report", tmp_path / "sweep.html")
    text = unescape((tmp_path / "sweep.html").read_text(encoding="utf-8"))
    (spike,) = (line for line in done.stderr.splitlines() if "spike" in line)
    assert spike.removeprefix("! ") in text and "7 sets of parameters by Final equity" in text
    assert "there is no folder" in recorded.error(*SWEEP, "--report", tmp_path / "no" / "sweep.html")
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.html"]


def test_who_looks_on_reads_how_long_it_will_take_and_what_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 10_000, 30))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    texts: list[str | None] = []
    seen = Seen("sharpe", lambda done, text=None: texts.append(text))
    seen([({"n": 1}, Row({"sharpe": 0.5}))], 10)
    seen([({"n": 2}, Row({"sharpe": 0.25})), ({"n": 3}, Row({}, "failed"))], 10)
    seen([({"n": 4}, Row({"sharpe": 1.75})), ({"n": 5}, Row({"sharpe": None}))], 10)
    assert texts == [
        "1 of 10 sets; best sharpe 0.5: n=1",
        "3 of 10 sets, 0:01:45 left; best sharpe 0.5: n=1",
        "5 of 10 sets, 0:01:15 left; best sharpe 1.75: n=4",
    ]


def test_random_sets_are_some_of_the_grid(recorded: CommandLine) -> None:
    some = (*SWEEP, "--random", "4", "--seed", "1", "--json")
    lines = results(recorded, *some)
    assert lines == results(recorded, *some)
    everything = results(recorded, *SWEEP, "--json")
    assert 0 < len(lines) <= 4 and all(line in everything for line in lines)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--grid", "fast=5:60:0"), "above 0"),
        (("--grid", "fast"), "is no axis"),
        (("--grid", "quick=3"), "no parameter 'quick'"),
        (("--grid", "fast=9", "--grid", "slow=3"), "fast must be below slow"),
        (("--grid", "fast=1:4000", "--grid", "slow=2:4000"), "at most 1,000,000"),
        (("--grid", "fast=3", "--grid", "fast=4"), "two axes"),
        (("--grid", "fast=3", "--sort", "luck"), "there is no metric 'luck'"),
        (("--grid", "fast=3", "--out", "sets.txt"), ".parquet or .csv"),
        (("--grid", "fast=3", "--random", "0"), "at least 1"),
        (("--grid", "fast=3", "--cash", "much"), "much"),
        (("--grid", "fast=3", "--out", "/no/such/sets.csv"), "no folder /no/such"),
        (("--grid", "fast=3", "--seed", str(2**63)), "63 bits"),
    ],
)
def test_what_cannot_be_swept_is_refused_with_words(
    recorded: CommandLine, options: tuple[str, ...], words: str
) -> None:
    assert words in recorded.error("sweep", "sma_cross", *ON, *options)


def test_a_sweep_of_which_no_set_can_be_run_has_failed(recorded: CommandLine) -> None:
    words = ("sweep", "sma_cross", *ON, "--grid", "fast=3")
    done = recorded.run(*words, "--grid", "slow=4000,4999")
    assert done.returncode == 1 and "! 2 sets failed" in done.stderr
    assert recorded.run(*words, "--grid", "slow=4,4999").returncode == 0


PRINTS = """
from projections.strategies import BaseStrategy, Signal, param


class Prints(BaseStrategy):
    window = 5
    sharpe: int = param(3, low=1, high=9)

    def process_data(self, df):
        print("my own words")
        if self.sharpe == 4:
            raise ValueError("no fourth")
        return Signal(1.0)
"""


def test_what_a_strategy_prints_is_no_part_of_a_sweep_and_what_it_raises_is_told(
    recorded: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "prints.py").write_text(PRINTS, encoding="utf-8")
    words = ("sweep", tmp_path / "prints.py", *ON, "--grid", "sharpe=3,4", "--sort", "final")
    assert [line["params"] for line in recorded.lines(*words, "--json")] == [{"sharpe": 3}, {"sharpe": 4}]
    done = recorded.run(*words)
    assert "my own words" not in done.stdout and "my own words" in done.stderr
    assert "! 1 set failed" in done.stderr and "The first: strategy prints failed" in done.stderr
    heads, *rows = (line.split() for line in done.stdout.splitlines())
    assert [row[heads.index("sharpe_")] for row in rows] == ["3", "4"]
