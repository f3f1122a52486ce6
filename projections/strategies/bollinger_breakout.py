"""With the move, once it leaves its usual range."""

from projections.strategies import BaseStrategy, bollinger, param


class BollingerBreakout(BaseStrategy):
    """Long when the close rises above the upper band, short when it falls below the lower one, until the other."""

    n: int = param(20, low=2, high=4999, description="candles of mean and deviation")
    width: float = param(2.0, low=0.01, high=100, description="half width in standard deviations")

    bands = bollinger("close", "n", "width")

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.close > x.bands.upper:
            return 1.0
        if bar.close < x.bands.lower:
            return -1.0
        return pos
