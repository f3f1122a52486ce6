"""A collector that starts again goes on where the journal is."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

from streams.backends import open_log
from streams.log import Log
from tests.venues.cases import MS, START, at, short
from tests.venues.collected import (
    candles,
    collecting,
    expected,
    gaps,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import (
    Cut,
    Refuse,
)


def test_a_collector_that_starts_again_goes_on_without_a_hole_or_a_repeat(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 180, together=3)

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue)) as collected:
                await collected.live()
                venue.publish(trades[:91])
                await collected.has(91)
            venue.publish(trades[91:130])
            async with collecting(log, venue) as collected:
                await collected.has(130)
                venue.publish(trades[130:])
                await collected.has(180)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert [row.id for row in rows(log) if row.fetched] == [row.id for row in expected(trades[91:130])]
    (gap,) = gaps(log).known
    assert gap.filled and gap.start == trades[90].time * MS - 1
    assert trades[129].time * MS <= gap.end <= trades[130].time * MS
    assert all(candle.revision == 0 and not candle.incomplete for candle in candles(log, strategies).values())


def test_a_collector_that_starts_again_fills_the_holes_that_it_left_open(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 100)
    behind = 56 if kind.numbered else 55  # which may share the moment of what is missing

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue), gap_wait_s=0.0) as collected:
                await collected.live()
                venue.publish(trades[:1])
                await collected.has(1)
                await venue.strike(Refuse(("trades",), None, 503))
                await venue.play(venue.frames(trades[1:]), script=[(49, Cut(away=5))])
                await collected.until(lambda: collected.trades() == 150 - behind)
            venue.rest_faults.clear()
            async with collecting(log, venue) as collected:
                await collected.has(100)

    asyncio.run(test())
    assert without_origin(rows(log)) == expected(trades[:50] + trades[behind:] + trades[50:behind])


def test_a_log_that_is_away_ends_the_collector_and_the_next_one_fills(
    kind: type[FakeVenue], log: Log, tmp_path: Path
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue, START)) as collected:
                await collected.live()
                venue.publish(trades[:30])
                await collected.has(30)
                log.close()
                venue.publish(trades[30:40])
                assert collected.task is not None
                await asyncio.wait({collected.task})
                assert collected.task.exception() is not None
            venue.publish(trades[40:])
            with closing(open_log(f"embedded://{tmp_path}/log", partitions=1)) as again:
                async with collecting(again, venue) as collected:
                    await collected.has(60)
                assert without_origin(rows(again)) == expected(trades) and not open_gaps(again)

    asyncio.run(test())
