"""A strategy with an indicator of every kind, and one with indicators over others."""

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
OVER_BLOCKS = """
from projections.strategies import (
    BaseStrategy, bollinger, day_vwap, ema, highest, lowest, macd, obv, param, roc, rsi, sma, stochastic,
    wma, zscore,
)

class OverBlocks(BaseStrategy):
    n: int = param(14, low=1, high=200)
    m: int = param(5, low=1, high=100)
    strength = rsi("close", "n")
    smooth = sma(strength, "m")
    momentum = ema(macd("close", 3, "n", "m").histogram, "m")
    line = macd("close", 3, "n", "m").line
    bands = bollinger(ema(strength, 3), "m", 2.0)
    lower = bollinger(strength, "m", 2.0).lower
    change = roc(sma(wma("close", 3), 4), "m")
    balance = rsi(obv(7), "n")
    paid = sma(day_vwap(), "m")
    score = zscore(stochastic("n", 3).d, "m")
    channel = highest(lowest("low", 3), "m")

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.score > 0.5 else -1.0 if x.score < -0.5 else pos
"""
