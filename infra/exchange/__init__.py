"""Market data on its way into the journal: providers, the collector, the simulated exchange,
files."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.exchange.collector import DataCollector
    from infra.exchange.provider import DataProvider

__all__ = ["DataCollector", "DataProvider"]
_HOMES = {"DataCollector": "infra.exchange.collector", "DataProvider": "infra.exchange.provider"}


def __getattr__(name: str) -> Any:
    """Loaded when asked for: the collector brings a compiler, which a reader of files does without."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
