"""With the move, once it leaves its usual range."""

from typing import Any

from projections.strategies import Bar, BaseStrategy, bollinger, param


class BollingerBreakout(BaseStrategy):
    """Long once the close is above the upper band, short once it is below the lower one."""

    n: int = param(20, low=2, high=4999, description="candles of mean and deviation")
    width: float = param(2.0, low=0.01, high=100, description="half width in standard deviations")

    bands = bollinger("close", "n", "width")

    @staticmethod
    def signal(bar: Bar, x: Any, p: Any, pos: float) -> float:
        if bar.close > x.bands.upper:
            return 1.0
        if bar.close < x.bands.lower:
            return -1.0
        return pos
