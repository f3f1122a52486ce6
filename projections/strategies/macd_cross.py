"""Momentum that turns."""

from typing import Any

from projections.strategies import Bar, BaseStrategy, macd, param


class MacdCross(BaseStrategy):
    """Long while the MACD line is above its signal line, short while it is below."""

    fast: int = param(12, low=1, high=4999, description="candles of the fast average")
    slow: int = param(26, low=2, high=4999, description="candles of the slow average")
    signal_: int = param(9, low=1, high=4999, description="candles of the signal line")

    momentum = macd("close", "fast", "slow", "signal")

    def check(self) -> None:
        if self.fast >= self.slow:
            raise ValueError("fast must be below slow")

    @staticmethod
    def signal(bar: Bar, x: Any, p: Any, pos: float) -> float:
        if x.momentum.line > x.momentum.signal:
            return 1.0
        if x.momentum.line < x.momentum.signal:
            return -1.0
        return pos
