"""The venue's own time."""

import time


class VenueClock:
    """Real time, until something is played; then the time of what is played, at its speed."""

    def __init__(self) -> None:
        self._base, self._since, self._speed = time.time_ns() // 1_000_000, time.monotonic(), 1.0

    def now(self) -> int:
        """In ms since 1970."""
        return self._base + int((time.monotonic() - self._since) * 1000 * self._speed)

    def go(self, speed: float, at: int | None = None) -> None:
        """From here on time passes `speed` times as fast as the real one (0: it stands)."""
        self._base = self.now() if at is None else at
        self._since, self._speed = time.monotonic(), speed

    def reach(self, at: int) -> None:
        if at > self.now():
            self.go(self._speed, at)

    def seconds_to(self, at: int) -> float:
        """Real seconds from now to that time of the venue; none where time stands."""
        return (at - self.now()) / 1000 / self._speed if self._speed else 0.0
