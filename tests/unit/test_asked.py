"""A plain symbol is asked for everywhere, one with its venue there; what is nowhere is said in a sentence."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from infra.exchange.asked import asked_of, parted
from infra.exchange.collector import DataCollector
from infra.exchange.provider import DataProvider, Delivery
from infra.exchange.simulated import market
from infra.exchange.venues.known import UnknownVenueError, by_venue, venue
from streams.events import Market
from streams.journal import Reached, scan
from streams.log import Log
from tests.unit.test_collector import delivery, log

__all__ = ["log"]


def test_a_key_names_its_venue_and_a_contract_is_a_plain_symbol() -> None:
    assert parted("okx:BTC/USDT") == ("okx", "BTC/USDT")
    assert parted("okx:BTC/USDT:USDT") == ("okx", "BTC/USDT:USDT")
    assert parted("BTC/USDT:USDT") == ("", "BTC/USDT:USDT")
    assert parted("BTC/USDT") == ("", "BTC/USDT")
    asked = ["okx:BTC/USDT", "ETH/USDT", "binance:SOL/USDT", "okx:ETH/USDT"]
    assert asked_of("okx#europe", asked) == ["BTC/USDT", "ETH/USDT"]


def test_feeds_are_parted_by_venue_and_an_unknown_one_is_refused_with_the_nearest() -> None:
    feeds = ["binance:BTC/USDT", "binance:ETH/USDT", "binance:BTC/USDT"]
    assert by_venue(feeds) == {"binance": ["BTC/USDT", "ETH/USDT"]}
    with pytest.raises(UnknownVenueError, match="venue 'binanse' is not known, did you mean binance"):
        venue("binanse")
    with pytest.raises(UnknownVenueError, match="venue 'BINANCE' is not known, did you mean binance"):
        venue("BINANCE")
    for feed in ("BTC/USDT", "binance", "binance:", "binance:BTC/USDT,okx:BTC/USDT", "okx:BTC/USDT ETH/USDT"):
        with pytest.raises(
            UnknownVenueError, match=r"write VENUE:SYMBOL, one each, such as binance:BTC/USDT"
        ):
            by_venue([feed])


class Has(DataProvider):
    """Has one market, or refuses it; fails to say so at first where `fails`."""

    def __init__(
        self, of: Market | None, why: Mapping[str, str] | None = None, *, fails: bool = False
    ) -> None:
        self.of, self.why_not, self.fails = of, why or {}, fails
        self.asked: list[list[str]] = []

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        self.asked.append(list(symbols))
        if self.fails:
            self.fails = False
            raise ConnectionError("in maintenance")
        return [self.of] if self.of is not None and self.of.symbol in symbols else []

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Any, None]:
        yield delivery(1, 100)

    def parse(self, raw: Delivery) -> Delivery:
        assert self.of is not None
        return Delivery((self.of.key,), raw.ticks)


BTC = market("BTC/USDT")
OTHER = replace(BTC, venue="other")


def collect(log: Log, symbols: Sequence[str], **providers: Has) -> None:
    collector = DataCollector(log, scan(log, range(log.partitions)))
    for name, provider in providers.items():
        collector.register_provider(name, provider)
    asyncio.run(collector.start_collection(symbols))


def test_each_provider_is_asked_for_its_own_symbols(log: Log) -> None:
    sim, other = Has(BTC), Has(OTHER)
    collect(log, ["sim:BTC/USDT", "other:BTC/USDT", "other:ETH/USDT"], sim=sim, other=other)
    assert (sim.asked, other.asked) == ([["BTC/USDT"]], [["BTC/USDT", "ETH/USDT"]])
    assert {"sim:BTC/USDT", "other:BTC/USDT"} <= scan(log, range(log.partitions)).markets.keys()


def test_a_symbol_that_is_gone_keeps_no_other_from_starting(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    gone = Has(None, {"ETH/USDT": "it is gone; near are ETH/USDC"})
    collect(log, ["sim:BTC/USDT", "other:ETH/USDT"], sim=Has(BTC), other=gone)
    assert "sim:BTC/USDT" in scan(log, range(log.partitions)).markets
    assert "it is gone; near are ETH/USDC" in caplog.text


def test_where_nothing_is_left_the_first_reason_is_said(log: Log) -> None:
    gone = Has(None, {"ETH/USDT": "it is gone; near are ETH/USDC"})
    with pytest.raises(ValueError, match="it is gone; near are ETH/USDC"):
        collect(log, ["other:ETH/USDT"], sim=Has(BTC), other=gone)
    with pytest.raises(ValueError, match="symbol 'ETH/USDT' does not exist at no provider"):
        collect(log, ["nowhere:ETH/USDT"], sim=Has(BTC))
    with pytest.raises(ValueError, match="symbol 'ETH/USDT' does not exist at sim"):
        collect(log, ["ETH/USDT", "sim:BTC/USDT"], sim=Has(BTC))


def test_of_a_venue_that_cannot_be_asked_nothing_is_said(log: Log) -> None:
    collect(log, ["other:BTC/USDT"], other=Has(OTHER, fails=True))
    assert "other:BTC/USDT" in scan(log, range(log.partitions)).markets
