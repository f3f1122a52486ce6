"""`--feed`: the command line on an exchange, which it reaches by a proxy as on any other machine."""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.process.settings import load_settings
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import TickBatch
from streams.ticks import is_trade, unpack
from streams.topics import JOURNAL
from tests.integration.command_line import CommandLine
from tests.integration.running import Running
from tests.venues.serve import Served
from tests.venues.trades import made

BTC, ETH = "BTCUSDT", "ETHUSDT"
START = 2_000_000_040_000
"""In ms: what is published then brings the venue's time there."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served("binance") as served:
        yield served


@pytest.fixture
def cli(served: Served, tmp_path: Path) -> CommandLine:
    settings = served.environment(tmp_path) | {"TCPD_AHEAD_S": "86400", "TCPD_PARTITIONS": "1"}
    return CommandLine(tmp_path / "home", settings)


def ids(cli: CommandLine) -> list[int]:
    """Of all trades in the journal."""
    found: list[int] = []
    with closing(open_log(load_settings(cli.environment).log_url)) as log:
        for record in log.read(JOURNAL, 0):
            if isinstance(batch := decode_input(record.value).event, TickBatch):
                ticks = unpack(batch)
                assert ticks.id is not None
                found += ticks.id[is_trade(ticks.kind)].tolist()
    return found


def test_a_killed_collector_loses_nothing_and_up_goes_on_where_it_was(
    served: Served, cli: CommandLine
) -> None:
    trades = made(BTC, 3_001, start=START, every_ms=100)
    served.call("binance", "publish", trades[:1])
    with Running(cli, "collect", "--feed", "binance:BTC/USDT") as collect:
        assert collect.line["source"] == "binance"
        served.call("binance", "watched", BTC)
        served.call("binance", "publish", trades[1:500])
        collect.until(lambda: collect.metrics()["tcpd_ticks_collected_total",] == 499, "trades")
        served.call("binance", "publish", trades[500:1_000])
        collect.kill()
    served.call("binance", "publish", trades[1_000:2_000])
    misspelt = ("--feed", "binance:BTC/USTD")
    with Running(cli, "up", "--feed", "binance:BTC/USDT", *misspelt, "--demo") as up:
        served.call("binance", "watched", BTC)
        served.call("binance", "publish", trades[2_000:])
        up.until(lambda: len(ids(cli)) >= 3_000, "trades")
        up.until(lambda: len(up.items("/api/candles/binance/BTC/USDT")) >= 4, "candles")
        up.until(lambda: len(up.items("/api/bots")) == 4, "demo bots")
        up.finish()
    assert sorted(ids(cli)) == list(range(2, 3_002)), "each once"
    assert {gap["filled"] for gap in cli.lines("gaps", "--json")} == {True}
    assert cli.line("verify")["equal"] is True


def test_a_fake_exchange_is_tried_by_hand_in_a_home_of_its_own_that_is_gone_at_the_end(
    tmp_path: Path,
) -> None:
    cli = CommandLine(tmp_path / "home", {"TCPD_LOG_URL": f"embedded://{tmp_path}/log"})
    with Running(cli, "up", "--fake", "binance") as up:
        up.until(lambda: up.metrics()["tcpd_ticks_collected_total",] > 0, "trades")
        up.until(lambda: up.items("/api/markets"), "its market")
        assert [(one["venue"], one["symbol"]) for one in up.items("/api/markets")] == [
            ("binance", "BTC/USDT")
        ]
        home = Path(up.line["token_file"]).parent
        seen = up.finish().partition("see what is made here with ")[2].splitlines()[0]
    assert [word.partition("=")[0] for word in seen.split()] == ["TCPD_HOME", "TCPD_PROXY", "SSL_CERT_FILE"]
    assert seen.startswith(f"TCPD_HOME={home} ")
    assert not home.exists() and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--fake", "binanse"), "venue 'binanse' is not known, did you mean binance?"),
        (("--fake", "okx", "--feed", "binance:BTC/USDT"), "is not among the made ones; add --fake binance"),
    ],
)
def test_a_made_exchange_that_there_is_none_of_is_refused_before_anything_starts(
    cli: CommandLine, words: tuple[str, ...], why: str
) -> None:
    assert why in cli.error("up", *words)


FEED = "binance:BTC/USDT"


@pytest.mark.parametrize(
    ("feeds", "words", "why"),
    [
        (
            "",
            ("up", "--feed", FEED, "--speed", "5", "--markets", "2"),
            "--speed, --markets: of the simulated",
        ),
        (FEED, ("collect", "--markets", "2"), "or unset feeds (environment TCPD_FEEDS)"),
        ("", ("up", "--raw", "--backfill-max", "1h"), "--raw, --backfill-max: of real exchanges"),
        ("", ("collect", "--symbol", "BTC/USDT", "--markets", "2"), "and --symbol names them"),
        ("", ("up", "--markets", "0", "--demo"), "--demo needs a market"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(
    tmp_path: Path, feeds: str, words: tuple[str, ...], why: str
) -> None:
    cli = CommandLine(tmp_path / "home", {"TCPD_FEEDS": feeds})
    assert why in cli.error(*words, code=2)


def test_a_feed_that_is_misspelt_in_its_venue_is_refused_before_anything_starts(cli: CommandLine) -> None:
    refused = cli.run("up", "--feed", "binanse:BTC/USDT")
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert "venue 'binanse' is not known, did you mean binance?" in json.loads(line)["message"]
    assert not (cli.home / "running").exists(), "it tells where Redis and the API are"
    cli.settings["TCPD_FEEDS"] = "binanse:BTC/USDT"
    refused = cli.run("collect")
    assert refused.returncode == 1
    assert "binanse" in refused.stderr and "mend the setting feeds (environment TCPD_FEEDS)" in refused.stderr


def test_feeds_are_a_setting_and_simulated_markets_are_what_is_left(served: Served, cli: CommandLine) -> None:
    cli.settings["TCPD_FEEDS"] = "binance:ETH/USDT, binance:BTC/USDT"
    with Running(cli, "collect", "--raw") as collect:
        assert collect.line["source"] == "binance"
        served.call("binance", "watched", ETH)
        collect.finish()
    (frames,) = (cli.home / "raw" / "binance").iterdir()
    assert gzip.decompress(frames.read_bytes()).decode().partition(" ")[2] == '{"result": null, "id": 1}\n'
    with Running(cli, "collect", "--symbol", "BTC/USDT", "--as", "x") as collect:
        assert collect.line["source"] == "sim#x"
        collect.finish()


def test_what_the_venue_has_not_is_refused_with_the_nearest(cli: CommandLine) -> None:
    refused = cli.run("collect", "--feed", "binance:BTC/USTD")
    assert (refused.returncode, refused.stdout) == (1, "")
    told = json.loads(refused.stderr)["message"]
    assert "symbol 'BTC/USTD' does not exist at binance; near are BTC/USDT" in told


def test_a_venues_symbols_are_listed_by_a_word(cli: CommandLine) -> None:
    assert cli.lines("sources", "symbols", "binance", "eth", "--json") == [{"feed": "binance:ETH/USDT"}]
    assert len(cli.lines("sources", "symbols", "binance", "--json")) == 3
    nothing = cli.run("sources", "symbols", "binance", "eht", "--json")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "binance has nothing with 'eht' in it that can be collected" in nothing.stderr
    refused = cli.run("sources", "symbols", "kraken")
    assert refused.returncode == 1 and "venue 'kraken' is not known; there are: binance" in refused.stderr
    cli.settings["TCPD_PROXY"] = "http://me:secret@127.0.0.1:1"
    said = cli.error("sources", "symbols", "binance")
    assert (
        "see whether it can be reached by the proxy http://me:***@127.0.0.1:1 (environment TCPD_PROXY)"
        in said
    )


def test_how_far_back_is_fetched_is_a_span_with_its_unit(cli: CommandLine) -> None:
    refused = cli.run("collect", "--feed", "binance:BTC/USDT", "--backfill-max", "5")
    assert refused.returncode == 2
    assert "must be a whole number with s, m, h or d behind it" in " ".join(refused.stderr.split())


def test_only_a_market_whose_ids_began_anew_is_reset(cli: CommandLine) -> None:
    refused = cli.run("sources", "reset", "binance:ETH/USDT", "--reason", "maintenance")
    assert refused.returncode == 1
    assert "market 'binance:ETH/USDT' is not in the journal" in refused.stderr
