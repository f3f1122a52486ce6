"""Research: what a backtest runs over, the run, and its result for people; what of it is kept in a home."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.research.backtesting import backtest

__all__ = ["backtest"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: it brings the compiler, which a reader of columns does without."""
    if name != "backtest":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infra.research import backtesting  # noqa: PLC0415 - as said

    return backtesting.backtest
