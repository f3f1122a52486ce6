"""What is missing of an exchange, and that its ids began anew, in every home of the log: written by a
collector, read again at the next start, filled and reset by who asks."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import stamina

from infra.commands.journal_view import source_state
from infra.exchange.gap_filling import asked, fetch, outcome
from infra.exchange.resetting import reset
from infra.exchange.venues.again import GapProvider
from infra.process.settings import load_settings
from streams.backends import open_log
from streams.events import IdsReset
from streams.log import Log, LogError
from streams.records import Entry, Position
from tests.contract.conftest import LogHome
from tests.venues.binance import Binance
from tests.venues.cases import at, short
from tests.venues.collected import (
    candles,
    collecting,
    events,
    expected,
    gaps,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.faults import Jump, LeaveOut
from tests.venues.unlimited import unlimited

KEY = "binance:BTC/USDT"


@pytest.fixture
def log(log_home: LogHome) -> Iterator[Log]:
    log = open_log(log_home(), partitions=1)
    yield log
    log.close()


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """What failed is tried again at once."""
    with stamina.set_testing(True, attempts=1_000):
        yield


def ids(log: Log) -> list[tuple[int, int, bool]]:
    """Of the open gaps, and whether they are final."""
    return [(gap.first_id, gap.last_id, gap.final) for gap in open_gaps(log)]


def test_a_gap_keeps_its_ids_until_it_is_filled(log: Log, strategies: Any) -> None:
    trades = short(Binance, 200)

    async def fill(venue: Binance) -> list[str]:
        wanted = asked(log, KEY)
        assert await fetch(log, GapProvider(unlimited("binance"), connector=venue.connector), wanted) == []
        return [one.result for one in outcome(log, wanted)]

    async def test() -> None:
        async with Binance() as venue:
            async with collecting(log, at(venue), backfill_max_s=40) as collected:
                await collected.live()
                await venue.play(venue.frames(trades[:90]), script=[(70, LeaveOut(10, rest=True))])
                await collected.until(lambda: collected.trades() == 80 and ids(log) == [(71, 80, True)])
            venue.publish(trades[90:180])
            async with collecting(log, at(venue, trades[180].time), backfill_max_s=40) as collected:
                await collected.live()
                venue.publish(trades[180:])
                await collected.until(lambda: rows(log)[-1].id == 200)
            assert ids(log) == [(71, 80, True), (91, 140, True)]
            venue.public["BTCUSDT"] = [*trades[:76], *trades[80:]]
            assert await fill(venue) == ["narrowed", "filled"]
            assert ids(log) == [(77, 80, True)]
            venue.public["BTCUSDT"] = trades
            assert await fill(venue) == ["filled"]

    asyncio.run(test())
    assert not open_gaps(log)
    assert sorted(without_origin(rows(log))) == expected(trades), "each once"
    assert not any(candle.incomplete for candle in candles(log, strategies).values())


class KilledError(LogError):
    """The collector does nothing any more."""


class Killing:
    """A log whose writer dies at the append `at`, before it or behind it; others are as they are."""

    def __init__(self, log: Log, at: int, *, before: bool) -> None:
        self._log, self._left, self._before = log, at, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and self._before):
            raise KilledError("killed")
        positions = self._log.append(entries, sync=sync)
        if self._left == 0:
            raise KilledError("killed")
        return positions


@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
def test_a_collector_that_dies_in_the_middle_of_a_fill_goes_on_with_what_is_missing(
    log: Log, strategies: Any, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    monkeypatch.setattr("infra.exchange.venues.sequence.PART", 40)
    trades, kills = short(Binance, 400), 0

    async def dies(venue: Binance, at: int) -> bool:
        """Whether it came so far."""
        with suppress(KilledError):
            async with collecting(Killing(log, at, before=before), venue) as collected:
                await collected.has(390)
                return False
        return True

    async def test() -> None:
        nonlocal kills
        async with Binance() as venue:
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                await venue.play(venue.frames(trades[:10]))
                await collected.has(10)
            venue.publish(trades[10:390])
            while await dies(at(venue, trades[390].time), kills + 1):
                kills += 1
                written = {row.id for row in rows(log)}
                missing = {n for gap in open_gaps(log) for n in range(gap.first_id, gap.last_id + 1)}
                assert not missing or (missing | written, missing & written) == (set(range(1, 391)), set())
            async with collecting(log, venue) as collected:
                await collected.live()
                await venue.play(venue.frames(trades[390:]))
                await collected.has(400)

    asyncio.run(test())
    assert kills > 5
    assert sorted(without_origin(rows(log))) == expected(trades), "each once"
    assert [(gap.first_id, gap.last_id, gap.filled) for gap in gaps(log).known] == [(11, 390, True)]
    assert not any(candle.incomplete for candle in candles(log, strategies).values())


def test_a_market_goes_on_behind_a_reset(log: Log, strategies: Any, tmp_path: Path) -> None:
    trades, settings = short(Binance, 150), load_settings({"TCPD_HOME": str(tmp_path)})

    async def test() -> None:
        async with Binance() as venue:
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                await venue.play(venue.frames(trades[:100]), script=[(60, Jump(-50))])
                await collected.until(lambda: collected.state == "down")
            await asyncio.to_thread(lambda: reset(settings, log, KEY, who="cli:ann", reason="maintenance"))
            async with collecting(log, venue) as collected:
                await collected.live()
                venue.publish(trades[100:])
                await collected.until(lambda: collected.trades() == 150)

    asyncio.run(test())
    anew = [trade._replace(id=str(int(trade.id) - 50)) for trade in trades[60:]]
    assert without_origin(rows(log)) == expected([*trades[:60], *anew])
    (event,) = [event for event in events(log) if isinstance(event, IdsReset)]
    assert (event.market, event.since, event.who) == (KEY, trades[59].time * 1_000_000, "cli:ann")
    assert source_state(log, "binance").source("binance").reached[KEY].id == 100
    minutes = [one for (frame, _), one in candles(log, strategies).items() if frame == "1m"]
    assert sum(one.trades for one in minutes) >= 120
