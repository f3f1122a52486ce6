"""`gaps fill`: what is final is asked for once more, and a line says what became of it."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from infra.exchange.gap_filling import ask_again, asked, fetch, outcome
from infra.exchange.in_hand import in_hand
from infra.exchange.venues.again import GapProvider
from infra.process.settings import load_settings
from streams.backends import open_log
from streams.log import Log
from tests.integration.command_line import CommandLine
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.cases import at, collecting_live, short
from tests.venues.collected import candles, collecting, expected, open_gaps, rows, without_origin
from tests.venues.fake import FakeVenue
from tests.venues.faults import Cut, LeaveOut, Refuse
from tests.venues.serve import Served
from tests.venues.trades import Trade
from tests.venues.unlimited import unlimited

KEY = "binance:BTC/USDT"


async def lost_at(venue: FakeVenue, log: Log, trades: list[Trade]) -> None:
    """Collect all but ten trades, which REST has not either."""
    async with collecting(log, at(venue)) as collected:
        await collected.live()
        await venue.play(venue.frames(trades), script=[(70, LeaveOut(10, rest=True))])
        await collected.until(lambda: collected.trades() == len(trades) - 10 and open_gaps(log)[0].final)


async def filled(venue: FakeVenue, log: Log) -> tuple[list[tuple[str, int | None]], list[str]]:
    """What a run says of each gap, and what it could not ask for."""
    wanted = asked(log, f"{venue.name}:BTC/USDT")
    failures = await fetch(log, GapProvider(unlimited(venue.name), connector=venue.connector), wanted)
    return [(one.result, one.missing) for one in outcome(log, wanted)], failures


def has(venue: FakeVenue, trades: list[Trade]) -> None:
    """REST has these too, from now on."""
    market = venue.pair()
    venue.public[market] = sorted([*venue.public[market], *trades], key=lambda trade: int(trade.id))


def test_what_is_final_is_filled_narrowed_or_still_missing(
    numbered: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(numbered, 200)

    async def test() -> None:
        async with numbered() as venue:
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


def test_a_venue_that_answers_with_errors_is_given_up_with_words_and_the_gap_stays(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades = short(numbered, 200)

    async def test() -> None:
        async with numbered() as venue:
            await lost_at(venue, log, trades)
            before = open_gaps(log)
            await venue.strike(Refuse(("trades",), None, 503))
            results, (failure,) = await filled(venue, log)
            assert results == [("still missing", 10)] and open_gaps(log) == before
            asked = f"{numbered.name} could not be asked: asking for trades of BTC/USDT failed: "
            assert failure.startswith(asked)

    asyncio.run(test())


def test_of_a_gap_of_a_venue_whose_ids_tell_no_order_nothing_can_be_asked_for(
    log: Log, tmp_path: Path
) -> None:
    trades = short(Bybit, 300)

    async def test() -> None:
        async with collecting_live(Bybit, log) as (venue, collected):
            await venue.play(venue.frames(trades), script=[(30, Cut(away=150))], rest_first=True)
            await collected.until(lambda: collected.trades() == 210)
        before = open_gaps(log)
        ((one,), failures) = await ask_again(
            load_settings({"TCPD_HOME": str(tmp_path)}), log, asked(log, None)
        )
        assert (one.result, one.missing) == ("not asked for", None) and open_gaps(log) == before
        assert failures == ["bybit:BTC/USDT: of a gap without trade ids nothing can be asked for"]

    asyncio.run(test())


def test_the_command_refuses_while_a_collector_is_at_work_and_fills_what_is_too_old_afterwards(
    tmp_path: Path,
) -> None:
    trades = short(Binance, 101)

    async def begun(venue: Binance, log: Log) -> None:
        async with collecting(log, at(venue)) as collected:
            await collected.live()
            venue.publish(trades[:10])
            await collected.has(10)
        venue.publish(trades[10:100])
        async with collecting(log, venue, backfill_max_s=0) as collected:
            await collected.live()
            venue.publish(trades[100:])
            await collected.until(lambda: collected.trades() == 11)

    async def test(log: Log) -> None:
        async with Binance() as venue:
            await begun(venue, log)

    with Served("binance") as served:
        served.call("binance", "publish", trades)
        cli = CommandLine(tmp_path / "home", served.environment(tmp_path))
        settings = load_settings(cli.environment)
        with closing(open_log(settings.log_url, partitions=1)) as log:
            asyncio.run(test(log))
            with in_hand(settings.home, "binance", ["BTC/USDT"]):
                refused = cli.run("gaps", "fill", KEY)
            assert refused.returncode == 1
            assert "is collected by 'binance' (pid" in refused.stderr
            assert "stop that one, fill, and start it again" in refused.stderr
            assert [(gap.first_id, gap.last_id) for gap in open_gaps(log)] == [(11, 100)]
            done = cli.run("gaps", "fill", "--json")
            (told,) = map(json.loads, done.stdout.splitlines())
            assert (done.returncode, told["result"], told["missing"]) == (0, "filled", 0)
            assert (told["market"], told["first_id"], told["last_id"]) == (KEY, 11, 100)
            assert not open_gaps(log)
            assert sorted(without_origin(rows(log))) == expected(trades)
        nothing = cli.run("gaps", "fill")
        assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "nothing is missing\n")
        unknown = cli.error("gaps", "fill", "binance:BTC/USD")
        assert "is not in the journal" in unknown
