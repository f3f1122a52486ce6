"""`gaps fill`: what is final is asked for once more, and a line says what became of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

from infra.exchange.gap_filling import asked, fetch, outcome
from infra.exchange.venues.again import GapProvider
from infra.exchange.venues.known import VENUES
from streams.log import Log
from tests.integration.command_line import CommandLine
from tests.integration.running import Running
from tests.venues.binance import Binance
from tests.venues.collected import candles, collecting, expected, open_gaps, rows, without_origin
from tests.venues.faults import LeaveOut, Refuse
from tests.venues.serve import Served
from tests.venues.trades import Trade, made

BTC = "BTCUSDT"
KEY = "binance:BTC/USDT"
START = 1_700_000_040_000
"""In ms; a whole minute."""


async def lost_at(venue: Binance, log: Log, trades: list[Trade]) -> None:
    """Collect all but ten trades, which REST has not either."""
    venue.clock.go(0.0, START)
    async with collecting(log, venue) as collected:
        await collected.live(BTC)
        await venue.play(venue.frames(trades), script=[(70, LeaveOut(10, rest=True))])
        await collected.until(lambda: collected.trades() == len(trades) - 10 and open_gaps(log)[0].final)


async def filled(venue: Binance, log: Log) -> tuple[list[tuple[str, int | None]], list[str]]:
    """What a run says of each gap, and what it could not ask for."""
    wanted = asked(log, KEY)
    failures = await fetch(log, GapProvider(VENUES["binance"], connector=venue.connector), wanted)
    return [(one.result, one.missing) for one in outcome(log, wanted)], failures


def has(venue: Binance, trades: list[Trade]) -> None:
    """REST has these too, from now on."""
    venue.public[BTC] = sorted([*venue.public[BTC], *trades], key=lambda trade: int(trade.id))


def test_what_is_final_is_filled_narrowed_or_still_missing(log: Log, strategies: Any) -> None:
    trades = made(BTC, 200, start=START, every_ms=1_000)

    async def test() -> None:
        async with Binance() as venue:
            await lost_at(venue, log, trades)
            assert await filled(venue, log) == ([("still missing", 10)], [])
            has(venue, trades[73:76])
            assert await filled(venue, log) == ([("narrowed", 7)], [])
            assert [(gap.first_id, gap.last_id, gap.final) for gap in open_gaps(log)] == [
                (71, 73, True),
                (77, 80, True),
            ]
            has(venue, trades[70:73])
            has(venue, trades[76:80])
            assert await filled(venue, log) == ([("filled", 0), ("filled", 0)], [])
            assert await filled(venue, log) == ([], [])

    asyncio.run(test())
    assert not open_gaps(log)
    assert sorted(without_origin(rows(log))) == expected(trades), "each once"
    assert not any(candle.incomplete for candle in candles(log, strategies).values())


def test_a_venue_that_answers_with_errors_is_given_up_with_words_and_the_gap_stays(log: Log) -> None:
    trades = made(BTC, 200, start=START, every_ms=1_000)

    async def test() -> None:
        async with Binance() as venue:
            await lost_at(venue, log, trades)
            before = open_gaps(log)
            await venue.strike(Refuse(("trades",), None, 503))
            results, (failure,) = await filled(venue, log)
            assert results == [("still missing", 10)] and open_gaps(log) == before
            assert failure.startswith("binance could not be asked: NotAnsweredError: it answers with")

    asyncio.run(test())


def test_the_command_refuses_while_a_collector_is_at_work_and_fills_what_is_too_old_afterwards(
    tmp_path: Path,
) -> None:
    trades = made(BTC, 601, start=2_000_000_040_000)
    with Served("binance") as served:
        settings = served.environment(tmp_path) | {"TCPD_AHEAD_S": "86400", "TCPD_PARTITIONS": "1"}
        cli = CommandLine(tmp_path / "home", settings)
        nothing = cli.run("gaps", "fill")
        assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "nothing is missing\n")
        served.call("binance", "publish", trades[:1])
        with Running(cli, "collect", "--feed", KEY) as collect:
            served.call("binance", "watched", BTC)
            served.call("binance", "publish", trades[1:100])
            collect.until(lambda: collect.metrics()["tcpd_ticks_collected_total",] == 99, "trades")
            collect.finish()
        served.call("binance", "publish", trades[100:600])
        with Running(cli, "collect", "--feed", KEY, "--backfill-max", "0") as collect:
            served.call("binance", "watched", BTC)
            served.call("binance", "publish", trades[600:])
            collect.until(lambda: cli.lines("gaps", "--open", "--json"), "a gap")
            refused = cli.run("gaps", "fill", KEY)
            assert refused.returncode == 1
            assert "is collected by 'binance' (pid" in refused.stderr
            assert "stop that one, fill, and start it again" in refused.stderr
            collect.until(lambda: collect.metrics()["tcpd_ticks_collected_total",] == 1, "the live trade")
            collect.finish()
        done = cli.run("gaps", "fill", "--json")
        (told,) = map(json.loads, done.stdout.splitlines())
        assert (done.returncode, told["result"], told["missing"]) == (0, "filled", 0)
        assert (told["market"], told["first_id"], told["last_id"]) == (KEY, 101, 600)
        assert cli.lines("gaps", "--open", "--json") == []
        unknown = cli.run("gaps", "fill", "binance:BTC/USD")
        assert unknown.returncode == 1 and "is not in the journal" in unknown.stderr
