"""Strategies with an indicator of every kind, with indicators over others, and with its author's own ones."""

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
        return 1.0 if x.score > 0.5 else -1.0 if x.score < -0.5 else pos
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
OWN_BLOCKS = """
import math

from projections.strategies import BaseStrategy, block, param, rsi, sma

@block(reads="n")
def share_below(values, i, seen, column, n: int):
    # a rank: it reads all of its window, in any order
    if seen < n:
        return math.nan
    below = 0
    for k in range(i, i - n, -1):
        if values[k, column] < values[i, column]:
            below += 1
    return below / n

@block(reads=2, needs="50 * n", outputs=("fast", "slow"))
def averages(values, i, seen, column, n: int, factor, fast=0.0, slow=0.0):
    if seen < 2:
        return math.nan, math.nan, values[i, column], values[i, column]
    fast += (values[i, column] - fast) / n
    slow += (values[i - 1, column] - slow) / (factor * n)
    return fast, slow, fast, slow

@block(reads=1, needs=1441)
def high_of_day(values, i, seen, end, today=0.0, whole=0.0, highest=0.0):
    day = float((end - 1) // 86_400_000_000_000)
    if seen > 1 and day != today:
        whole, highest = 1.0, 0.0
    highest = values[i, 1] if values[i, 1] > highest else highest
    return (highest if whole > 0.0 else math.nan), day, whole, highest

class OwnBlocks(BaseStrategy):
    n: int = param(14, low=2, high=200)
    factor: float = param(1.5, low=1.0, high=2.0)
    rank = share_below("close", "n")
    over = share_below(rsi("close", "n"), 5)
    under = sma(share_below("close", n="n"), 3)
    pair = averages("close", "n", "factor")
    slow = averages(sma("close", 3), 4, 2.0).slow
    top = high_of_day()

    @staticmethod
    def signal(bar, x, p, pos):
        return 1.0 if x.pair.fast > x.pair.slow else -1.0 if x.rank < 0.5 else pos
"""
