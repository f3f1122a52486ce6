"""Frames as they were received, kept beside the journal."""

import asyncio
from pathlib import Path

from infra.exchange.venues.raw import RawFrames
from streams.log import Log
from tests.venues import recorded
from tests.venues.cases import START, at, short
from tests.venues.collected import (
    collecting,
)
from tests.venues.fake import FakeVenue
from tests.venues.trades import Trade


def test_frames_are_kept_as_they_came_and_can_be_played_again(
    kind: type[FakeVenue], log: Log, tmp_path: Path
) -> None:
    trades = short(kind, 60)

    async def test() -> list[Trade]:
        with RawFrames(tmp_path, kind.name) as raw:
            async with kind() as venue, collecting(log, at(venue, START), raw=raw.put) as collected:
                await collected.live()
                venue.publish(trades)
                await collected.has(60)
        (file,) = raw.folder.iterdir()
        async with kind() as again:
            await again.play(recorded.raw_frames(again, file), wait=False)
            return again.published

    assert asyncio.run(test()) == trades
