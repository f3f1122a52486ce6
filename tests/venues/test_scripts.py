"""Scripts of faults: by number of trades, by time, and by seed."""

import asyncio
from typing import Any

import pytest

from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.client import client_of, watching
from tests.venues.fake import FakeVenue
from tests.venues.faults import Cut, Fault, LeaveOut
from tests.venues.okx import Okx
from tests.venues.playing import At
from tests.venues.scripts import KINDS, kinds_of, nowhere, seeded
from tests.venues.trades import made

MARKETS = {Binance: "BTCUSDT", Okx: "BTC-USDT", Bybit: "BTCUSDT"}


def test_a_fault_strikes_at_its_time_or_after_its_number_of_trades() -> None:
    async def run() -> list[str]:
        async with Binance() as venue:
            frames = venue.frames(made("BTCUSDT", 10, every_ms=1_000))
            await venue.play(frames, script=[(8, LeaveOut()), (At(4_500), LeaveOut())], wait=False)
            return [trade.id for trade in venue.unsent]

    assert asyncio.run(run()) == ["6", "9"]


def test_a_play_stands_until_rest_was_asked_where_rest_has_the_newest_alone() -> None:
    async def run() -> None:
        async with Bybit() as venue, client_of(venue) as client, watching(client, "BTC/USDT") as kept:
            await venue.watched("BTCUSDT")
            frames = venue.frames(made("BTCUSDT", 1_000))
            play = venue.play(frames, script=[(500, Cut(away=20))], rest_first=True)
            playing = asyncio.ensure_future(play)
            await kept.reach(500)
            await venue.watched("BTCUSDT")
            page = {trade["id"] for trade in await client.fetch_trades("BTC/USDT")}
            await playing
            await kept.reach(980)
            missed = venue.published[500:520]
            assert [trade.id for trade in venue.published if trade.id not in kept.ids] == [
                t.id for t in missed
            ]
            assert {trade.id for trade in missed} <= page

    asyncio.run(run())


@pytest.mark.parametrize("kind", MARKETS, ids=lambda kind: kind.name)
def test_every_seed_plays_all_trades_and_hides_from_rest_what_it_says(kind: type[FakeVenue]) -> None:
    async def run() -> None:
        for seed in range(len(KINDS) + 30):
            async with kind() as venue:
                frames = venue.frames(made(MARKETS[kind], 500))
                script = seeded(seed, 500, kinds_of(kind), more=[nowhere] * (seed % 2))
                await venue.play(frames, script=script, wait=False)
                played = [trade for frame in frames for trade in frame.trades]
                assert [t.time for t in venue.published] == [t.time for t in played]
                hidden = set(venue.unasked)
                assert bool(hidden) == (seed % 2 == 1)
                assert venue.public[MARKETS[kind]] == [t for t in venue.published if t not in hidden]

    asyncio.run(run())


def test_a_seed_is_a_script_and_the_first_seeds_have_a_kind_each() -> None:
    def names(script: list[tuple[Any, Fault]]) -> set[str]:
        return {type(fault).__name__ for _, fault in script}

    kinds = kinds_of(Binance)
    scripts = [seeded(seed, 1_000, kinds) for seed in range(100)]
    assert scripts == [seeded(seed, 1_000, kinds) for seed in range(100)]
    assert names(scripts[kinds.index("swapped")]) == {"Heal", "Swap"}
    assert len({str(script) for script in scripts}) == 100
    assert all(100 <= place < 900 for script in scripts for place, _ in script)
