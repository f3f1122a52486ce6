"""Research: what a backtest runs over, the run, and its result for people; what of it is kept in a home."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.research.backtesting import backtest
    from infra.research.signals import calculate_signals_vectorized
    from infra.research.sweeping import backtest_strategy_batch, run_parallel_backtest, sweep

__all__ = [
    "backtest",
    "backtest_strategy_batch",
    "calculate_signals_vectorized",
    "run_parallel_backtest",
    "sweep",
]

_MODULES = {
    "backtest": "backtesting",
    "calculate_signals_vectorized": "signals",
    "backtest_strategy_batch": "sweeping",
    "run_parallel_backtest": "sweeping",
    "sweep": "sweeping",
}


def __getattr__(name: str) -> Any:
    """Loaded when asked for: it brings the compiler, which a reader of columns does without."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"infra.research.{_MODULES[name]}"), name)
