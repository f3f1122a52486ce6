"""A strategy over candles of several timeframes, for tests, and the same of one each."""

from pathlib import Path

from infra.strategies.registry import Strategies, load_strategies

SEVERAL = """
from projections.strategies import BaseStrategy, bollinger, ema, highest, param, sma, wma


class Trend(BaseStrategy):
    near: int = param(3, low=1, high=100)
    far: int = param(2, low=1, high=100)

    average = sma("close", "near")
    trend = sma("close", "far", timeframe="15m")
    bands = bollinger("close", 3, 0.5, timeframe="5m")
    fading = ema("high", "far", timeframe="15m")
    smooth = wma(highest("close", 3), 2, timeframe="5m")

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.close > x.trend and x.average > x.bands.middle:
            return 1.0
        if bar.close < x.trend and x.average < x.bands.middle:
            return -1.0
        return pos


class Talks(Trend):
    @staticmethod
    def signal(bar, x, p, pos):
        return -1.0 if pos > 0.0 else 1.0


class Own(BaseStrategy):
    near: int = param(3, low=1, high=100)
    average = sma("close", "near")

    @staticmethod
    def signal(bar, x, p, pos):
        return pos


class Of5m(BaseStrategy):
    bands = bollinger("close", 3, 0.5)
    smooth = wma(highest("close", 3), 2)

    @staticmethod
    def signal(bar, x, p, pos):
        return pos


class Of15m(BaseStrategy):
    far: int = param(2, low=1, high=100)
    trend = sma("close", "far")
    fading = ema("high", "far")

    @staticmethod
    def signal(bar, x, p, pos):
        return pos
"""


HOURS = """
from projections.strategies import BaseStrategy, ema, highest, param, sma


class Hours(BaseStrategy):
    near: int = param(3, low=1, high=100)
    far: int = param(2, low=1, high=100)

    average = sma("close", "near")
    trend = ema("close", "far", timeframe="15m")
    top = highest("high", 3, timeframe="1h")

    @staticmethod
    def signal(bar, x, p, pos):
        if bar.close > x.trend or bar.close > x.top:
            return 1.0
        if bar.close < x.average:
            return -1.0
        return pos
"""


def several(kernels: Path, folder: Path) -> Strategies:
    """The built-in strategies and those above."""
    file = folder / "several.py"
    file.write_text(SEVERAL)
    return load_strategies(kernels, [file])
