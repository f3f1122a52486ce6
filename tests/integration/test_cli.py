"""The command line as people and scripts use it: formats, columns, exit codes, words."""

import csv
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.cli.run import DEMO, MARKETS
from infra.exchange.simulated import START_NS, symbols
from infra.exchange.simulated import market as simulated_market
from infra.exchange.simulated import ticks as simulated_ticks
from infra.strategies.registry import Strategies
from projections.fold.pipeline import Pipeline
from streams.events import MINUTE_NS, Fill, Market, RowMarket, TickBatch
from streams.ticks import pack
from tests.integration.command_line import (
    CREATE,
    FIRST,
    MARKET,
    MINUTES,
    PART,
    ROWS,
    SMA,
    SPLIT,
    Called,
    CommandLine,
    trades,
    write_csv,
)
from tests.integration.running import Running
from tests.journal import create, fold, of, records

CANDLES = "/api/candles/sim/BTC/USDT"


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


# ------------------------------------------------------------------ import


def test_an_import_that_is_repeated_appends_nothing_and_says_what_is_there(
    recorded: CommandLine, files: Path
) -> None:
    again = recorded.line("import", files / "rest.csv", *MARKET)
    assert (again["ticks"], again["rows"]) == (0, len(ROWS) - len(FIRST))


def test_a_new_market_takes_a_specification_and_says_which(cli: CommandLine, files: Path) -> None:
    done = cli.run("import", files / "first.csv", *MARKET, "--no-fold", "--json")
    assert done.returncode == 0
    assert "test:BTC/USDT is new: spot, settled in USDT, price step 0.1 (assumed)" in done.stderr
    assert json.loads(done.stdout)["ticks"] == len(FIRST)
    assert [t for t in cli.lines("topics", "--json") if t["topic"] == "candles" and t["highwater"]] == []


def test_what_was_only_appended_is_folded_by_the_next_command_that_folds(
    cli: CommandLine, files: Path
) -> None:
    cli.out("import", files / "first.csv", *MARKET, "--no-fold")
    created = cli.line(*SMA, "--start", "--no-fold")
    assert cli.lines("bots", "list", "--json") == []
    assert "bot 1 on test:BTC/USDT is in the journal and not in the database yet" in cli.error(
        "bots", "show", 1
    )
    assert cli.line("bots", "stop", 1)["position"] > created["position"]
    assert cli.line("bots", "show", 1)["status"] == "stopped"
    assert len(table(cli.out("candles", *MARKET, "--timeframe", "1m"))) == SPLIT


def test_a_bad_row_ends_an_import_with_file_row_and_value_and_the_rows_before_count(
    cli: CommandLine, tmp_path: Path
) -> None:
    bad = write_csv(tmp_path / "bad.csv", [*FIRST[:20], (FIRST[20][0], "-1.0", "1.0"), *FIRST[21:]])
    said = cli.run("import", bad, *MARKET, "--json")
    assert said.returncode == 1
    done = json.loads(said.stdout)
    assert (done["rows"], done["ticks"], done["bad_rows"], done["in_candles"]) == (21, 20, 1, 20)
    assert f"{bad}: row 21: price is " in said.stderr
    assert "-1" in said.stderr
    assert cli.line("import", bad, *MARKET, "--skip-bad")["bad_rows"] == 1
    letters = cli.lines("log", "system")
    assert [line["event"]["reason"] for line in letters if line["type"] == "dead_letter.v1"] != []


def test_a_file_older_than_the_market_is_refused_with_the_way_out(
    recorded: CommandLine, tmp_path: Path
) -> None:
    old = write_csv(tmp_path / "old.csv", trades(5, seed=2))
    error = recorded.error("import", old, *MARKET)
    assert "2018-01-01T03:20:00" in error
    assert "--backfill" in error


def test_what_a_market_is_cannot_change_but_its_fees_can(
    recorded: CommandLine, tmp_path: Path, files: Path
) -> None:
    error = recorded.error("import", files / "rest.csv", *MARKET, "--closed", "left")
    assert "known with --closed right, which cannot change" in error
    cli = recorded.copy(tmp_path / "copy")
    cli.out("import", files / "rest.csv", *MARKET, "--fee-bp", "5", "--price-step", "0.05")
    newest = [line["event"] for line in cli.lines("log", "journal") if line["type"] == "market.v1"][-1]
    assert (newest["fee"], newest["price_step"], newest["size_step"]) == ("0.00050000", "0.05", "0.001")


# ------------------------------------------------------------------ candles


def test_candles_are_those_of_the_trades(recorded: CommandLine) -> None:
    text = recorded.out("candles", *MARKET, "--timeframe", "1m", "--format", "csv")
    assert text.splitlines()[0] == (
        "timestamp,timeframe,revision,open,high,low,close,volume,trades,empty,incomplete"
    )
    rows = table(text)
    assert len(rows) == MINUTES
    assert rows[0]["timestamp"] == "2018-01-01T00:01:00Z"
    assert {row["trades"] for row in rows} == {"12"}
    assert {(row["revision"], row["empty"], row["incomplete"]) for row in rows} == {("0", "false", "false")}
    for row, start in zip(rows, range(0, len(ROWS), 12), strict=True):
        prices = [float(price) for _, price, _ in ROWS[start : start + 12]]
        volume = sum(round(abs(float(size)) * 1000) for _, _, size in ROWS[start : start + 12])
        assert [float(row[name]) for name in ("open", "high", "low", "close")] == [
            prices[0], max(prices), min(prices), prices[-1],
        ]  # fmt: skip
        assert round(float(row["volume"]) * 1000) == volume


def test_from_is_exclusive_and_to_inclusive(recorded: CommandLine) -> None:
    span = ("--from", "2018-01-01T00:05:00Z", "--to", "2018-01-01T00:07:00Z")
    rows = recorded.lines("candles", *MARKET, "--timeframe", "1m", *span, "--format", "json")
    assert [row["timestamp"] for row in rows] == ["2018-01-01T00:06:00Z", "2018-01-01T00:07:00Z"]
    assert all(isinstance(row[name], str) for row in rows for name in ("open", "close", "volume"))
    assert all(isinstance(row[name], int) for row in rows for name in ("trades", "revision"))
    assert rows == recorded.lines("candles", *MARKET, "--timeframe", "1m", *span, "--json")


def test_binary_formats_go_to_a_file_with_exact_types(recorded: CommandLine, tmp_path: Path) -> None:
    rows = recorded.lines("candles", *MARKET, "--timeframe", "5m", "--json")
    parquet, arrow = tmp_path / "candles.parquet", tmp_path / "candles.arrow"
    recorded.out("candles", *MARKET, "--timeframe", "5m", "--format", "parquet", "--out", parquet)
    recorded.out("candles", *MARKET, "--timeframe", "5m", "--format", "arrow", "--out", arrow)
    for read in (pq.read_table(parquet), pa.ipc.open_file(arrow).read_all()):
        assert read.schema.field("timestamp").type == pa.timestamp("ns", tz="UTC")
        assert read.column_names == list(rows[0])
        assert [float(price) for price in read["close"].to_pylist()] == [float(row["close"]) for row in rows]
        assert [price == int(price * 2) / 2 for price in read["close"].to_pylist()] == [True] * len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["candles.arrow", "candles.parquet"]


def test_binary_without_a_file_is_a_wrong_call(recorded: CommandLine) -> None:
    error = recorded.error("candles", *MARKET, "--timeframe", "1m", "--format", "parquet", code=2)
    assert "parquet is binary: name a file with --out FILE" in error


# ------------------------------------------------------------------ signals, trades, equity


def test_signals_have_the_values_that_made_them_and_a_decision(recorded: CommandLine) -> None:
    text = recorded.out("signals", 1)
    rows = recorded.lines("signals", 1, "--json")
    assert text.splitlines()[0] == ",".join(rows[0])
    assert {"timestamp", "bot_id", "target", "values", "decision", "code", "cause", "message"} <= set(rows[0])
    assert len(rows) == len(table(text)) > 4
    assert {row["decision"] for row in rows} == {"executed"}
    assert set(rows[0]["values"]) == {"fast_average", "slow_average"}
    assert json.loads(table(text)[0]["values"]) == rows[0]["values"]
    refused = recorded.lines("signals", 2, "--json")
    said = {(row["decision"], row["code"], row["message"]) for row in refused}
    assert said == {("refused", "bot_stopped", "the bot is stopped")}


def test_trades_balance_with_the_bots_cash_and_name_what_is_behind_them(recorded: CommandLine) -> None:
    names = "bot_id timestamp order_id side price size fee fee_currency realised_pnl position cost cash opens"
    header = ",".join([*names.split(), "closes", "cause"])
    assert recorded.out("trades", 1).splitlines()[0] == header
    rows = recorded.lines("trades", 1, "--lineage", "--json")
    assert list(rows[0])[: len(header.split(","))] == header.split(",")
    signals = {row["cause"] for row in recorded.lines("signals", 1, "--json")}
    for row in rows:
        assert row["signal"] in signals
        assert row["candle"].partition(":")[0] == row["signal"].partition(":")[0]
        assert row["candle_timestamp"].startswith("2018-01-01T")
    bot = recorded.line("bots", "show", 1)
    assert float(bot["fees"]) == pytest.approx(sum(float(row["fee"]) for row in rows))
    assert float(bot["fees"]) > 0
    assert bot["position"] == rows[-1]["position"]


def test_equity_is_marked_at_candle_closes(recorded: CommandLine) -> None:
    header = "timestamp,mark_price,bot_id,cash,position,equity,unrealised_pnl,peak,cause"
    assert recorded.out("equity", 1).splitlines()[0] == header
    rows = recorded.lines("equity", 1, "--json")
    assert rows[0]["equity"] == rows[0]["cash"] == "100000.00000000"
    assert all(row["timestamp"].endswith(":00Z") for row in rows)


# ------------------------------------------------------------------ bots


def test_a_bot_is_created_stopped_and_goes_through_its_life(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")

    def shown() -> tuple[str, str, str]:
        bot = cli.line("bots", "show", 2)
        return bot["status"], bot["code"], bot["who"].partition(":")[0]

    assert shown() == ("stopped", "created", "cli")
    cli.out("bots", "start", 2, "--no-fold")
    cli.out("bots", "start", 2)
    assert shown() == ("running", "started", "cli")
    cli.out("bots", "stop", 2, "--no-fold")
    cli.out("bots", "stop", 2)
    assert shown() == ("stopped", "stopped", "cli")
    cli.out("bots", "reconfigure", 2, "--param", "low=20", "--sizing", "amount:0.5")
    bot = cli.line("bots", "show", 2)
    assert bot["params"] == {"n": 5, "low": 20.0, "high": 70.0}
    assert bot["sizing"] == "amount:0.5"
    halted = cli.line("bots", "halt", "--all", "--reason", "the house burns")
    assert len(halted["positions"]) == 4
    rows = cli.lines("bots", "list", "--json")
    assert [(r["bot_id"], r["status"], r["message"]) for r in rows] == [
        (1, "halted", "the house burns"),
        (2, "halted", "the house burns"),
    ]
    assert cli.line(*SMA, "--name", "the third", "--tag", "slow", "--tag", "sma")["bot_id"] == 3
    third = cli.line("bots", "show", 3)
    assert (third["name"], third["tags"]) == ("the third", ["slow", "sma"])
    assert "the third" in cli.out("bots", "list")


def test_a_bot_says_on_how_many_candles_it_was_warmed(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    assert "bot 3 created, warmed on 8 candles at journal:" in cli.run(*SMA, "--start").stderr
    hourly = cli.run(*SMA, "--timeframe", "1h").stderr
    assert (
        "bot 4 created, warmed on 3 candles: 5 are missing until its indicators are those of a bot that saw"
        " all before at journal:"
    ) in hourly
    told = cli.line(*SMA, "--warm", "all")
    assert (told["warmed"], told["needed"]) == (MINUTES, 8)
    cold = cli.line(*SMA, "--cold")
    assert (cold["warmed"], cold["needed"]) == (0, 8)
    again = cli.run("bots", "reconfigure", 3, "--short", "--warm", 20).stderr
    assert "reconfigured, warmed on 20 candles" in again
    bots = cli.lines("bots", "list", "--json")
    assert [bot["warmed"] for bot in bots][2:] == [20, 3, MINUTES, 0]
    assert cli.run("verify").returncode == 0


def test_flattening_closes_the_position_at_the_next_trade(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    assert float(cli.line("bots", "show", 1)["position"]) != 0
    cli.out("bots", "stop", 1, "--flatten")
    later = [(time + MINUTES * 60_000, price, size) for time, price, size in trades(2, seed=3)]
    cli.out("import", write_csv(tmp_path / "later.csv", later), *MARKET)
    bot = cli.line("bots", "show", 1)
    assert (bot["status"], float(bot["position"]), float(bot["cost"])) == ("stopped", 0.0, 0.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*CREATE, "smacross"), "there is no strategy 'smacross'; there are: bollinger_breakout, "),
        ((*SMA, "--param", "fats=3"), "sma_cross has no parameter 'fats'; its parameters are: fast, slow"),
        ((*CREATE, "sma_cross", "--param", "fast=0"), "parameter fast='0' must be a whole number from 1 to"),
        ((*CREATE, "sma_cross", "--param", "fast"), "parameter 'fast': write each once as name=value"),
        ((*SMA, "--cash", "much"), "cash in USDT: 'much' must be a number above 0"),
        ((*SMA, "--cash", "0.000000001"), "has more than 8 decimals"),
        ((*SMA, "--cash", "1e30"), "beyond 64 bits"),
        ((*SMA, "--sizing", "equity:2"), "at most equity:1, since nothing is leveraged"),
        ((*SMA, "--sizing", "half"), "sizing 'half': write amount:X, cash:X or equity:F"),
        ((*SMA, "--symbol", "ETH/USDT"), "test:ETH/USDT is not in the journal; known are test:BTC/USDT"),
        (("bots", "start", "77"), "bot 77 does not exist; `tcpdashboard bots list` shows those that do"),
        (("bots", "show", "77"), "bot 77 does not exist"),
        (("trades", "77"), "bot 77 does not exist"),
        (("candles", *MARKET[:3], "A/B", "--timeframe", "1m"), "market test:A/B is not in the journal"),
        (("import", "/nowhere.csv", *MARKET), "/nowhere.csv"),
        (("log", "journal", "--at", f"{PART}:999"), f"no record journal:{PART}:999; it holds offsets 0 to"),
        (("schemas", "candle.v9"), "there is no event 'candle.v9'; there are: genesis.v1, "),
        (("replay", "--into", "{home}"), "holds a log already; choose a folder that is not there yet"),
        (("replay", "--into", "{new}", "--bot", "sma_cross fast=3"), "timeframe is missing; write it as"),
        (
            ("replay", "--into", "{new}", "--bot", "sma timeframe=1m cash=1"),
            "there is no strategy 'sma'; there are: bollinger_breakout",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_with_the_way_out(
    recorded: CommandLine, called: Called, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    places = {"{home}": str(recorded.home), "{new}": str(tmp_path / "new")}
    code, error = called(*(places.get(word, word) for word in words))
    assert code == 1
    assert said in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bots", "create"), "Missing option '--strategy'"),
        (("candles", *MARKET, "--timeframe", "2m"), "'2m' is not one of"),
        (("candles", *MARKET, "--timeframe", "1m", "--from", "noon"), "time 'noon' is not ISO 8601"),
        (("candles", *MARKET, "--timeframe", "1m", "--json", "--format", "csv"), "contradict each other"),
        (("bots", "halt"), "name one bot, or --all"),
        (("bots", "start", "1", "--cold", "--warm", "7"), "--warm and --cold contradict each other"),
        (("bots", "reconfigure", "1"), "nothing to change"),
        (("log", "candels"), "there is no stream 'candels'; choose journal, candles, "),
        (("log", "journal", "--at", "x"), "write PARTITION:OFFSET"),
        (("nothing",), "No such command 'nothing'"),
    ],
)
def test_a_wrong_call_is_exit_code_2_and_names_the_help(
    called: Called, words: tuple[str, ...], said: str
) -> None:
    code, error = called(*words)
    assert code == 2
    assert said in error
    assert "--help`." in error


# ------------------------------------------------------------------ settings, strategies, migrate


def test_settings_show_each_value_and_its_origin_without_secrets(cli: CommandLine) -> None:
    cli.home.mkdir()
    (cli.home / "tcpd.toml").write_text("partitions = 8\n", encoding="utf-8")
    cli.settings = {"TCPD_DATABASE_URL": "postgresql+psycopg2://ann:s3cret@127.0.0.1/none"}
    rows = {row["name"]: row for row in cli.lines("settings", "--json")}
    assert rows["partitions"] == {
        "name": "partitions", "value": 8, "origin": f"{cli.home}/tcpd.toml:1 partitions",
    }  # fmt: skip
    assert rows["database_url"]["value"] == "postgresql+psycopg2://ann:***@127.0.0.1/none"
    assert rows["database_url"]["origin"] == "environment TCPD_DATABASE_URL"
    assert rows["log_url"]["origin"] == "default"
    assert "s3cret" not in cli.out("settings")


def test_a_wrong_setting_stops_every_command_with_its_place(cli: CommandLine) -> None:
    cli.settings = {"TCPD_PARTITIONS": "0"}
    assert "TCPD_PARTITIONS: partitions = '0' must be a whole number" in cli.error("topics")


def test_another_partition_count_than_the_logs_is_refused(recorded: CommandLine) -> None:
    other = CommandLine(recorded.home, {**recorded.settings, "TCPD_PARTITIONS": "8"})
    assert "4 partitions" in other.error("topics")


def test_strategies_are_listed_and_a_broken_file_is_named_with_its_line(
    cli: CommandLine, tmp_path: Path
) -> None:
    rows = {row["strategy"]: row for row in cli.lines("strategies", "--json")}
    assert {"sma_cross", "rsi_reversion", "bollinger_breakout", "macd_cross"} <= set(rows)
    assert rows["sma_cross"]["params"]["fast"]["default"] == 20
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\nraise RuntimeError('no')\n", encoding="utf-8")
    cli.settings = {**cli.settings, "TCPD_STRATEGIES": str(broken)}
    done = cli.run("strategies", "--json")
    assert done.returncode == 1
    assert f"{broken}:2: RuntimeError: no" in done.stderr
    assert len(done.stdout.splitlines()) == len(rows)


def test_a_database_that_another_process_has_only_begun_to_make_is_no_error(cli: CommandLine) -> None:
    cli.home.mkdir()
    (cli.home / "projections.db").touch()
    assert cli.lines("bots", "list", "--json") == []


def test_migrate_may_be_repeated(cli: CommandLine) -> None:
    assert cli.line("migrate") == cli.line("migrate")


# ------------------------------------------------------------------ up


@contextmanager
def started(cli: CommandLine, *words: str) -> Iterator[Running]:
    """A running `up` that has closed a candle."""
    up = Running(cli, "up", *words)
    try:
        up.until(lambda: up.items(CANDLES), "a candle")
        yield up
    finally:
        words = up.finish(signal.SIGINT)
    assert "stopped; the next start continues here" in words


def test_up_runs_beside_other_commands_ends_cleanly_and_goes_on(cli: CommandLine, files: Path) -> None:
    with started(cli, "--markets", "2", "--demo") as up:
        up.until(lambda: len(up.items("/api/bots")) == len(DEMO), "the demo's bots")
        refused = cli.run("up", "--seconds", "1")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"pid {up.pid}" in refused.stderr.splitlines()[-1]
        assert cli.line("import", files / "first.csv", *MARKET)["ticks"] == len(FIRST)
        assert len(cli.lines("candles", *MARKET, "--timeframe", "1m", "--json")) == SPLIT
        cli.out("bots", "stop", 1)
        assert cli.line("bots", "show", 1)["status"] == "stopped"
        before = up.items(CANDLES, order="newest", limit=1)
    assert cli.line("verify")["equal"] is True
    with started(cli, "--markets", "2", "--demo") as up:
        after = up.until(lambda: up.items(CANDLES, **{"from": before[0]["timestamp"]}), "a later candle")
        assert after[0]["timestamp"] > before[0]["timestamp"]
        assert [bot["bot_id"] for bot in up.items("/api/bots")] == [1, 2, 3, 4]
    system = [line["type"] for line in cli.lines("log", "system")]
    assert "source_hole.v1" not in system
    assert "dead_letter.v1" not in system
    assert cli.line("verify")["equal"] is True


def test_up_without_a_terminal_writes_a_line_a_second_and_makes_no_bots(cli: CommandLine) -> None:
    began = time.monotonic()
    with cli.start("up", "--speed", "120", "--markets", "1") as up:
        up.until(lambda: up.said.count("sim:BTC/USDT") > 1, "two lines of a market")
        assert up.end(signal.SIGINT) == 0, up.words()
        lines = up.said.splitlines()
    assert len(lines) <= time.monotonic() - began, "each takes a second"
    assert lines[-1].endswith("bots: none")


def test_the_demo_ends_with_fills_of_every_bot(cli: CommandLine) -> None:
    with started(cli, "--demo", "--markets", "3") as up:
        for bot in range(1, len(DEMO) + 1):
            up.until(lambda bot=bot: bot_filled(up, bot), f"a fill of bot {bot}")
    assert all(cli.lines("trades", number, "--json") for number in range(1, len(DEMO) + 1))


def bot_filled(up: Running, bot: int) -> bool:
    answer = up.get(f"/api/bots/{bot}/fills", limit=1)
    return answer.status_code == 200 and bool(answer.json()["items"])


@pytest.mark.parametrize("begin", [1, 10])
def test_demo_bots_trade_within_twenty_candles(strategies: Strategies, begin: int) -> None:
    names = symbols(MARKETS)
    for number, (strategy, params) in enumerate(DEMO, 1):
        market = simulated_market(names[(number - 1) % len(names)])
        code = strategies.latest(strategy)
        bot = create(market, number, strategy=strategy, code_hash=code.code_hash, params=code.check(params))
        events = (market, *minutes(market, 0, begin), bot, *minutes(market, begin, 20))
        journal = records([(market.key, event) for event in events])
        assert of(fold(Pipeline(0, strategies), journal), Fill), strategy


def minutes(market: Market, first: int, count: int) -> Iterator[TickBatch]:
    """The simulated trades of some minutes, with the default seed."""
    table = [RowMarket(market.key, market.price_scale, market.size_scale)]
    for minute in range(first, first + count):
        start = START_NS + minute * MINUTE_NS
        yield pack(table, simulated_ticks(market.symbol, start, start + MINUTE_NS, seed=1))
