"""A strategy with an indicator of every kind."""

ALL_BLOCKS = """
from projections.strategies import BaseStrategy, atr, bollinger, ema, macd, param, rsi, sma

class AllBlocks(BaseStrategy):
    n: int = param(14, low=1, high=200)
    slow: int = param(30, low=1, high=400)
    width: float = param(2.0)
    average = sma("close", "n")
    smooth = ema("close", "n")
    strength = rsi("close", "n")
    range = atr("n")
    bands = bollinger("close", "n", "width")
    momentum = macd("close", "n", "slow", 9)

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.smooth > x.bands.middle else pos
"""
