"""What a venue does in the course of a day: it is quiet, away, ends connections; and who trades on it."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.strategies.registry import Strategies
from projections.fold.pipeline import Pipeline
from streams.events import BotChanged, Feed, Fill, Signal
from streams.log import Log
from streams.topics import JOURNAL
from tests.journal import emitted, fold
from tests.parity import compared
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.cases import MINUTE, MS, collecting_live
from tests.venues.collected import (
    Collected,
    candles,
    clock,
    events,
    expected,
    gaps,
    rows,
    states,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import Cut, Delisted, Down, Fault, HalfOpen, Heal, LeaveOut, Refuse
from tests.venues.okx import Okx
from tests.venues.paced import played
from tests.venues.trades import Trade, made

BTC, ETH = "BTCUSDT", "ETHUSDT"
KEY = "binance:BTC/USDT"
MIDNIGHT = 1_700_006_400_000
"""In ms."""


OLDER = made(BTC, 1, start=MIDNIGHT - MINUTE, first_id=0)
"""So that a market begins without a wait, which a clock that stands would not end."""


@dataclass
class Clock:
    """What nothing but the test moves."""

    s: float = 1_000.0

    def __call__(self) -> float:
        return self.s


# ------------------------------------------------------------ a quiet market


async def quiet_hour(venue: Binance, collected: Collected, trades: list[Trade], log: Log) -> None:
    """A trade in ten minutes; each minute closes before its end is more than 5 s away."""
    for minute in range(60):
        venue.publish(trade for trade in trades if trade.time // MINUTE == MIDNIGHT // MINUTE + minute)
        end = MIDNIGHT + (minute + 1) * MINUTE
        venue.stand_at(end - 1)
        collected.pass_by(59)
        venue.stand_at(end + 600)
        collected.pass_by(1)
        await collected.until(lambda end=end: clock(log) >= end * MS)


def test_each_minute_of_a_pair_with_a_trade_in_ten_closes_and_it_is_never_dialled_again(
    log: Log, strategies: Strategies
) -> None:
    trades = made(BTC, 6, start=MIDNIGHT + 5_000, every_ms=10 * MINUTE)

    async def test() -> None:
        async with collecting_live(Binance, log, start=MIDNIGHT) as (venue, collected):
            await quiet_hour(venue, collected, trades, log)
            assert len(venue.asked("socket")) == 1

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and not gaps(log).known
    minutes = {end: candle for (frame, end), candle in candles(log, strategies).items() if frame == "1m"}
    assert sorted(minutes) == [(MIDNIGHT + (n + 1) * MINUTE) * MS for n in range(60)]
    assert [candle.trades for _, candle in sorted(minutes.items())] == [1, *[0] * 9] * 6
    assert not any(candle.incomplete or candle.revision for candle in minutes.values())


def test_no_minute_closes_of_a_quiet_pair_whose_connection_is_half_open(log: Log) -> None:
    async def test() -> None:
        async with collecting_live(Binance, log, start=MIDNIGHT) as (venue, collected):
            venue.publish(made(BTC, 1, start=MIDNIGHT))
            await collected.has(1)
            await venue.strike(HalfOpen())
            await venue.strike(Refuse(("socket",), None, 503))
            for minute in range(1, 61):
                venue.stand_at(MIDNIGHT + minute * MINUTE + 600)
                collected.pass_by(60)
                dialled = len(venue.asked("socket"))
                await collected.until(lambda dialled=dialled: len(venue.asked("socket")) > dialled)
            await collected.until(lambda: "stale" in states(log))
            assert clock(log) < (MIDNIGHT + MINUTE) * MS

    asyncio.run(test())


# ------------------------------------------------------------ a pace


@pytest.mark.parametrize("kind", [Binance, Okx, Bybit], ids=lambda kind: kind.name)
def test_a_recording_at_a_hundred_times_its_pace_is_in_the_journal_to_the_digit_and_in_order(
    kind: type[FakeVenue], log: Log, shared_data: Path
) -> None:
    assert asyncio.run(played(log, shared_data, 100.0, kind)) == 19_904


# ------------------------------------------------------------ a connection that ends


@dataclass(frozen=True)
class Renewed(Fault):
    """The collector's clock is at the 23rd hour of its connection, and there was a second without a trade;
    `away` trades happen before it has dialled."""

    collected: Collected
    away: int

    async def strike(self, venue: FakeVenue) -> None:
        self.collected.pass_by(23 * 3_600 + 2)
        await self.collected.until(lambda: self.collected.reconnects)
        venue.pending.away = self.away


def test_under_traffic_a_new_dial_leaves_no_gap_no_repeat_and_no_revision(
    log: Log, strategies: Strategies
) -> None:
    trades = made(BTC, 3_000, start=MIDNIGHT)

    async def test() -> None:
        async with collecting_live(Binance, log, start=MIDNIGHT) as (venue, collected):
            venue.publish(trades[:1])
            await collected.has(1)
            await venue.play(venue.frames(trades[1:]), script=[(1_499, Renewed(collected, 50))])
            await collected.has(3_000)
            assert len(venue.asked("socket")) == 2

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert not gaps(log).open
    assert states(log) == ["catching_up", "live", "down"], "nobody who trades was told"
    assert not any(candle.revision or candle.incomplete for candle in candles(log, strategies).values())


def test_a_symbol_that_is_gone_does_not_keep_the_others_from_being_dialled_again(log: Log) -> None:
    trades = made(BTC, 20, start=MIDNIGHT)

    async def test() -> None:
        async with collecting_live(Binance, log, ["BTC/USDT", "ETH/USDT"], start=MIDNIGHT) as (
            venue,
            collected,
        ):
            venue.publish(trades[:10])
            await collected.has(10)
            await venue.strike(Delisted(ETH))
            collected.pass_by(3_601)
            await collected.until(lambda: collected.state == "down")
            await venue.down()
            await venue.up()
            await venue.watched(BTC)
            venue.publish(trades[10:])
            await collected.has(20)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)


# ------------------------------------------------------------ a venue that is away


def test_a_venue_that_went_silent_is_stale_two_seconds_after_its_silence_and_then_down(log: Log) -> None:
    now, within_a_minute = Clock(), MIDNIGHT + 10_000

    async def test() -> None:
        async with collecting_live(
            Binance, log, older=OLDER, gap_wait_s=1.0, now_s=now, start=within_a_minute
        ) as (
            venue,
            collected,
        ):
            venue.publish(made(BTC, 10, start=within_a_minute))
            await collected.has(10)
            await collected.until(lambda: not collected.is_asking)
            await venue.strike(HalfOpen())
            await venue.strike(Refuse(("socket",), None, 503))
            now.s += collected.provider.venue.silence_s
            await collected.until(lambda: collected.is_asking)
            assert collected.state == "live"
            now.s += 2.01
            await collected.until(lambda: collected.state == "stale")
            now.s += 1.01
            await collected.until(lambda: collected.state == "down")

    asyncio.run(test())
    assert states(log) == ["catching_up", "live", "stale", "down"]


EVERYTHING = ("markets", "trades", "time", "socket")
AWAY: dict[str, list[Fault]] = {
    "down": [Down()],
    "in maintenance": [Refuse(EVERYTHING, None, 503), Cut()],
    "half-open": [Refuse(EVERYTHING, None, 503), HalfOpen()],
}


@pytest.mark.parametrize("name", AWAY)
def test_a_venue_that_is_away_for_five_minutes_is_filled_afterwards_and_another_goes_on_meanwhile(
    log: Log, other_log: Log, strategies: Strategies, name: str
) -> None:
    trades = others = made(BTC, 600, start=MIDNIGHT, every_ms=1_000)

    async def test() -> None:
        async with (
            collecting_live(Binance, log, start=MIDNIGHT, gap_wait_s=290.0) as (venue, away),
            collecting_live(Binance, other_log, start=MIDNIGHT) as (other, here),
        ):
            venue.publish(trades[:100])
            await away.has(100)
            for fault in AWAY[name]:
                await venue.strike(fault)
            await away.until(lambda: name == "half-open" or away.is_lost)
            venue.publish(trades[100:400])
            away.pass_by(300)
            await away.until(lambda: away.state in ("down", "stale"))
            other.publish(others)
            await here.has(600)
            assert away.trades() == 100
            await venue.strike(Heal())
            if name == "down":
                await venue.up()
            await venue.watched(BTC)
            venue.publish(trades[400:])
            await away.has(600)
            await away.until(lambda: away.state == "live")

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert rows(other_log) == expected(others) and states(other_log) == ["catching_up", "live", "down"]
    assert not any(candle.incomplete or candle.revision for candle in candles(log, strategies).values())


@pytest.mark.parametrize("refused", ["trades", "socket"])
def test_a_banned_client_asks_nothing_for_as_long_as_it_was_told_while_another_venue_goes_on(
    log: Log, other_log: Log, refused: str
) -> None:
    trades, others = made(BTC, 200, start=MIDNIGHT), made(BTC, 2_000, start=MIDNIGHT)
    now = Clock()

    async def test() -> None:
        async with (
            collecting_live(Binance, log, older=OLDER, start=MIDNIGHT, now_s=now) as (venue, away),
            collecting_live(Binance, other_log, start=MIDNIGHT) as (other, here),
        ):
            venue.publish(trades[:100])
            await away.has(100)
            await venue.strike(Refuse((refused,), 1, 418, retry_after=120))
            await venue.strike(Cut())
            venue.publish(trades[100:])
            await away.until(lambda: away.barred_s == 120)
            asked = len(venue.requests)
            for part in range(0, 2_000, 200):
                now.s += 11.9
                other.publish(others[part : part + 200])
                await here.has(part + 200)
            assert len(venue.requests) == asked, "119 of 120 seconds are over"
            now.s += 2
            await away.has(200)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades) and rows(other_log) == expected(others)


# ------------------------------------------------------------ bots


def bot(log: Log, strategies: Strategies, warm: int | str | None = 0) -> None:
    """One that turns at every crossing of two short means."""
    spec = BotSpec("sma_cross", "binance", "BTC/USDT", "1m", "1000000", {"fast": 2, "slow": 4}, short=True)
    BotManager(log, strategies, "test:ann", now=lambda: MIDNIGHT * MS).create_bot(spec, start=True, warm=warm)


def test_bots_of_a_venue_that_is_away_enter_nothing(log: Log, strategies: Strategies) -> None:
    trades = made(BTC, 3_600, start=MIDNIGHT, every_ms=1_000)

    async def test() -> None:
        async with collecting_live(Binance, log, gap_wait_s=0.0, start=MIDNIGHT) as (venue, collected):
            venue.publish(trades[:1_200])
            await collected.has(1_200)
            bot(log, strategies)
            venue.publish(trades[1_200:1_800])
            await collected.has(1_800)
            await venue.strike(Down())
            venue.publish(trades[1_800:2_100])
            await collected.until(lambda: collected.state == "down")
            await venue.up()
            await collected.has(2_100)
            await collected.until(lambda: collected.state == "live")
            venue.publish(trades[2_100:])
            await collected.has(3_600)

    asyncio.run(test())
    away, fills = False, {True: 0, False: 0}
    pipeline = Pipeline(0, strategies)
    for record, event in zip(log.read(JOURNAL, 0), events(log), strict=True):
        if isinstance(event, Feed):
            away = event.state != "live"
        fills[away] += len(emitted(pipeline.fold(record).derived, Fill))
    assert fills[True] == 0 and fills[False] > 4


@pytest.mark.parametrize("lost", [0, 7])
def test_bots_on_a_first_minute_and_warmed_after_an_hour_do_what_a_replay_of_the_journal_says(
    log: Log, strategies: Strategies, lost: int
) -> None:
    trades = made(BTC, 7_200, start=MIDNIGHT + 20_000, every_ms=1_000)

    async def test() -> None:
        async with collecting_live(Binance, log, start=MIDNIGHT) as (venue, collected):
            venue.publish(trades[:10])
            await collected.has(10)
            bot(log, strategies)
            script = [(1_000, LeaveOut(lost, rest=True)), (2_000, LeaveOut(20))] if lost else []
            await venue.play(venue.frames(trades[10:3_800]), script=script)
            await collected.until(lambda: collected.trades() == 3_800 - lost)
            bot(log, strategies, "all")
            await venue.play(venue.frames(trades[3_800:]))
            await collected.until(lambda: collected.trades() == 7_200 - lost)

    asyncio.run(test())
    journal = list(log.read(JOURNAL, 0))
    derived = fold(Pipeline(0, strategies), journal)
    warmed = [change.warmed for _, change in emitted(derived, BotChanged) if isinstance(change, BotChanged)]
    assert max(warmed) >= 60
    signals = [s for _, s in emitted(derived, Signal) if isinstance(s, Signal)]
    second = {s.timestamp: s.target for s in signals if s.bot_id == 2}
    del second[min(second)]  # it began there, and the other one stood so already
    first = {s.timestamp: s.target for s in signals if s.bot_id == 1 and s.timestamp in second}
    assert len(second) > 10 and first == second
    for bot_id, one in compared(journal, strategies, derived).items():
        assert one.differs is None and one.counts["signals"] > 10, f"bot {bot_id}"
