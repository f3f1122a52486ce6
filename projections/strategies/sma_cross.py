"""Two moving averages that cross."""

from typing import Any

from projections.strategies import Bar, BaseStrategy, param, sma


class SmaCross(BaseStrategy):
    """Long while the fast average is above the slow one, short while it is below."""

    fast: int = param(20, low=1, high=4999, description="candles of the fast average")
    slow: int = param(100, low=2, high=4999, description="candles of the slow average")

    fast_average = sma("close", "fast")
    slow_average = sma("close", "slow")

    def check(self) -> None:
        if self.fast >= self.slow:
            raise ValueError("fast must be below slow")

    @staticmethod
    def signal(bar: Bar, x: Any, p: Any, pos: float) -> float:
        if x.fast_average > x.slow_average:
            return 1.0
        if x.fast_average < x.slow_average:
            return -1.0
        return pos
