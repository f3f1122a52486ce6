"""Whether each of the 19,904 recorded trades of Binance, played at a pace, is in the journal to the digit and
in order; as they came, or in another venue's frames.

    python -m tests.venues.paced               at their own pace: 11 minutes
    python -m tests.venues.paced okx           the same in the frames of OKX
    python -m tests.venues.paced bybit 100     at 100 times their pace

Exit code 1 where one is not.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from streams.backends import open_log
from streams.log import Log
from tests.conftest import SHARED_DATA
from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.collected import collecting, expected, rows, without_origin
from tests.venues.fake import FakeVenue
from tests.venues.serve import VENUES


async def played(log: Log, shared_data: Path, pace: float, kind: type[FakeVenue] = Binance) -> int:
    """Returns at how many of the trades the journal is right."""
    trades = recorded.on_market(recorded.binance_trades(shared_data), kind.pair())
    listing = recorded.binance_listing(shared_data) if kind is Binance else ()
    async with kind(listing) as venue:
        frames = recorded.binance_frames(venue, shared_data) if kind is Binance else venue.frames(trades)
        trades = trades if kind.numbered else [trade for frame in frames for trade in frame.trades]
        venue.stand_at(frames[0].time)
        async with collecting(log, venue) as collected:
            await collected.live()
            await venue.play(frames, speed=pace)
            await collected.has(len(trades))
    found = without_origin(rows(log))
    same = sum(one == other for one, other in zip(found, expected(trades), strict=False))
    return same - abs(len(found) - len(trades))


def main(venue: str, pace: float) -> str:
    with tempfile.TemporaryDirectory() as folder:
        log = open_log(f"embedded://{folder}/log", partitions=1)
        right = asyncio.run(played(log, SHARED_DATA, pace, VENUES[venue]))
        log.close()
    wanted = len(recorded.binance_trades(SHARED_DATA))
    print(f"{venue}: {right:,} of {wanted:,} trades are right")
    return "" if right == wanted else f"{wanted - right:,} are not"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("venue", nargs="?", choices=VENUES, default="binance")
    parser.add_argument("pace", nargs="?", type=float, default=1.0)
    given = parser.parse_args()
    sys.exit(main(given.venue, given.pace) or 0)
