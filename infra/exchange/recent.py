"""How much there was of something in the time before now, counted in steps: that takes little room.

Pure: `now_s` is handed in, of a clock that never goes back."""

from collections import deque

STEPS = 60
MINUTE_S, DAY_S = 60.0, 86_400.0
GROWTH_KNOWN_S = 600.0
"""What came in a shorter time says nothing of a day."""


class Recent:
    """Counts over the last `span_s` seconds, to a sixtieth of them."""

    def __init__(self, span_s: float, now_s: float) -> None:
        self._span_s, self._began_s = span_s, now_s
        self._steps: deque[tuple[int, int]] = deque()
        """By time: a step's number, and how much there was in it."""

    def add(self, count: int, now_s: float) -> None:
        step = self._step(now_s)
        if self._steps and self._steps[-1][0] == step:
            count += self._steps.pop()[1]
        self._steps.append((step, count))
        while self._steps[0][0] <= step - STEPS:
            self._steps.popleft()

    def count(self, now_s: float) -> int:
        """May be asked from another thread."""
        oldest = self._step(now_s) - STEPS
        return sum(count for step, count in list(self._steps) if step > oldest)

    def a_second(self, now_s: float) -> float:
        """The mean, over a shorter time where counting began later; of a second at least."""
        return self.count(now_s) / max(1.0, min(self._span_s, self.known_s(now_s)))

    def known_s(self, now_s: float) -> float:
        """Since when it is counted."""
        return now_s - self._began_s

    def _step(self, now_s: float) -> int:
        return int((now_s - self._began_s) / self._span_s * STEPS)
