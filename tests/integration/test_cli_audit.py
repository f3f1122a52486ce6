"""The command line looks back: log, schemas, verify, replay, rebuild."""

import json
import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.commands.journal_view import view
from infra.worker.fold_code import fold_code_hash
from streams.backends import open_log
from streams.codec import decode_input, encode
from streams.events import TickBatch
from streams.records import Entry
from tests.forging import seal
from tests.integration.command_line import (
    CREATE,
    FIRST,
    KEY,
    MARKET,
    MINUTES,
    PART,
    ROWS,
    SMA,
    SPECIFIED,
    Called,
    CommandLine,
    database,
)
from tests.trade_files import import_file

# ------------------------------------------------------------------ log, topics, schemas


def test_log_lines_name_their_place_and_cause(recorded: CommandLine) -> None:
    journal = recorded.lines("log", "journal", "--partition", PART)
    assert set(journal[0]) == {"topic", "partition", "offset", "timestamp", "cause", "type", "event"}
    assert [line["type"] for line in journal[:5]] == [
        "genesis.v1", "market.v1", "ticks.v1", "bars.v1", "create_bot.v1",
    ]  # fmt: skip
    assert all(line["cause"] is None for line in journal)
    assert journal[1]["event"]["price_step"] == "0.5"
    candles = recorded.lines("log", "candles")
    assert candles[0]["cause"] == f"{PART}:2:0"
    assert candles[0]["event"]["market"] == KEY
    assert [line["event"]["timestamp"] for line in candles if line["event"]["timeframe"] == "1h"] == [
        "2018-01-01T01:00:00Z", "2018-01-01T02:00:00Z", "2018-01-01T03:00:00Z",
    ]  # fmt: skip


def test_one_record_is_found_by_the_place_that_a_command_printed(recorded: CommandLine) -> None:
    (line,) = recorded.lines("log", "journal", "--at", f"journal:{PART}:4")
    assert (line["offset"], line["type"], line["event"]["params"]) == (
        4,
        "create_bot.v1",
        {"fast": 3, "slow": 8},
    )
    assert recorded.lines("log", "journal", "--partition", PART, "--from", 4)[0] == line


def test_content_leaves_out_positions_causes_and_record_times(recorded: CommandLine) -> None:
    lines = recorded.lines("log", "candles", "--content")
    assert set(lines[0]) == {"topic", "type", "event"}
    assert "first_offset" not in lines[0]["event"]
    assert "cause" not in json.dumps(recorded.lines("log", "trades", "--content"))


def test_of_one_input_in_other_batches_every_stream_has_the_same_content(
    cli: CommandLine, files: Path, tmp_path: Path
) -> None:
    """Design rule 3's second equality, by the lines of `log`; in small batches there are checkpoints too."""
    cli.out("markets", "add", *MARKET, *SPECIFIED)
    for bot in (SMA, (*CREATE, "rsi_reversion", "--param", "n=5", "--sizing", "cash:500")):
        cli.out(*bot, "--short", "--start")
    other = cli.copy(tmp_path / "other")
    log = open_log(f"embedded://{other.home}/log")
    import_file(log, files / "rest.csv", view(log, PART).markets[KEY], record_rows=3)
    log.close()
    for one in (cli, other):
        assert one.line("import", files / "rest.csv", *MARKET)["rows"] == len(ROWS) - len(FIRST)
    assert "checkpoint.v1" in {line["type"] for line in other.lines("log", "bots")}
    for stream in ("candles", "signals", "trades", "bots"):
        content = cli.out("log", stream, "--content")
        assert content
        assert other.out("log", stream, "--content") == content


def test_repeats_are_hidden_and_counted(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    before = cli.lines("log", "candles")
    log = open_log(f"embedded://{cli.home}/log")
    (again, *_) = log.read("candles", PART)
    log.append([Entry("candles", again.key, again.value, again.time_ms, PART, again.headers)])
    log.close()
    assert cli.lines("log", "candles") == before
    assert cli.lines("log", "candles", "--partition", PART, "--from", 1) == [
        b for b in before if b["offset"] >= 1
    ]
    assert cli.line("verify")["repeats"] == 1


def test_a_record_that_cannot_be_decoded_is_shown_as_such(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    alter(cli, "candles", PART, 0, b"\xc1 not an event")
    line = cli.lines("log", "candles", "--partition", PART)[0]
    assert line["type"] == "undecodable"
    assert line["event"]["data"].startswith("\\xc1")


def test_schemas_of_every_event_are_printed(cli: CommandLine) -> None:
    events = cli.line("schemas")["events"]
    assert {"candle.v1", "ticks.v1", "create_bot.v1", "fill.v1"} <= set(events)
    assert "properties" in json.dumps(cli.line("schemas", "candle.v1"))


# ------------------------------------------------------------------ verify, replay, rebuild


def alter(
    cli: CommandLine, topic: str, partition: int, offset: int, value: bytes, *, sealed: bool = False
) -> None:
    """Change a record as an outsider would, with the table that the docs name; `sealed`: and its checksum."""
    with sqlite3.connect(cli.home / "log" / "log.db") as connection:
        changed = connection.execute(
            'UPDATE records SET value = ? WHERE topic = ? AND partition = ? AND "offset" = ?',
            (value, topic, partition, offset),
        )
        assert changed.rowcount == 1
        if sealed:
            seal(connection)
    connection.close()


def value_of(cli: CommandLine, topic: str, partition: int, offset: int) -> bytes:
    log = open_log(f"embedded://{cli.home}/log")
    (record,) = log.read(topic, partition, offset, offset + 1)
    log.close()
    return record.value


def test_verify_agrees_with_an_honest_log(recorded: CommandLine) -> None:
    result = recorded.line("verify")
    assert result["equal"] is True
    assert result["repeats"] == result["behind"] == 0
    assert result["compared"]["candles"] == MINUTES + 40 + 13 + 3
    assert len(result["state_hash"]) == 64


def test_one_byte_of_one_derived_record_is_found_and_named(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    value = bytearray(value_of(cli, "signals", PART, 0))
    at = value.index(b"executed")
    value[at : at + 8] = b"Executed"
    alter(cli, "signals", PART, 0, bytes(value))
    done = cli.run("verify", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["equal"] is False
    difference = result["difference"]
    assert (difference["topic"], difference["partition"], difference["offset"]) == ("signals", PART, 0)
    assert difference["expected"][0]["event"]["decision"] == "executed"
    assert "Executed" in json.dumps(difference["found"]) or difference["found"][0]["type"] == "undecodable"
    assert f"signals:{PART}:0" in done.stderr
    log = open_log(f"embedded://{cli.home}/log")
    headers = {name: value.decode() for name, value in next(log.read("signals", PART)).headers}
    log.close()
    assert difference["worker"] == headers == {"epoch": headers["epoch"], "code": fold_code_hash()}
    assert f"written by a worker of epoch {headers['epoch']}, code {headers['code']}" in done.stderr
    words = cli.run("verify")
    assert words.returncode == 1
    assert "--- from the journal\n+++ recorded\n" in words.stdout
    assert words.stderr.count("\n") == 1


def test_a_tick_whose_size_no_candle_shows_is_found(recorded: CommandLine, tmp_path: Path) -> None:
    """Two trades of one minute swap a unit of size, so that every candle stays what it was."""
    cli = recorded.copy(tmp_path / "copy")
    entry = decode_input(value_of(cli, "journal", PART, 2))
    batch = entry.event
    assert isinstance(batch, TickBatch)
    size = np.frombuffer(batch.size, np.int64).copy()
    size[:2] += (1, -1)
    changed = msgspec.structs.replace(batch, size=size.tobytes())
    value = encode(msgspec.structs.replace(entry, event=changed))
    alter(cli, "journal", PART, 2, value, sealed=True)
    done = cli.run("verify", "--json")
    assert done.returncode == 1
    assert "changed after it was folded" in done.stderr


def test_doubled_prices_and_deleted_signals_in_the_database_are_named_and_mended(
    recorded: CommandLine, tmp_path: Path
) -> None:
    cli = recorded.copy(tmp_path / "copy")
    assert cli.line("verify", "--database")["database"] == []
    with sqlite3.connect(cli.home / "projections.db") as connection:
        connection.execute("UPDATE candles SET close = 2 * close WHERE timeframe = '1h'")
        connection.execute("DELETE FROM signals")
    connection.close()
    assert cli.run("verify").returncode == 0, "the log is what it was"
    done = cli.run("verify", "--database")
    assert done.returncode == 1
    assert "rebuild" in done.stderr
    assert f"candles (market {KEY}, timeframe 1h, " in done.stdout
    assert ": close is " in done.stdout
    assert "signals (bot_id 1, " in done.stdout
    assert "the row is missing" in done.stdout
    cli.out("rebuild")
    assert cli.line("verify", "--database")["database"] == []


def test_a_home_whose_outputs_were_deleted_fails_while_anything_says_that_there_were_some(
    recorded: CommandLine, tmp_path: Path
) -> None:
    cli = recorded.copy(tmp_path / "copy")
    forget(cli, "DELETE FROM records WHERE topic IN ('candles', 'signals', 'trades', 'bots', 'snapshots')")
    done = cli.run("verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["proven"]) == (1, False)
    assert "it was cut" in done.stderr
    forget(cli, "DELETE FROM commits")
    for file in cli.home.glob("projections.db*"):
        file.unlink()
    done = cli.run("verify", "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["equal"], result["proven"]) == (3, True, False)
    assert result["behind"] == result["records"] > 0
    assert "nothing is proven" in done.stderr
    assert "workers were started here" in done.stderr
    assert "3: nothing is folded" in " ".join(cli.out("verify", "--help").split())


def forget(cli: CommandLine, statement: str) -> None:
    with sqlite3.connect(cli.home / "log" / "log.db") as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


def test_an_empty_journal_proves_nothing(cli: CommandLine) -> None:
    done = cli.run("verify")
    assert done.returncode == 3
    assert "nothing is proven: the journal is empty" in done.stderr


def test_a_replay_is_the_same_home_again(recorded: CommandLine, tmp_path: Path) -> None:
    result = recorded.line("replay", "--into", tmp_path / "again")
    assert (result["ticks"], len(result["bots"])) == (len(ROWS), 2)
    again = CommandLine(tmp_path / "again", recorded.settings)
    assert database(again) == database(recorded)
    verified = [cli.line("verify") for cli in (again, recorded)]
    states = {one.pop("state_hash") for one in verified}
    assert verified[0] == verified[1]
    assert len(states) == 2, "each begins with a genesis of its own"
    assert result["bots"][0]["equity"] == recorded.lines("equity", 1, "--json")[-1]["equity"]


def test_a_replay_with_given_bots_is_a_backtest_over_the_whole_market(
    recorded: CommandLine, tmp_path: Path
) -> None:
    bots = (
        "--bot", "sma_cross fast=3 slow=8 timeframe=1m cash=100000 short=true",
        "--bot", "macd_cross timeframe=5m cash=5000 size=equity:0.5",
    )  # fmt: skip
    result = recorded.line("replay", "--into", tmp_path / "a", *bots)
    assert [(b["bot_id"], b["strategy"], b["status"]) for b in result["bots"]] == [
        (1, "sma_cross", "running"), (2, "macd_cross", "running"),
    ]  # fmt: skip
    backtest = CommandLine(tmp_path / "a", recorded.settings)
    first = backtest.lines("signals", 1, "--json")[0]["timestamp"]
    assert first < recorded.lines("signals", 1, "--json")[0]["timestamp"], "it trades from the beginning"
    assert backtest.line("verify")["equal"] is True
    again = recorded.line("replay", "--into", tmp_path / "b", *bots)
    assert again["bots"] == result["bots"]
    assert database(CommandLine(tmp_path / "b", recorded.settings)) == database(backtest)
    assert backtest.line(*SMA)["bot_id"] == 3, "a home that goes on"


def test_a_replay_of_a_range_has_the_candles_of_that_range(recorded: CommandLine, tmp_path: Path) -> None:
    span = ("--from", "2018-01-01T01:00:00Z", "--to", "2018-01-01T02:00:00Z")
    result = recorded.line("replay", "--into", tmp_path / "part", *span, "--cold")
    assert result["ticks"] == 60 * 12
    part = CommandLine(tmp_path / "part", recorded.settings)
    ours = part.lines("candles", *MARKET, "--timeframe", "1m", "--json")
    assert ours == recorded.lines("candles", *MARKET, "--timeframe", "1m", *span, "--json")
    assert [line for line in part.lines("log", "system") if line["type"] != "worker_started.v1"] == []
    assert part.line("verify")["equal"] is True


def test_a_replay_of_a_range_has_the_signals_of_that_range(recorded: CommandLine, tmp_path: Path) -> None:
    span = ("--from", "2018-01-01T01:00:00Z", "--to", "2018-01-01T02:00:00Z")
    recorded.line("replay", "--into", tmp_path / "part", *span)
    part = CommandLine(tmp_path / "part", recorded.settings)
    ours, theirs = (
        [(one["timestamp"], one["target"], one["values"]) for one in cli.lines("signals", 1, "--json", *span)]
        for cli in (part, recorded)
    )
    assert ours == theirs != []
    assert part.line("verify")["equal"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bot", "sma timeframe=1m cash=1"), "there is no strategy 'sma'"),
        (("--bot", "sma_cross fast=0 timeframe=1m cash=1"), "parameter fast='0' must be"),
        (("--bot", "sma_cross timeframe=7m cash=1"), "timeframe '7m': choose one of"),
        (("--bot", "sma_cross timeframe=1m cash=1 market=test:A/B"), "market=test:A/B is not in the journal"),
        (("--from", "2030-01-01T00:00:00Z"), "no trade of the journal lies after 2030-01-01T00:00:00Z"),
        (
            ("--from", "2018-01-01T02:00:00Z", "--to", "2018-01-01T01:00:00Z"),
            "--from 2018-01-01T02:00:00Z is not before --to 2018-01-01T01:00:00Z: the range is empty",
        ),
        (("--cold",), "--cold is for a range: name its beginning with --from"),
    ],
)
def test_a_replay_that_is_refused_leaves_nothing_behind(
    recorded: CommandLine, called: Called, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    into = tmp_path / "into"
    code, error = called("replay", "--into", str(into), *words)
    assert (code, said in error) == (1, True), error
    assert not into.exists()


def test_a_replay_of_a_range_says_how_many_records_it_left_out(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    log = open_log(f"embedded://{cli.home}/log")
    log.append([Entry("journal", KEY.encode(), b"\xc1 not an event", 1, PART)])
    log.close()
    done = cli.run("replay", "--into", tmp_path / "part", "--to", "2018-01-01T01:00:00Z", "--json")
    assert (done.returncode, json.loads(done.stdout)["left_out"]) == (0, 1)
    assert "1 records hold no event" in done.stderr


def test_rebuild_makes_equal_content_from_the_log_alone(recorded: CommandLine, tmp_path: Path) -> None:
    cli = recorded.copy(tmp_path / "copy")
    for file in cli.home.glob("projections.db*"):
        file.unlink()
    assert cli.line("rebuild")["records"] > 0
    assert database(cli) == database(recorded)
