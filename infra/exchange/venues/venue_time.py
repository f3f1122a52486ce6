"""What time it is at a venue, reckoned by a clock here that nobody sets."""

import time
from collections.abc import Awaitable, Callable

TRIES = 5
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps."""


def steady_ns() -> int:
    """Since some moment, in ns: it passes as time does, however the time of day is set meanwhile."""
    return time.clock_gettime_ns(_CLOCK)


class VenueTime:
    """`steady_ns` is a clock that nobody sets, `wall_ns` the time of day."""

    def __init__(self, steady_ns: Callable[[], int], wall_ns: Callable[[], int]) -> None:
        self._steady, self._wall = steady_ns, wall_ns
        self.ahead: int | None = None
        """How far the steady clock is ahead of the venue's, ns; None before that was measured."""

    @property
    def now(self) -> int | None:
        """In ns; None before it was measured."""
        return None if self.ahead is None else self._steady() - self.ahead

    @property
    def skew(self) -> int | None:
        """How far the time of day here is ahead of the venue's, ns; None before that was measured."""
        now = self.now
        return None if now is None else self._wall() - now

    async def measure(self, told_ms: Callable[[], Awaitable[int]]) -> None:
        """By the quickest of some answers. Raises what `told_ms` raises, which asks the venue."""
        self.ahead = min([await self._asked(told_ms) for _ in range(TRIES)])[1]

    async def _asked(self, told_ms: Callable[[], Awaitable[int]]) -> tuple[int, int]:
        """Round trip, and how far the steady clock is ahead, ns."""
        sent = self._steady()
        told = await told_ms() * 1_000_000
        came = self._steady()
        return came - sent, (sent + came) // 2 - told
