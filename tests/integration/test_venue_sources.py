"""An operator at the command line: how exchanges' markets stand, and which trades are missing."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.process.settings import load_settings
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import TickBatch
from streams.ticks import is_trade, unpack
from streams.topics import JOURNAL
from tests.integration.command_line import CommandLine
from tests.integration.running import Running
from tests.venues.faults import Heal, LeaveOut, Refuse
from tests.venues.serve import Served
from tests.venues.trades import made

BTC, KEY = "BTCUSDT", "binance:BTC/USDT"
START = 2_000_000_040_000


@pytest.fixture
def served() -> Iterator[Served]:
    with Served("binance") as served:
        served.call("binance", "stand_at", START)
        yield served


@pytest.fixture
def cli(served: Served, tmp_path: Path) -> CommandLine:
    settings = served.environment(tmp_path) | {"TCPD_AHEAD_S": "86400", "TCPD_PARTITIONS": "1"}
    return CommandLine(tmp_path / "home", settings)


def sources(cli: CommandLine) -> dict[str, Any]:
    """By market."""
    return {row["market"]: row for row in cli.lines("sources", "--json")}


def told(up: Running) -> dict[str, Any]:
    """What the API says of one market, once there is anything."""
    found = [one for one in up.items("/api/sources") if one["market"] == KEY]
    return found[0] if found else {"state": None}


def ids(cli: CommandLine) -> set[int]:
    """Of all trades in the journal."""
    found: set[int] = set()
    with closing(open_log(load_settings(cli.environment).log_url)) as log:
        for record in log.read(JOURNAL, 0):
            if isinstance(batch := decode_input(record.value).event, TickBatch):
                ticks = unpack(batch)
                assert ticks.id is not None
                found |= set(ticks.id[is_trade(ticks.kind)].tolist())
    return found


def test_sources_open_gaps_and_a_dead_letter_say_which_trades_are_missing(
    served: Served, cli: CommandLine
) -> None:
    trades = made(BTC, 300, start=START, every_ms=1_000)
    trades[30] = trades[30]._replace(price="0")
    with Running(cli, "up", "--feed", KEY, "--feed", "binance:ETH/USDT") as up:
        served.call("binance", "watched", BTC)
        up.until(lambda: told(up)["state"] == "live", "a live market")
        script = [(70, LeaveOut(5, rest=True)), (150, LeaveOut(9))]
        served.call("binance", "play", served.call("binance", "frames", trades), script=script)
        up.until(lambda: len(ids(cli)) == 294, "trades")
        up.until(lambda: told(up)["gaps_final"] == 2, "final gaps")
        up.until(lambda: cli.lines("dead-letters", "--json"), "the dead letter")
        row, other = sources(cli)[KEY], sources(cli)["binance:ETH/USDT"]
        shown, served_by_api = cli.run("sources"), up.items("/api/sources")
        metrics = up.metrics()
        gaps, letters = cli.lines("gaps", "--open", "--json"), cli.lines("dead-letters", "--json")
        for_people = {words[0]: cli.out(*words) for words in (("gaps", "--open"), ("dead-letters",))}
        up.finish()

    assert (row["state"], row["source"], row["venue"], row["symbol"]) == (
        "live",
        "binance",
        "binance",
        "BTC/USDT",
    )
    assert (row["gaps_open"], row["gaps_final"], row["gaps_filled"], row["refused"]) == (2, 2, 1, 1)
    assert (
        row["trades_s"] >= 0 and row["age_s"] > 0 and 0 <= row["rest_pages"] <= row["rest_pages_max"] == 120
    )
    assert (other["state"], other["age_s"], other["gaps_open"], other["refused"]) == ("live", None, 0, 0)
    assert "the clock here is" in shown.stderr and "behind that of binance" in shown.stderr
    assert f"{KEY}  live" in shown.stdout and "/120" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    lines = [line.split(maxsplit=5)[5] for line in for_people["gaps"].splitlines()[1:]]
    assert [" ".join(line.split()) for line in lines] == [
        "31 final these trades are nowhere to be had",
        "71 to 75 final these trades are nowhere to be had",
    ]
    (line,) = for_people["dead-letters"].splitlines()[1:]
    assert line.split(maxsplit=2)[2].rstrip().split(maxsplit=2) == [KEY, "31", "price 0 is not above 0"]
    assert [one["market"] for one in served_by_api] == [KEY, "binance:ETH/USDT"]
    assert served_by_api[0].keys() == row.keys() and served_by_api[0]["gaps_final"] == 2
    assert metrics["tcpd_source_gaps", "final", "BTC/USDT", "binance"] == 2
    assert metrics["tcpd_source_state", "live", "ETH/USDT", "binance"] == 1
    missing = {id for gap in gaps for id in range(int(gap["first_id"]), int(gap["last_id"]) + 1)}
    assert missing == {int(trade.id) for trade in trades} - ids(cli) == {31, 71, 72, 73, 74, 75}
    (letter,) = letters
    assert (letter["market"], letter["venue_id"]) == (KEY, "31"), (
        "why that one is missing, and what came of it"
    )
    assert letter["reason"] == "price 0 is not above 0"
    assert json.loads(cli.line("dead-letters", "show", letter["id"])["data"])["p"] == "0"


def test_an_empty_home_a_venue_that_was_never_there_and_a_killed_collector_each_have_their_words(
    served: Served, cli: CommandLine
) -> None:
    empty = cli.run("sources")
    assert (
        empty.stderr
        == "nothing is collected, and nothing was: `tcpdashboard up --feed VENUE:SYMBOL` begins\n"
    )
    assert cli.out("sources", "--json") == "" and not (cli.home / "log").exists(), "it looks only"

    served.call("binance", "strike", Refuse(("markets",), None, 503))
    with Running(cli, "collect", "--feed", KEY) as collect:
        collect.until(lambda: KEY in sources(cli) and sources(cli)[KEY]["last_error"], "a failure")
        row, words = sources(cli)[KEY], cli.run("sources").stderr
        assert words.count(row["reason"]) == 1 and f"{KEY} is down: {row['reason']}\n" in words
        assert (
            row["state"] == "down"
            and "OperationFailed" in row["reason"]
            and row["reason"] == row["last_error"]
        )
        assert row["collector"].startswith("pid ") and row["last_error_at"].endswith("Z")
        assert (row["age_s"], row["trades_s"], row["skew_ms"], row["gaps_open"]) == (None, 0.0, None, 0)
        served.call("binance", "strike", Heal())
        collect.until(lambda: sources(cli)[KEY]["state"] == "live", "a live market")
        collect.kill()
    row = sources(cli)[KEY]
    assert (row["state"], row["reason"]) == ("down", "nobody collects it; its collector ended without a word")
    assert {row[name] for name in ("collector", "age_s", "trades_s", "repeats", "refused", "skew_ms")} == {
        None
    }
    told = cli.run("sources").stderr
    assert told == f"{KEY} is down: nobody collects it; its collector ended without a word\n"
