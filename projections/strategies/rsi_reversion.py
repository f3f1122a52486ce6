"""Against the move, once it went far."""

from typing import Any

from projections.strategies import Bar, BaseStrategy, param, rsi


class RsiReversion(BaseStrategy):
    """Long once the relative strength index falls below `low`, short once it rises above `high`."""

    n: int = param(14, low=1, high=4999, description="candles of the index")
    low: float = param(30.0, low=0, high=100, description="below it the market counts as oversold")
    high: float = param(70.0, low=0, high=100, description="above it the market counts as overbought")

    strength = rsi("close", "n")

    def check(self) -> None:
        if self.low >= self.high:
            raise ValueError("low must be below high")

    @staticmethod
    def signal(bar: Bar, x: Any, p: Any, pos: float) -> float:
        if x.strength < p.low:
            return 1.0
        if x.strength > p.high:
            return -1.0
        return pos
