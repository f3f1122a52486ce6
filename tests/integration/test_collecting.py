"""A process that collects from several venues, and goes on where each of them was."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.exchange.collecting import Collecting, Source, from_venues
from infra.exchange.provider import DataProvider, Delivery, FeedReport
from infra.exchange.specification import specification
from infra.exchange.venues.provider import VenueProvider
from infra.process import telemetry
from infra.process.settings import load_settings
from streams.events import Market, RowKind
from streams.journal import Reached
from streams.ticks import Ticks

START = 1_700_000_040_000_000_000
VENUES = ("one", "two", "three")


class Once(DataProvider):
    """A trade of BTC/USDT with an id, and a word on the feed before it."""

    def __init__(self, venue: str, id_: int) -> None:
        self._market = specification(
            venue, "BTC/USDT", contract="spot", price_step="0.01", size_step="0.01", min_size=None
        )
        self._id = id_
        self.reached: dict[str, Reached] = {}

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        return [self._market]

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[int, None]:
        self.reached = dict(reached)
        yield self._id

    def parse(self, raw: Any) -> Delivery:
        def one(value: int, kind: type[np.generic] = np.int64) -> Any:
            return np.array([value], kind)

        time = START + raw * 1_000_000
        ticks = Ticks(one(0, np.uint16), one(RowKind.BUY, np.uint8), one(time), one(100), one(1), one(raw))
        word = FeedReport(self._market.key, "live", time)
        return Delivery((self._market.key,), ticks, clock=time, feeds=(word,))


def collected(home: Path, id_: int) -> dict[str, int]:
    """Collect a trade of each venue; the id that each was told it had come to."""
    providers = {venue: Once(venue, id_) for venue in VENUES}
    sources = {
        venue: Source(provider, [f"{venue}:BTC/USDT"], lambda _: None)
        for venue, provider in providers.items()
    }
    asyncio.run(Collecting(load_settings({"TCPD_HOME": str(home)}), sources).run())
    return {venue: provider.reached[f"{venue}:BTC/USDT"].id for venue, provider in providers.items()}


def test_how_long_the_disk_lasts_is_one_of_its_metrics(tmp_path: Path) -> None:
    class Looked(Once):
        async def messages(
            self, markets: Sequence[Market], reached: Mapping[str, Reached]
        ) -> AsyncGenerator[int, None]:
            found.append(telemetry.exposition().decode())
            yield 1

    found: list[str] = []
    source = Source(Looked("one", 1), ["one:BTC/USDT"], lambda _: None)
    asyncio.run(Collecting(load_settings({"TCPD_HOME": str(tmp_path)}), {"one": source}).run())
    assert "# TYPE tcpd_log_disk_days_left gauge" in found[0]


def test_each_of_several_sources_goes_on_where_it_was(tmp_path: Path) -> None:
    """The journal's other records name a source too, and say nothing of how far it came."""
    collected(tmp_path, 7)
    assert collected(tmp_path, 8) == dict.fromkeys(VENUES, 7)
    assert collected(tmp_path, 9) == dict.fromkeys(VENUES, 8)


def test_how_long_rows_wait_for_what_is_missing_is_a_setting_of_every_venue(tmp_path: Path) -> None:
    settings = load_settings({"TCPD_HOME": str(tmp_path), "TCPD_GAP_WAIT_S": "3"})
    with from_venues(settings, ["binance:BTC/USDT", "bybit:BTC/USDT"]) as collecting:
        providers = [source.provider for source in collecting._by_name.values()]
    assert len(providers) == 2
    assert all(isinstance(one, VenueProvider) and one.gap_wait_s == 3 for one in providers)
