"""A provider that fails is started again, alone; a trade from its venue's future is left out."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

import pytest
import stamina
from msgspec.structs import replace

from infra.exchange.collector import DataCollector, Message
from infra.exchange.feed import Processed
from infra.exchange.provider import Delivery
from infra.exchange.simulated import START_NS, market
from streams.events import BACKFILL, Market
from streams.journal import Reached, scan
from streams.log import LogError
from tests.unit.test_collector import (
    BTC,
    Script,
    collector_of,
    delivery,
    inputs,
    letters,
    log,
    rows_of,
)

__all__ = ["log"]
OTHER = replace(market("BTC/USDT"), venue="other")
SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """Starts again at once, and not for ever."""
    with stamina.set_testing(True, attempts=5):
        yield


class Failing(Script):
    """Plays one script after the other: each start the next, which may end with what it raises."""

    def __init__(
        self, scripts: list[list[Any]], served: Sequence[Market] = (), asked: list[Any] = ()
    ) -> None:
        super().__init__([], served)
        self.scripts, self.asked = list(scripts), list(asked)
        self.starts: list[dict[str, Reached]] = []

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        if self.asked and (error := self.asked.pop(0)):
            raise error
        return await super().markets(symbols, known)

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Any, None]:
        self.starts.append(dict(reached))
        for message in self.scripts.pop(0):
            if isinstance(message, Exception):
                raise message
            yield message


def collected(log, **providers: Script) -> DataCollector:
    collector = DataCollector(log, scan(log, range(log.partitions)), linger_ms=0)
    for name, provider in providers.items():
        collector.register_provider(name, provider)
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    return collector


@pytest.mark.parametrize("error", [ConnectionError("reset by peer"), ValueError("a bug"), TimeoutError()])
def test_a_provider_that_fails_goes_on_from_where_the_journal_is(log, error: Exception) -> None:
    provider = Failing([[delivery(1, 100, clock_s=1), error], [error], [delivery(2, 101, clock_s=2)]])
    collector = collected(log, sim=provider)
    assert rows_of(log, BTC).price.tolist() == [100, 0, 101, 0]
    assert [start[BTC].time for start in provider.starts] == [0, START_NS + SECOND, START_NS + SECOND]
    assert {entry.epoch for entry in inputs(log)} == {inputs(log)[0].epoch}
    assert collector.failed == {}


def test_the_others_are_not_told_of_it(log) -> None:
    fails = Failing([[ConnectionError("away")]] * 5)
    other = Failing([[delivery(n, 100 + n, key=OTHER.key) for n in range(1, 9)]], [OTHER])
    with pytest.raises(RuntimeError, match="provider sim: ConnectionError: away"):
        collected(log, sim=fails, other=other)  # which no test waits for for ever
    assert len(fails.starts) == 5
    assert rows_of(log, OTHER.key).price.tolist() == list(range(101, 109))


def test_a_provider_that_is_away_at_the_start_begins_later(log) -> None:
    away = Failing([[delivery(1, 100)]], asked=[ConnectionError("away"), ConnectionError("away"), None])
    other = Failing([[delivery(1, 7, key=OTHER.key)]], [OTHER])
    collected(log, sim=away, other=other)
    assert rows_of(log, BTC).price.tolist() == [100]
    assert rows_of(log, OTHER.key).price.tolist() == [7]


def test_a_provider_that_hangs_when_it_is_asked_for_its_markets_begins_when_it_answers(log) -> None:
    other_has_ended = asyncio.Event()

    class Hanging(Failing):
        async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
            await other_has_ended.wait()
            return await super().markets(symbols, known)

    class Prompt(Failing):
        async def messages(self, markets: Sequence[Market], reached: Mapping[str, Reached]) -> Any:
            async for message in super().messages(markets, reached):
                yield message
            other_has_ended.set()

    late, other = Hanging([[delivery(1, 100)]]), Prompt([[delivery(1, 7, key=OTHER.key)]], [OTHER])
    collector = DataCollector(log, scan(log, range(log.partitions)), linger_ms=0, late_s=0)
    collector.register_provider("sim", late)
    collector.register_provider("other", other)
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    assert rows_of(log, OTHER.key).price.tolist() == [7]
    assert rows_of(log, BTC).price.tolist() == [100]
    assert len(late.starts) == 1


def test_while_it_fails_it_is_not_connected_and_says_why(log) -> None:
    seen: list[tuple[bool, dict[str, str]]] = []

    class Watched(Failing):
        async def messages(self, markets: Sequence[Market], reached: Mapping[str, Reached]) -> Any:
            async for message in super().messages(markets, reached):
                seen.append((collector.is_connected, dict(collector.failed)))
                yield message
                seen.append((collector.is_connected, dict(collector.failed)))

    provider = Watched([[ConnectionError("reset by peer")], [delivery(1, 100)]])
    collector = collector_of(log, provider)
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    assert seen[0] == (False, {"sim": "ConnectionError: reset by peer"})
    assert collector.failed == {}


def test_a_failing_log_is_no_failing_provider(log) -> None:
    collector = collector_of(log, Failing([[delivery(1, 100)]] * 5))
    log.close()
    with pytest.raises(LogError):
        asyncio.run(collector.start_collection(["BTC/USDT"]))


def live(collector: DataCollector, received_s: float, rows: Delivery, skew_s: float | None = 0) -> Processed:
    """A delivery received at that second of the clock here."""
    message = dataclasses.replace(rows, skew=None if skew_s is None else int(skew_s * SECOND))
    return collector.process_raw_data(Message("sim", message, START_NS + int(received_s * SECOND)))


@pytest.mark.parametrize(
    ("time_s", "received_s", "skew_s", "taken"),
    [
        (10, 5, 0, True), (10.1, 5, 0, False), (4 * 3600, 5, 0, False), (1, 5, 0, True),
        (10, 105, 100, True), (10.1, 105, 100, False), (4 * 3600, 5, None, True),
        (10, 3.7, -1.3, True), (10.1, 3.7, -1.3, False),
    ],
)  # fmt: skip
def test_a_trade_from_its_venues_future_is_a_dead_letter(
    log, time_s: float, received_s: float, skew_s: float | None, taken: bool
) -> None:
    collector = collector_of(log, Script([]))
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    for backfill in (0, BACKFILL):
        row = delivery(time_s, 100)
        row.ticks.kind[:] |= backfill
        processed = live(collector, received_s, row, skew_s)
        assert bool(processed.rows) == taken
        assert [lost.market for lost in processed.lost] == [] if taken else [BTC]
        assert all("ahead of the venue's clock" in lost.reason for lost in processed.lost)


def test_it_costs_that_row_alone_and_its_letter_goes_in_again(log) -> None:
    collector = collector_of(log, Script([]))
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    rows = delivery(1, 100, 101, 102)
    rows.ticks.time[1] += 4 * 3600 * SECOND
    collector.send_signal_to_bots(live(collector, 1, rows))
    assert rows_of(log, BTC).price.tolist() == [100, 102]
    (letter,) = letters(log)
    assert letter.data.startswith(b'{"time":%d,' % rows.ticks.time[1])


def test_a_promise_from_the_future_is_no_promise(log) -> None:
    collector = collector_of(log, Script([]))
    asyncio.run(collector.start_collection(["BTC/USDT"]))
    processed = live(collector, 1, delivery(1, 100, clock_s=60))
    assert processed.clocks == {}
    assert "ahead of the venue's" in processed.lost[0].reason
