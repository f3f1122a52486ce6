"""How a source stands is counted as it is written, whatever its provider tells of itself."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import stamina
from prometheus_client.parser import text_string_to_metric_families

from infra.exchange.collector import DataCollector
from infra.exchange.provider import DataProvider, Delivery, FeedReport, Refused
from infra.exchange.simulated import START_NS, market
from infra.exchange.status import (
    MarketStatus,
    ProviderStatus,
    RawStatus,
    RestStatus,
    SourceStatus,
    Trouble,
    skew_words,
)
from infra.process import telemetry
from streams.events import BACKFILL, Gap, GapFilled, Market
from streams.journal import Reached, scan
from streams.log import Log
from streams.topics import JOURNAL
from tests.unit.test_collector import delivery, log

__all__ = ["log"]
BTC, ETH = market("BTC/USDT"), market("ETH/USDT")
SECOND = 1_000_000_000


STATUS = ProviderStatus(1.5, 2, RestStatus(3, 120), Trouble("cut", 1), {BTC.key: 4}, RawStatus(5))


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """What failed is tried again at once."""
    with stamina.set_testing(True, attempts=100_000):
        yield


class Told(DataProvider):
    """Hands out what it is given, one by one; `served` fails where it is an error."""

    def __init__(self, served: list[Market] | Exception, status: ProviderStatus | None = None) -> None:
        self.given: asyncio.Queue[Delivery] = asyncio.Queue()
        self.served, self.told = served, status

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        if isinstance(self.served, Exception):
            raise self.served
        return [one for one in self.served if one.symbol in symbols]

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Any, None]:
        while True:
            yield await self.given.get()

    def parse(self, raw: Any) -> Delivery:
        return raw

    def status(self) -> ProviderStatus | None:
        return self.told


class At:
    """A collector at work, and its clock."""

    def __init__(self, log: Log, provider: Told, symbols: Sequence[str]) -> None:
        self.now_s = 0.0
        self.provider = provider
        self.collector = DataCollector(log, scan(log, range(log.partitions)), now_s=lambda: self.now_s)
        self.collector.register_provider("sim", provider)
        self.task = asyncio.ensure_future(self.collector.start_collection(symbols))

    @property
    def source(self) -> SourceStatus:
        (found,) = self.collector.standings()
        return found

    def market(self, key: str = BTC.key) -> MarketStatus:
        return next(one for one in self.source.markets if one.market == key)

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            assert not self.task.done(), self.task.result()
            await asyncio.sleep(0.002)


def run(log: Log, provider: Told, test: Callable[[At], Any], symbols: Sequence[str] = ("BTC/USDT",)) -> None:
    async def all_of_it() -> None:
        at = At(log, provider, symbols)
        try:
            await test(at)
        finally:
            at.task.cancel()
            await asyncio.gather(at.task, return_exceptions=True)

    asyncio.run(all_of_it())


def fetched(came: Delivery) -> Delivery:
    return replace(came, ticks=came.ticks._replace(kind=came.ticks.kind | BACKFILL))


def test_trades_that_came_live_are_counted_by_market_and_fetched_ones_are_not(log: Log) -> None:
    async def test(at: At) -> None:
        await at.until(lambda: len(at.source.markets) == 2 and at.collector.is_connected)
        assert (at.market().age_s, at.market().trades_s) == (None, 0.0)
        at.now_s = 20.0
        at.provider.given.put_nowait(delivery(1, *[100] * 30))
        await at.until(lambda: at.market().age_s is not None)
        assert (at.market().age_s, at.market().trades_s) == (0.0, 1.5)
        at.now_s = 25.0
        at.provider.given.put_nowait(fetched(delivery(1, 100, 100, key=ETH.key)))
        at.provider.given.put_nowait(
            delivery(2, refused=(Refused(ETH.key, "no", b""), Refused("", "no", b"")))
        )
        await at.until(lambda: at.source.refused)
        assert at.market(ETH.key) == MarketStatus(ETH.key, "live", "", 0, None, 0.0, 1, (0, 0, 0))
        assert (at.market().age_s, at.market().refused, at.source.refused) == (5.0, 0, 1)

    run(log, Told([BTC, ETH]), test, ["BTC/USDT", "ETH/USDT"])


def test_gaps_are_counted_as_they_are_written_and_as_the_journal_had_them(log: Log) -> None:
    def gap(second: int, *, final: bool = False) -> Gap:
        start = START_NS + second * SECOND
        return Gap(market=BTC.key, start=start, end=start + SECOND, reason="missing", final=final)

    async def first(at: At) -> None:
        at.provider.given.put_nowait(delivery(1, 100, gaps=(gap(2), gap(4, final=True), gap(6))))
        filled = GapFilled(market=BTC.key, start=gap(2).start, end=gap(2).end)
        at.provider.given.put_nowait(delivery(9, 100, gaps=(filled,)))
        await at.until(lambda: at.source.markets and at.market().gaps == (2, 1, 1))

    async def second(at: At) -> None:
        await at.until(lambda: at.source.markets and at.market().gaps == (2, 1, 1))

    run(log, Told([BTC]), first)
    run(log, Told([BTC]), second)


def test_what_a_day_brings_is_not_told_before_ten_minutes_are_known(log: Log) -> None:
    def written() -> int:
        return sum(len(r.value) for p in range(log.partitions) for r in log.read(JOURNAL, p, 1))

    async def test(at: At) -> None:
        at.provider.given.put_nowait(delivery(1, *range(1, 1_000)))
        await at.until(lambda: at.source.markets and at.market().age_s is not None)
        at.now_s = 599.0
        assert at.source.bytes_day is None
        at.now_s = 864.0
        await at.until(lambda: written() > 10_000 and at.source.bytes_day == pytest.approx(100 * written()))

    run(log, Told([BTC]), test)


def test_a_provider_that_was_never_there_has_its_markets_down_with_what_it_fails_with(log: Log) -> None:
    async def test(at: At) -> None:
        await at.until(lambda: at.source.trouble)
        (one,) = at.source.markets
        assert (one.market, one.state, one.reason) == (BTC.key, "down", "OSError: no route")
        trouble = at.source.trouble
        assert trouble and trouble.what == "OSError: no route" and trouble.at > START_NS
        at.provider.served = [BTC]
        at.provider.given.put_nowait(delivery(1, 100))
        await at.until(lambda: at.market().state == "live")
        assert at.source.trouble == trouble, "the last is still told"

    run(log, Told(OSError("no route")), test)


def test_a_market_of_a_provider_that_vouches_is_not_live_before_its_word(log: Log) -> None:
    async def test(at: At) -> None:
        await at.until(lambda: at.collector.is_connected)
        assert at.market().state == "catching_up"
        at.provider.given.put_nowait(delivery(1, 100, feeds=(FeedReport(BTC.key, "live", START_NS),)))
        await at.until(lambda: at.market().state == "live")
        at.provider.given.put_nowait(
            delivery(2, feeds=(FeedReport(BTC.key, "stale", START_NS + SECOND, "deaf"),))
        )
        await at.until(lambda: at.market().state == "stale")
        assert (at.market().reason, at.market().since) == ("deaf", START_NS + SECOND)
        assert at.source.provider == STATUS

    run(log, Told([BTC], STATUS), test)


@pytest.mark.parametrize(
    ("skew_ms", "words"),
    [
        (None, ""),
        (499.9, ""),
        (-499.9, ""),
        (500.0, "the clock here is 500 ms ahead of that of x: have it set by NTP"),
        (-812.4, "the clock here is 812 ms behind that of x: have it set by NTP"),
    ],
)
def test_a_clock_is_warned_of_from_half_a_second(skew_ms: float | None, words: str) -> None:
    assert skew_words("x", skew_ms) == words


def test_all_that_is_known_of_a_source_stands_in_the_metrics_by_venue_and_symbol(log: Log) -> None:
    async def test(at: At) -> None:
        at.provider.given.put_nowait(delivery(1, 100, feeds=(FeedReport(BTC.key, "live", START_NS),)))
        await at.until(lambda: at.source.markets and at.market().age_s is not None)
        at.now_s = 864.0
        with telemetry.asked(at.collector.gauges()):
            text = telemetry.exposition().decode()
        found = {
            (
                sample.name.removeprefix("tcpd_source_"),
                *(value for _, value in sorted(sample.labels.items())),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("tcpd_source_")
        }
        assert found.pop(("journal_bytes_per_day", "sim")) > 10_000
        assert found.pop(("error_age_seconds", "sim")) > 0
        market = ("BTC/USDT", "sim")
        assert found == {
            ("state", "live", *market): 1,
            ("trade_age_seconds", *market): 864,
            ("trades_per_second", *market): 0,
            ("gaps", "open", *market): 0,
            ("gaps", "final", *market): 0,
            ("gaps", "filled", *market): 0,
            ("repeats", *market): 4,
            ("refused", *market): 0,
            ("clock_skew_seconds", "sim"): 0.0015,
            ("reconnects", "sim"): 2,
            ("rest_pages", "sim"): 3,
            ("rest_pages_allowed", "sim"): 120,
            ("raw_dropped", "sim"): 5,
        }

    run(log, Told([BTC], STATUS), test)


def test_a_provider_whose_status_fails_is_collected_all_the_same(log: Log) -> None:
    class Wrong(Told):
        def status(self) -> ProviderStatus | None:
            raise RuntimeError("no idea")

    async def test(at: At) -> None:
        at.provider.given.put_nowait(delivery(1, 100))
        await at.until(lambda: at.source.markets and at.market().age_s is not None)
        assert (at.market().state, at.source.provider) == ("live", None)
        assert at.source.trouble is not None and "no idea" in at.source.trouble.what

    run(log, Wrong([BTC]), test)
