"""Strategies: what their authors need is exported here; how one is written stands in `base.py`."""

from projections.strategies.base import Bar, BaseStrategy, Signal
from projections.strategies.blocks import atr, bollinger, ema, macd, rsi, sma
from projections.strategies.parameters import StrategyDefinitionError, StrategyParameterError, param

BUILT_IN = ("sma_cross", "rsi_reversion", "bollinger_breakout", "macd_cross")

__all__ = [
    "BUILT_IN",
    "Bar",
    "BaseStrategy",
    "Signal",
    "StrategyDefinitionError",
    "StrategyParameterError",
    "atr",
    "bollinger",
    "ema",
    "macd",
    "param",
    "rsi",
    "sma",
]
