"""The installed commands on a real Kafka, beside a worker."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Home
from tests.integration.command_line import MARKET, ROWS, SPECIFIED, write_csv
from tests.programs import Program
from tests.services.kafka import Kafka

pytestmark = pytest.mark.kafka
HALF = len(ROWS) // 2


@pytest.fixture
def on_kafka(tmp_path: Path, kafka: Kafka) -> Home:
    return Home(tmp_path / "home", TCPD_LOG_URL=f"kafka://{kafka.bootstrap}/doors", TCPD_PARTITIONS="4")


@pytest.fixture
def worker(on_kafka: Home) -> Iterator[Program]:
    with on_kafka.start("up", "--markets", "0") as program:
        yield program


def test_commands_append_to_kafka_and_wait_for_the_worker(
    on_kafka: Home, worker: Program, tmp_path: Path
) -> None:
    home = on_kafka
    first, rest = (
        write_csv(tmp_path / "first.csv", ROWS[:HALF]),
        write_csv(tmp_path / "rest.csv", ROWS[HALF:]),
    )
    home.json("markets", "add", *MARKET, *SPECIFIED)
    assert home.json("import", first, *MARKET)["rows"] == HALF
    bot = ["bots", "create", *MARKET, "--strategy", "sma_cross", "--timeframe", "1m", "--cash", "1000"]
    created = home.json(*bot, "--param", "fast=3", "--param", "slow=8", "--short", "--start")
    assert created["bot_id"] == 1
    assert home.json("import", rest, *MARKET)["ticks"] == len(ROWS) - HALF
    assert home.json("import", rest, *MARKET)["ticks"] == 0
    signals, fills = home.lines("signals", 1), home.lines("trades", 1)
    assert len(signals) > 4
    assert len(fills) > 4
    logged = home.run("log", "signals").splitlines()
    assert len(logged) == len(signals)
    assert '"create_bot.v1"' in home.run("log", "journal", "--at", created["position"])
    assert home.json("bots", "halt", "1")["bot_id"] == 1
    assert home.json("bots", "show", "1")["status"] == "halted"

    assert worker.end(signal.SIGINT) == 0, worker.words()
    result = home.json("verify")
    assert (result["equal"], result["behind"]) == (True, 0)
    assert result["compared"]["signals"] == len(signals)
    proven = home.json("parity", "--bot", "1")
    assert (proven["equal"], proven["compared"]["fills"]) == (True, len(fills))
    assert proven["records"] > 5, "all that the worker folded, by its commit"
    again = home.json("replay", "--into", tmp_path / "again")
    assert (again["ticks"], len(again["bots"])) == (len(ROWS), 1)
    assert home.json("rebuild")["records"] > 0
    assert home.lines("trades", 1) == fills
