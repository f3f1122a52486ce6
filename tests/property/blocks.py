"""A strategy with an indicator of every kind."""

ALL_BLOCKS = """
from projections.strategies import (
    BaseStrategy, adx, atr, bollinger, cci, day_vwap, donchian, ema, highest, keltner, lowest, macd, obv,
    param, roc, rsi, sma, stdev, stochastic, vwap, wma, zscore,
)

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
    weighted = wma("close", "n")
    change = roc("close", "n")
    least = lowest("low", "n")
    greatest = highest("high", "n")
    deviation = stdev("close", "n")
    score = zscore("close", "n")
    trend = adx("n")
    place = stochastic("n", 3)
    channel = donchian("n")
    envelope = keltner("n", "width")
    commodity = cci("n")
    paid = vwap("n")
    paid_today = day_vwap()
    balance = obv("n")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.smooth > x.bands.middle else pos
"""
