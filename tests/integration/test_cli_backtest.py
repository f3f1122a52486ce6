"""`backtest`: what a live bot would have done, and what is refused."""

import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from infra.present.values import parse_time
from tests.conftest import resize
from tests.integration.command_line import KEY, MARKET, MINUTES, START_MS, Called, CommandLine, write_csv

ON = (*MARKET, "--timeframe", "1m")
SMA = ("backtest", "sma_cross", *ON, "--param", "fast=3", "--param", "slow=8")
GIVEN = "sma_cross fast=3 slow=8 timeframe=1m cash=1000 short=true size=equity:0.5"
AS_GIVEN = (*SMA, "--cash", "1000", "--short", "--size", "equity:0.5")
FRAMES = ("equity", "trades", "fills", "signals", "indicators")


def test_a_backtest_fills_as_the_whole_fold_does(recorded: CommandLine, tmp_path: Path) -> None:
    result = recorded.line(*AS_GIVEN, "--out", tmp_path / "out")
    recorded.out("replay", "--into", tmp_path / "again", "--bot", GIVEN)
    again = CommandLine(tmp_path / "again", recorded.settings)
    names = ("price", "size", "fee", "realised_pnl", "position", "cash")
    folded = [
        (parse_time(one["timestamp"]), one["side"], *(float(one[name]) for name in names))
        for one in again.lines("trades", 1, "--json")
    ]
    fills = pd.read_parquet(tmp_path / "out" / "fills.parquet")
    columns = [fills.index.as_unit("ns").astype("int64"), fills["side"], *(fills[name] for name in names)]
    assert list(zip(*columns, strict=True)) == folded
    assert result["fills"] == len(folded) > 10
    assert result["metrics"]["final"] == again.lines("equity", 1, "--json")[-1]["equity"]


def test_the_folder_of_a_result_holds_its_tables_and_its_numbers(
    recorded: CommandLine, tmp_path: Path
) -> None:
    result = recorded.line(*SMA, "--out", tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept == result
    frames = {name: pd.read_parquet(tmp_path / "out" / f"{name}.parquet") for name in FRAMES}
    assert len(frames["equity"]) == len(frames["indicators"]) == result["candles"] == MINUTES
    assert len(frames["trades"]) == result["metrics"]["trades"] + result["metrics"]["open_trades"]
    assert str(frames["equity"].index.tz) == "UTC"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_report_holds_the_numbers_and_the_words(recorded: CommandLine, tmp_path: Path) -> None:
    result = recorded.line(*SMA, "--report", tmp_path / "report.html")
    text = unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    for name, value in result["metrics"].items():
        assert f'data-name="{name}" data-value="{json.dumps(value)}"' in text
    for line in (result["headline"], *(said["text"] for said in result["honesty"])):
        assert line in text
    assert "there is no folder" in recorded.error(*SMA, "--report", tmp_path / "no" / "report.html")
    assert "is a folder" in recorded.error(*SMA, "--report", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_range_is_warm_and_a_cold_one_says_so(recorded: CommandLine) -> None:
    part = ("--from", "2018-01-01T01:00:00Z", "--to", "2018-01-01T02:00:00Z")
    warm, cold = recorded.line(*SMA, *part), recorded.line(*SMA, *part, "--cold")
    assert (warm["candles"], warm["warmed"], cold["warmed"]) == (60, 8, 0)
    said = recorded.error(*SMA, "--from", "2018-01-01T03:15:00Z", "--cold")
    assert "or leave cold out: 195 bars lie before it" in said
    told = {line["about"]: line["warns"] for line in cold["honesty"]}
    assert told["warm_up"] is True
    assert told["sample"] is True
    assert cold["honesty"][0]["about"] == "sample", "before any number"


def test_costs_that_are_given_are_said_and_taken(recorded: CommandLine) -> None:
    own, free = recorded.line(*SMA), recorded.line(*SMA, "--fee-bp", "0", "--slippage-bp", "1")
    assert "fee 2.5 bp, slippage 0 bp;" in own["headline"]
    assert "fee 0 bp (given for this run), slippage 1 bp (given for this run);" in free["headline"]
    assert float(own["metrics"]["fees"]) > 0.0 == float(free["metrics"]["fees"])


def test_both_revisions_are_told_apart(recorded: CommandLine) -> None:
    result = recorded.line(*SMA, "--as-known", "--final")
    assert result["differs"]["signals_alike"] == result["differs"]["signals_final"] == result["signals"]
    assert result["final"]["metrics"] == result["metrics"], "nothing came late here"


def test_each_number_is_explained(recorded: CommandLine) -> None:
    assert "Mean of the returns of UTC days over their standard deviation" in " ".join(
        recorded.out(*SMA, "--explain").split()
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("backtest", "sma_cros", *ON), "there is no strategy 'sma_cros'"),
        ((*SMA, "--param", "quick=3"), "quick"),
        ((*SMA, "--param", "fast=0"), "fast"),
        (("backtest", "sma_cross", "--venue", "test", "--symbol", "ETH/USDT", "--timeframe", "1m"), KEY),
        ((*SMA, "--from", "2018-01-01T02:00:00Z", "--to", "2018-01-01T01:00:00Z"), "no candle ends after"),
        ((*SMA, "--to", "2017-01-01"), "there are 200, from 2018-01-01T00:01:00Z"),
        ((*SMA, "--to", "2018-01-01T00:03:00Z"), "8 bars"),
        ((*SMA, "--cash", "0"), "cash: '0' must be a number above 0"),
        ((*SMA, "--size", "equity:2"), "at most equity:1"),
        ((*SMA, "--fee-bp", "x"), "--fee-bp"),
        ((*SMA, "--annualise", "0"), "annualise by 0.0"),
    ],
)
def test_what_cannot_be_tested_is_refused_with_words(
    recorded: CommandLine, called: Called, words: tuple[str, ...], said: str
) -> None:
    code, error = called(*words, "--out", str(recorded.home / "never"))
    assert (code in (1, 2), said in error) == (True, True), error
    assert not (recorded.home / "never").exists()


def test_a_home_without_a_journal_gets_none(tmp_path: Path) -> None:
    assert "there is no journal" in CommandLine(tmp_path).error(*SMA)
    assert not (tmp_path / "log").exists()


def test_a_folder_that_is_there_is_left_alone(recorded: CommandLine, tmp_path: Path) -> None:
    assert "is there already" in recorded.error(*SMA, "--out", tmp_path)


def test_a_full_disk_is_said_and_leaves_nothing_half_written(recorded: CommandLine, small_disk: Path) -> None:
    resize(small_disk, "16k")
    for words in (("--out", small_disk / "out"), ("--report", small_disk / "report.html")):
        assert "the disk is full" in recorded.run(*SMA, *words).stderr
        assert list(small_disk.iterdir()) == []


def test_a_market_in_its_first_minute_has_nothing_to_test(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    cli.out(
        "markets", "add", "--venue", "new", "--symbol", "BTC/USDT", "--price-step", "1", "--size-step", "1"
    )
    words = ("backtest", "sma_cross", "--venue", "new", "--symbol", "BTC/USDT", "--timeframe", "1m")
    assert "no candle has closed yet" in cli.error(*words)


RAISES = """from projections.strategies import BaseStrategy


class Fails(BaseStrategy):
    name = "fails"

    def signal(bar, x, p, pos):
        return 2.0 if bar.close > 0 and pos == 1.0 else 1.0
"""


FAILS_AT_ONCE = """from projections.strategies import BaseStrategy, sma


class FailsAtOnce(BaseStrategy):
    name = "fails_at_once"
    average = sma("close", 8)

    def signal(bar, x, p, pos):
        return 2.0
"""


def test_a_strategy_that_fails_while_it_is_warmed_is_refused(recorded: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "fails_at_once.py"
    file.write_text(FAILS_AT_ONCE, encoding="utf-8")
    said = recorded.error("backtest", file, *ON, "--from", "2018-01-01T01:00:00Z")
    assert "the target is 2.0, it must be a number from -1 to 1" in said


SHORTS = """from projections.strategies import BaseStrategy


class Shorts(BaseStrategy):
    name = "shorts"

    def signal(bar, x, p, pos):
        return -1.0
"""


def test_a_strategy_that_fails_ends_its_bot_and_says_how(recorded: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "fails.py"
    file.write_text(RAISES, encoding="utf-8")
    result = recorded.line("backtest", file, *ON)
    assert result["incidents"] == [
        "The bot was halted as strategy_error at 2018-01-01T00:02:00Z.",
        "Its strategy said: ValueError: the target is 2.0, it must be a number from -1 to 1.",
    ]
    assert (result["fills"], result["metrics"]["open_trades"]) == (1, 1), "what it holds stays"


NEVER_RUNS = """from projections.strategies import BaseStrategy


class NeverRuns(BaseStrategy):
    name = "never_runs"

    def signal(bar, x, p, pos):
        return bar.nothing.of.the.kind
"""


def test_a_strategy_that_never_gives_a_target_is_refused(recorded: CommandLine, tmp_path: Path) -> None:
    for name, text in (
        ("never_runs", NEVER_RUNS),
        ("nans", NEVER_RUNS.replace("bar.nothing.of.the.kind", "nan")),
    ):
        file = tmp_path / f"{name}.py"
        file.write_text(f"nan = float('nan')\n{text}".replace("never_runs", name), encoding="utf-8")
        for words in ((), ("--from", "2018-01-01T01:00:00Z")):
            said = recorded.error("backtest", file, *ON, *words, "--out", tmp_path / "out")
            assert f"strategy {name} failed at the bar 2018-01-01T0" in said
            assert "before it gave a target, so nothing was tested: " in said
    assert not (tmp_path / "out").exists()


PRINTS = """print("read")

from projections.strategies import BaseStrategy


class Prints(BaseStrategy):
    name = "prints"

    def signal(bar, x, p, pos):
        print("step")
        return 1.0
"""


def test_what_a_strategy_prints_is_no_part_of_the_result(recorded: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "prints.py"
    file.write_text(PRINTS, encoding="utf-8")
    done = recorded.run("backtest", file, *ON, "--json")
    assert json.loads(done.stdout)["strategy"] == "prints"
    assert {"read", "step"} <= set(done.stderr.splitlines())
    assert json.loads(done.stdout)["headline"].startswith(f"prints on {KEY} 1m, ")


def test_a_file_that_is_among_the_strategies_may_be_named_too(recorded: CommandLine, tmp_path: Path) -> None:
    both, broken = tmp_path / "both.py", tmp_path / "broken.py"
    both.write_text(SHORTS + SHORTS.replace("horts", "pots"), encoding="utf-8")
    broken.write_text("(", encoding="utf-8")
    said = recorded.error("backtest", both, *ON)
    assert "has the strategies shorts, spots: name the file in TCPD_STRATEGIES" in said
    cli = CommandLine(recorded.home, recorded.settings | {"TCPD_STRATEGIES": f"{both}:{broken}"})
    assert cli.line("backtest", "spots", *ON)["strategy"] == "spots"
    one = tmp_path / "one.py"
    one.write_text(SHORTS, encoding="utf-8")
    cli = CommandLine(recorded.home, recorded.settings | {"TCPD_STRATEGIES": f"{one}:{broken}"})
    assert cli.line("backtest", one, *ON)["strategy"] == "shorts"


def test_a_bankrupt_account_ends_and_is_told(recorded: CommandLine, tmp_path: Path) -> None:
    cli = CommandLine(tmp_path / "home", recorded.settings)
    rows = [(START_MS + minute * 20_000 + 1, f"{100 + 5 * minute}", "1") for minute in range(100)]
    cli.out("import", write_csv(tmp_path / "rising.csv", rows), *MARKET)
    file = tmp_path / "shorts.py"
    file.write_text(SHORTS, encoding="utf-8")
    result = cli.line("backtest", file, *ON, "--short", "--size", "equity:1")
    assert result["incidents"] == ["The bot was halted as bankrupt at 2018-01-01T00:10:00Z."], (
        "short at 120, twice that is reached at 00:09:20"
    )
    assert float(result["metrics"]["final"]) < 0, (
        "a short loses more than there is, and nothing liquidates it"
    )
    assert result["metrics"]["trades"] == 1
    assert result["metrics"]["cagr"] is None
    assert result["why"]["cagr"] == "the account ended at nothing or less"


SLOW = """import time

from projections.strategies import BaseStrategy, Signal


class Slow(BaseStrategy):
    name = "slow"
    window = 3

    def process_data(self, df):
        deadline = time.perf_counter() + 0.02
        while time.perf_counter() < deadline:
            pass
        return Signal(1.0 if df["close"].iloc[-1] > df["close"].iloc[0] else 0.0)
"""


def test_a_strategy_in_plain_python_says_how_long_it_takes(recorded: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "slow.py"
    file.write_text(SLOW, encoding="utf-8")
    done = recorded.run("backtest", file, *ON, "--json")
    assert done.returncode == 0, done.stderr
    assert re.match(r"^slow is plain Python: its 200 steps will take about \d+ s\n$", done.stderr)
    assert json.loads(done.stdout)["fills"] > 5


def test_recorded_candles_alone_fill_at_an_assumption_that_is_said(recorded: CommandLine) -> None:
    ticks, bars = recorded.line(*SMA), recorded.line(*SMA, "--source", "candles")
    assert (ticks["source"], bars["source"]) == ("journal", "candles")
    assert "Bars only: fills at the next bar's open, an assumption." in bars["headline"]
    assert (bars["candles"], bars["signals"]) == (ticks["candles"], ticks["signals"])
    assert bars["metrics"]["final"] != ticks["metrics"]["final"]
    worst = recorded.line(*SMA, "--source", "candles", "--fill", "worst")
    assert float(worst["metrics"]["final"]) < float(bars["metrics"]["final"])
    final = recorded.line(*SMA, "--source", "candles", "--final")
    assert "Bars only, in their last revision, which no bot saw: fills at the next" in final["headline"]


def test_a_file_is_tested_with_the_costs_of_its_market_where_that_is_recorded(
    recorded: CommandLine, cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "candles.csv"
    file.write_text(recorded.out("candles", *ON, "--format", "csv"))
    here, elsewhere = recorded.line(*SMA, "--data", file), cli.line(*SMA, "--data", file)
    assert here["metrics"] == recorded.line(*SMA, "--source", "candles")["metrics"]
    assert "fee 2.5 bp" in here["headline"]
    assert "fee 0 bp" in elsewhere["headline"]
    assert elsewhere["notes"][0].startswith(
        f"{KEY} is taken for spot, settled in USDT, price step 0.1 (assumed)"
    )
    assert not cli.home.joinpath("log").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--source", "journal", "--data", "x.csv"), "--source journal and --data contradict each other"),
        (("--data", "x.csv", "--final"), "a file has one revision"),
        (("--data", "x.csv"), "x.csv: no such file"),
        (("--stamp", "open"), "--stamp is for --data: recorded candles have their ends"),
        (("--fill", "worst"), "--fill is for bars alone: the journal knows which trade fills"),
        (("--source", "candles", "--symbol", "A/B"), "market test:A/B is not in the journal"),
    ],
)
def test_a_source_that_is_none_is_refused(called: Called, words: tuple[str, ...], said: str) -> None:
    code, error = called(*SMA, *words)
    assert (code, said in error) == (1, True), error
