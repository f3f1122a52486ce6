"""Frames as they were received, kept beside the journal."""

import asyncio
from pathlib import Path

import pytest

from infra.exchange.status import RawStatus
from infra.exchange.venues.raw import RawFrames
from streams.log import Log
from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.cases import MS, START, collecting_live, short
from tests.venues.collected import expected, gaps, rows
from tests.venues.fake import FakeVenue
from tests.venues.trades import Trade


def test_frames_are_kept_as_they_came_and_can_be_played_again(
    kind: type[FakeVenue], log: Log, tmp_path: Path
) -> None:
    trades = short(kind, 60)

    async def test() -> list[Trade]:
        with RawFrames(tmp_path, kind.name) as raw:
            async with collecting_live(kind, log, raw=raw) as (venue, collected):
                venue.publish(trades)
                await collected.has(60)
        (file,) = raw.folder.iterdir()
        async with kind() as again:
            await again.play(recorded.raw_frames(again, file), wait=False)
            return again.published

    assert asyncio.run(test()) == trades


def test_on_a_full_disk_raw_frames_end_with_a_warning_and_trades_go_on(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trades = short(Binance)
    folder = tmp_path / "raw" / "binance"
    folder.mkdir(parents=True)
    (folder / "2023-11-14.gz").symlink_to("/dev/full")

    async def test() -> RawStatus | None:
        with RawFrames(tmp_path, "binance", wall_ns=lambda: START * MS) as raw:
            async with collecting_live(Binance, log, raw=raw) as (venue, collected):
                assert collected.provider.status().raw == RawStatus(0)
                venue.publish(trades[:10])
                await collected.until(lambda: raw.failed)
                venue.publish(trades[10:])
                await collected.has(60)
                return collected.provider.status().raw

    told = asyncio.run(test())
    assert told is not None and told.dropped >= 50
    assert told.failed == "[Errno 28] No space left on device"
    assert rows(log) == expected(trades) and not gaps(log).known
    (warning,) = [record.message for record in caplog.records if "raw frames" in record.message]
    assert warning.startswith("binance: no raw frames are written any more: [Errno 28] No space left")
