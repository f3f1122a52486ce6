"""`runs`: the ledger of trials from the command line, also of those that were killed, or cannot be read."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from api.cli import main
from tests.conftest import resize
from tests.integration.command_line import MARKET, CommandLine

ON = (*MARKET, "--timeframe", "1m")
SET = ("--param", "fast=3", "--param", "slow=8")
GRID = ("--grid", "fast=3:5", "--grid", "slow=4,8,20")
WAITS = """
import threading
from pathlib import Path

from projections.strategies import BaseStrategy, Signal, param


class Waits(BaseStrategy):
    window = 5
    n: int = param(3, low=1, high=9)

    def process_data(self, df):
        Path(r"{file}").touch()
        threading.Event().wait()
        return Signal(0.0)
"""
LOCKS = """
import fcntl

from projections.strategies import BaseStrategy, Signal

log = open(r"{lock}", "a")


class Locks(BaseStrategy):
    window = 5

    def process_data(self, df):
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Signal(1.0)
"""
CROSS = """
from projections.strategies import BaseStrategy, param, sma


class Cross(BaseStrategy):
    fast: int = param(3, low=1, high=99)
    average = sma("close", "fast")

    @staticmethod
    def signal(bar, x, p, pos):
        return {up} if bar.close > x.average else 0.0
"""


@pytest.fixture
def home(untried: CommandLine, tmp_path: Path) -> CommandLine:
    return untried.copy(tmp_path / "copy")


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    close = np.round(200 + np.cumsum(np.random.default_rng(2).normal(0, 1, 400)), 2)
    times = pd.date_range("2024-01-01", periods=400, freq="1h", tz="UTC")
    frame = pd.DataFrame({"timestamp": times, "open": close, "high": close, "low": close, "close": close})
    frame.to_csv(tmp_path / "bars.csv", index=False)
    return tmp_path / "bars.csv"


def of_file(bars: Path) -> tuple[object, ...]:
    return ("--venue", "any", "--symbol", "A/B", "--timeframe", "1h", "--data", bars)


def test_a_killed_sweep_is_shown_as_broken_off_and_counts(
    cli: CommandLine, bars: Path, tmp_path: Path
) -> None:
    cli.out("markets", "add", *MARKET, "--price-step", "1", "--size-step", "1")
    strategy = tmp_path / "waits.py"
    strategy.write_text(WAITS.format(file=tmp_path / "stepped"))
    with cli.start("sweep", strategy, *of_file(bars), "--grid", "n=3:5") as sweep:
        sweep.until((tmp_path / "stepped").exists, "its first bar")
        (listed,) = cli.lines("runs", "list", "--json")
        assert (listed["state"], listed["sets"], listed["sharpe"]) == ("running", 3, None)
        sweep.kill()
    (listed,) = cli.lines("runs", "list", "--json")
    assert (listed["kind"], listed["state"], listed["sets"]) == ("sweep", "broken off", 3)
    assert cli.line("backtest", "sma_cross", *of_file(bars))["tried"] == 4


def test_trials_are_listed_newest_first_shown_compared_and_run_again(home: CommandLine) -> None:
    assert home.line("backtest", "sma_cross", *ON, *SET, "--short")["trial"] == 0
    best = home.lines("sweep", "sma_cross", *ON, *GRID, "--sort", "final", "--json")[0]
    home.out("backtest", "sma_cross", *ON, *SET, "--source", "candles", "--cash", "500", "--fee-bp", "9")
    listed = home.lines("runs", "list", "--json")
    assert [(line["kind"], line["state"], line["sets"]) for line in listed] == [
        ("backtest", "ended", 1), ("sweep", "ended", 7), ("backtest", "ended", 1),
    ]  # fmt: skip
    last, sweep, first = (line["id"] for line in listed)
    shown = home.line("runs", "show", sweep)
    found = max(shown["sets"], key=lambda one: float(one["metrics"]["final"]))
    assert (found["params"], found["metrics"]) == (best["params"], best["metrics"])
    compared = home.line("runs", "compare", first, last)
    assert set(compared["asked"]) == {"origin", "sha256", "specification", "cash", "short", "fee"}
    assert (compared["common"], compared["equal"]) == (1, 0)
    assert compared["numbers"]["initial"] == {"sets": 1, "one": "10000.00000000", "other": "500.00000000"}
    for trial in (sweep, last):
        done = home.line("runs", "again", trial)
        assert done["same"] is True and done["versions"] == {}
    assert home.out("runs", "list").count("ended") == 5
    assert "… and" not in home.out("runs", "show", sweep)


def test_a_trial_is_run_again_with_the_code_of_its_day_and_only_over_the_same_bars(
    cli: CommandLine, bars: Path, tmp_path: Path
) -> None:
    cli.out("markets", "add", *MARKET, "--price-step", "1", "--size-step", "1")
    strategy = tmp_path / "cross.py"
    strategy.write_text(CROSS.format(up="1.0"))
    cli.out("backtest", strategy, *of_file(bars), "--holdout", "20%")
    strategy.write_text(CROSS.format(up="-1.0"))
    other = cli.line("backtest", strategy, *of_file(bars), "--short", "--holdout", "20%")
    assert "sharpe" in cli.line("runs", "compare", 0, other["trial"])["numbers"]
    with bars.open("a") as file:  # behind the range that was run over
        file.write("2024-01-17T16:00:00Z,200,200,200,200\n")
    assert cli.line("runs", "again", 0)["same"] is True
    names, _, *rows = bars.read_text().splitlines()
    bars.write_text("\n".join((names, "2024-01-01T00:00:00Z,7,7,7,7", *rows)))
    assert "the bars are others now" in cli.error("runs", "again", 0)
    assert "there is no trial 1;" in cli.error("runs", "again", 1)


def test_a_damaged_ledger_is_told_and_disturbs_nothing(home: CommandLine) -> None:
    for _ in range(2):
        home.out("backtest", "sma_cross", *ON, *SET)
    with sqlite3.connect(home.home / "log" / "log.db") as file:
        (topic,) = file.execute("SELECT id FROM topics WHERE name = 'research'").fetchone()
        file.execute("UPDATE records SET value = x'c1' || substr(value, 2) WHERE id = ?", (topic << 52,))
    assert home.line("verify")["equal"] is True
    done = home.run("runs", "list", "--json")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    assert "! research:0:0 is of a newer release, or damaged" in done.stderr
    assert home.line("backtest", "sma_cross", *ON, *SET)["tried"] == 2
    lines = home.lines("log", "research")
    assert [line["type"] for line in lines[:3]] == ["undecodable", "trial_ended.v1", "trial_started.v1"]
    assert len(lines[1]["event"]["blocks"]) == 48


def test_a_result_that_the_ledger_lacks_is_shown_and_the_command_fails(
    cli: CommandLine,
    bars: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cli.out("markets", "add", *MARKET, "--price-step", "1", "--size-step", "1")
    strategy = tmp_path / "locks.py"
    strategy.write_text(LOCKS.format(lock=cli.home / "log" / "log.lock"))
    monkeypatch.setenv("TCPD_HOME", str(cli.home))
    monkeypatch.setattr("streams.embedded.log.BUSY_S", 0.1)
    monkeypatch.setattr(
        "sys.argv", ["tcpdashboard", "backtest", *map(str, (strategy, *of_file(bars))), "--json"]
    )
    assert main() == 1
    result = json.loads(capfd.readouterr().out)
    assert (result["trial"], result["candles"]) == (0, 400)
    assert "The ledger lacks what became of trial 0" in result["notes"][-1]


def test_a_full_disk_stops_a_run_before_its_first_bar(small_disk: Path, bars: Path, tmp_path: Path) -> None:
    resize(small_disk, "60m")
    cli = CommandLine(small_disk / "home")
    cli.out("markets", "add", *MARKET, "--price-step", "1", "--size-step", "1")
    strategy = tmp_path / "waits.py"
    strategy.write_text(WAITS.format(file=tmp_path / "stepped"))
    resize(small_disk, f"{sum(f.stat().st_size for f in small_disk.rglob('*') if f.is_file()) // 1024 + 8}k")
    assert "disk is full" in cli.error("backtest", strategy, *of_file(bars))
    assert not (tmp_path / "stepped").exists()
    resize(small_disk, "60m")
    assert cli.lines("runs", "list", "--json") == []
