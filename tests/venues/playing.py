"""A play of a fake venue: frames in their order, each in its time, and the faults of a script among them."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.venues.trades import Frame

if TYPE_CHECKING:
    from tests.venues.fake import FakeVenue
    from tests.venues.faults import Fault

FRAMES_A_WRITE = 50


class At(NamedTuple):
    """A place in a script: so long after the first frame, in the venue's time."""

    ms: int


Script = Sequence[tuple[int | At, "Fault"]]
"""Faults, each with its place: how many trades of the play are before it, or `At` which time it strikes."""


@dataclass
class Play:
    venue: "FakeVenue"
    speed: float
    wait: bool
    rest_first: bool

    async def run(self, frames: Iterable[Frame], script: Script) -> None:
        venue, count, start = self.venue, 0, None
        counted = deque(sorted(((n, fault) for n, fault in script if isinstance(n, int)), key=_place))
        timed = deque(sorted(((at.ms, fault) for at, fault in script if isinstance(at, At)), key=_place))
        for number, frame in enumerate(frames):
            if start is None:
                start = frame.time
                venue.clock.go(self.speed, start)
            while timed and start + timed[0][0] <= frame.time:
                await self._reach(start + timed[0][0])
                await venue.strike(timed.popleft()[1])
            while counted and counted[0][0] < count + len(frame.trades):
                await venue.strike(counted.popleft()[1])
            await self._turn(frame, number)
            venue.emit(frame)
            count += len(frame.trades)
        for _, fault in (*timed, *counted):
            await venue.strike(fault)
        venue.release_held(last=True)
        venue.flush()
        venue.clock.go(1.0)

    async def _turn(self, frame: Frame, number: int) -> None:
        """Waits until it is this frame's turn."""
        venue, pending = self.venue, self.venue.pending
        if pending.away > 0 and not self.speed:
            return
        if self.wait and pending.away <= 0 and not venue.is_watched(frame.market):
            await self._stand(frame.market)
        if pending.burst <= 0 and venue.clock.seconds_to(frame.time) > 0:
            await self._reach(frame.time)
        elif number % FRAMES_A_WRITE == 0:
            venue.flush()
            await asyncio.sleep(0)
            for connection in list(venue.connections):
                await connection.drained()

    async def _stand(self, market: str) -> None:
        venue = self.venue
        venue.flush()
        venue.clock.go(0.0)
        await venue.watched(market)
        for each in venue.public if self.rest_first else ():
            if venue.is_watched(each):
                await venue.asked_since_watched(each)
        venue.clock.go(self.speed)

    async def _reach(self, at: int) -> None:
        """Until the venue's time is `at`."""
        self.venue.flush()
        while (seconds := self.venue.clock.seconds_to(at)) > 0:
            await asyncio.sleep(seconds)


def _place(item: "tuple[int, Fault]") -> int:
    return item[0]
