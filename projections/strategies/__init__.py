"""Strategies: what their authors need is exported here; how one is written stands in `base.py`."""

from projections.strategies.base import Bar, BaseStrategy, Signal
from projections.strategies.blocks import (
    adx,
    atr,
    bollinger,
    cci,
    day_vwap,
    donchian,
    ema,
    highest,
    keltner,
    lowest,
    macd,
    obv,
    roc,
    rsi,
    sma,
    stdev,
    stochastic,
    vwap,
    wma,
    zscore,
)
from projections.strategies.own import block
from projections.strategies.parameters import StrategyDefinitionError, StrategyParameterError, param

BUILT_IN = ("sma_cross", "rsi_reversion", "bollinger_breakout", "macd_cross")

__all__ = [
    "BUILT_IN",
    "Bar",
    "BaseStrategy",
    "Signal",
    "StrategyDefinitionError",
    "StrategyParameterError",
    "adx",
    "atr",
    "block",
    "bollinger",
    "cci",
    "day_vwap",
    "donchian",
    "ema",
    "highest",
    "keltner",
    "lowest",
    "macd",
    "obv",
    "param",
    "roc",
    "rsi",
    "sma",
    "stdev",
    "stochastic",
    "vwap",
    "wma",
    "zscore",
]
