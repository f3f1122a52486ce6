"""Bots that did other than they said, run as people run them: `../shared/cases`."""

import json
from pathlib import Path

from tests.integration.command_line import CommandLine

SMA = ("--timeframe", "1m", "--strategy", "sma_cross", "--param", "fast=3", "--param", "slow=8")


def test_a_bot_started_against_its_signal_closes_what_it_holds(cli: CommandLine, shared_cases: Path) -> None:
    case = shared_cases / "start-against-the-signal"
    right = json.loads((case / "expected.json").read_text())
    market = ("--venue", "t", "--symbol", "Y/USDT")
    cli.out("markets", "add", *market, "--price-step", "0.01", "--size-step", "0.001")
    cli.out("bots", "create", *market, *SMA, "--cash", "1000", "--start")
    cli.out("import", case / "a.csv", *market)
    cli.out("bots", "stop", 1)
    cli.out("import", case / "b.csv", *market)
    cli.out("bots", "start", 1)
    cli.out("import", case / "c.csv", *market)
    resumed = cli.lines("signals", 1, "--json")[-1]
    assert (resumed["origin"], resumed["timestamp"]) == ("resumed", right["exit"]["signal_at"])
    entry, leave = cli.lines("trades", 1, "--json")
    for fill, expected in ((entry, right["entry"]), (leave, right["exit"])):
        assert (fill["side"], fill["price"], fill["size"]) == tuple(
            expected[name] for name in ("side", "price", "size")
        )
    assert leave["timestamp"] == right["exit"]["fill_at"]
    bot = cli.line("bots", "show", 1)
    assert (bot["position"], bot["equity"]) == (right["position_at_end"], right["equity_at_end"])


def test_a_bot_whose_equity_is_gone_is_halted_and_says_so(cli: CommandLine, shared_cases: Path) -> None:
    market = ("--venue", "t", "--symbol", "Z/USDT")
    cli.out("markets", "add", *market, "--contract", "linear", "--price-step", "0.01", "--size-step", "0.001")
    cli.out("bots", "create", *market, *SMA, "--short", "--cash", "1000", "--start")
    cli.out("import", shared_cases / "bankrupt-bot" / "trades.csv", *market)
    bot = cli.line("bots", "show", 1)
    assert (bot["status"], bot["code"], bot["position"]) == ("halted", "bankrupt", "0.000")
    assert bot["equity"].startswith("-")
    orders = cli.lines("log", "trades", "--json")
    assert "bankrupt" in [line["event"].get("reason") for line in orders]
    later = [s for s in cli.lines("signals", 1, "--json") if s["timestamp"] > bot["timestamp"]]
    assert {signal["code"] for signal in later} == {"bankrupt"}
    assert "bot 1 is bankrupt: equity of -" in cli.error("bots", "start", 1)
