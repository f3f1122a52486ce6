"""Exchanges at the command line: what is refused, a collector that is killed, and ids that began anew."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.process.settings import load_settings
from streams.backends import open_log
from tests.integration.command_line import CommandLine
from tests.integration.running import Running
from tests.venues.bybit import identified
from tests.venues.collected import Row, expected, open_gaps, rows, without_origin
from tests.venues.faults import Jump
from tests.venues.okx import Okx
from tests.venues.serve import Served
from tests.venues.trades import made

START = 2_000_000_040_000
"""In ms: what is published then brings a venue's time there."""
SWAP, SWAP_KEY = "linear:BTCUSDT", "bybit:BTC/USDT:USDT"
QUANTO = Okx.contract("ETH-USD-SWAP", "linear", settle="BTC", value="0.01", size_step="1")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("binance", "okx", "bybit", listings={"okx": [*Okx().made_listing(), QUANTO]}) as served:
        yield served


@pytest.fixture
def cli(served: Served, tmp_path: Path) -> CommandLine:
    settings = served.environment(tmp_path) | {"TCPD_AHEAD_S": "86400", "TCPD_PARTITIONS": "1"}
    return CommandLine(tmp_path / "home", settings)


OPTION = "BTC/USD:BTC-331230-50000-C"


@pytest.mark.parametrize(
    ("command", "feeds", "messages"),
    [
        (
            "collect",
            ["binanse:BTC/USDT"],
            ["venue 'binanse' is not known, did you mean binance?; there are:"],
        ),
        (
            "collect",
            ["okx:ETH/USD:BTC", f"okx:{OPTION}", "okx:BTC/USTD"],
            [
                "okx:ETH/USD:BTC: is a quanto, settled in BTC, a kind of contract that there is none of yet",
                f"okx:{OPTION}: is an option, a kind of contract that there is none of yet",
                "symbol 'BTC/USTD' does not exist at okx; near are BTC/USDT",
            ],
        ),
        ("up", ["okx:ETH/USD:BTC"], ["okx:ETH/USD:BTC: is a quanto, settled in BTC, a kind of contract"]),
    ],
)
def test_what_cannot_be_collected_is_refused_with_words_and_the_nearest(
    cli: CommandLine, command: str, feeds: list[str], messages: list[str]
) -> None:
    refused = cli.run(command, *(word for feed in feeds for word in ("--feed", feed)))
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert [message for message in messages if message not in refused.stderr] == []


def written(cli: CommandLine, key: str) -> list[Row]:
    with closing(open_log(load_settings(cli.environment).log_url)) as log:
        return without_origin(rows(log, key))


def test_a_killed_collector_of_two_venues_loses_nothing_of_either(served: Served, cli: CommandLine) -> None:
    """Of Bybit, what its newest page has."""
    feeds = {"binance:ETH/USDT": "ETHUSDT", SWAP_KEY: SWAP}
    asked = [word for key in feeds for word in ("--feed", key)]
    trades = {key: made(market, 1_200, start=START) for key, market in feeds.items()}
    trades[SWAP_KEY] = list(map(identified, trades[SWAP_KEY]))

    def publish(first: int, stop: int) -> None:
        for key, its in trades.items():
            served.call(key.partition(":")[0], "publish", its[first:stop])

    def watched() -> None:
        for key, market in feeds.items():
            served.call(key.partition(":")[0], "watched", market)

    publish(0, 1)
    with Running(cli, "collect", *asked) as collect:
        watched()
        publish(1, 300)
        collect.until(lambda: collect.metrics()["tcpd_ticks_collected_total",] == 598, "trades")
        publish(300, 600)
        collect.kill()
    publish(600, 1_000)
    with Running(cli, "collect", *asked) as collect:
        watched()
        publish(1_000, 1_200)
        collect.until(lambda: all(len(written(cli, key)) >= 1_199 for key in feeds), "trades")
        collect.finish()
    for key, its in trades.items():
        assert written(cli, key) == expected(its[1:]), "each once, in order"
    assert cli.lines("gaps", "--open", "--json") == []


def test_markets_whose_ids_began_anew_go_on_after_a_reset_of_each(served: Served, cli: CommandLine) -> None:
    feeds = {"binance:BTC/USDT": "BTCUSDT", "okx:BTC/USDT": "BTC-USDT"}
    asked = [word for key in feeds for word in ("--feed", key)]
    trades = {key: made(market, 150, start=START, every_ms=1_000) for key, market in feeds.items()}

    def publish(first: int, stop: int) -> None:
        for key, its in trades.items():
            served.call(key.partition(":")[0], "publish", its[first:stop])

    def began_anew() -> bool:
        told = {row["market"]: row["reason"] for row in cli.lines("sources", "--json")}
        return all(
            told.get(key, "").startswith("its trade ids began anew: 11 came after 60") for key in feeds
        )

    publish(0, 1)
    with Running(cli, "collect", *asked) as collect:
        for key, market in feeds.items():
            served.call(key.partition(":")[0], "watched", market)
        publish(1, 60)
        collect.until(lambda: collect.metrics()["tcpd_ticks_collected_total",] == 118, "trades")
        for key in feeds:
            served.call(key.partition(":")[0], "strike", Jump(-50))
        publish(60, 100)
        collect.until(began_anew, "both are down")
        collect.finish()
    for key in feeds:
        told = json.loads(cli.out("sources", "reset", key, "--reason", "maintenance", "--json"))
        assert (told["market"], told["reason"]) == (key, "maintenance")
    with Running(cli, "collect", *asked) as collect:
        for key, market in feeds.items():
            served.call(key.partition(":")[0], "watched", market)
        publish(100, 150)
        collect.until(lambda: all(len(written(cli, key)) == 149 for key in feeds), "trades")
        collect.finish()
    for key, its in trades.items():
        anew = [trade._replace(id=str(int(trade.id) - 50)) for trade in its[60:]]
        assert written(cli, key) == expected([*its[1:60], *anew])
    with closing(open_log(load_settings(cli.environment).log_url)) as log:
        assert [len(open_gaps(log, key)) for key in feeds] == [1, 1]
    refused = cli.run("sources", "reset", "bybit:BTC/USDT", "--reason", "maintenance")
    assert refused.returncode == 1 and "so they never begin anew" in refused.stderr
