"""Strategies and their parameters as JSON Schema."""

from typing import Annotated, Any

from fastapi import APIRouter, Path

from api.http import models
from api.http.services import Served
from projections.strategies.base import output_names
from projections.strategies.blocks import (
    BOLLINGER,
    DAY_VWAP,
    DONCHIAN,
    EMA,
    HIGHEST,
    KELTNER,
    LOWEST,
    SMA,
    VWAP,
    WMA,
    Indicator,
)
from projections.strategies.code import StrategyCode
from projections.strategies.parameters import Parameter

router = APIRouter(prefix="/api", tags=["strategies"])

_OF_PRICES = frozenset({SMA, EMA, WMA, LOWEST, HIGHEST, BOLLINGER, DONCHIAN, KELTNER, VWAP, DAY_VWAP})
"""Blocks whose numbers are prices where their column is one."""
_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


@router.get("/strategies", response_model=models.Strategies)
def strategies(services: Served) -> dict[str, Any]:
    """Every strategy that a bot can be given, by name."""
    known = services.strategies
    # without the folder: where files lie is nobody's business who only reads
    broken = [f"{error.file.rpartition('/')[2]}:{error.line}: {error.reason}" for error in known.broken]
    return {"items": [_shown(code) for code in known], "broken": broken}


@router.get("/strategies/{name}", response_model=models.Strategy)
def strategy(
    services: Served, name: Annotated[str, Path(pattern=r"^\w{1,100}$", examples=["sma_cross"])]
) -> dict[str, Any]:
    """One strategy."""
    return _shown(services.strategies.latest(name))


def _shown(code: StrategyCode) -> dict[str, Any]:
    return {
        "strategy": code.name,
        "code_hash": code.code_hash,
        "values": list(code.value_names),
        "indicators": _indicators(code),
        "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {p.name: _property(p) for p in code.parameters},
            "additionalProperties": False,
        },
    }


def _indicators(code: StrategyCode) -> list[dict[str, Any]]:
    declared = code.strategy.spec.indicators
    if not declared:  # a strategy on frames names its numbers, and says no more
        return [{"name": name, "values": [name], "pane": None} for name in code.value_names]
    return [
        {"name": name, "values": list(output_names(name, indicator)), "pane": _pane(indicator)}
        for name, indicator in declared.items()
    ]


def _pane(indicator: Indicator) -> str:
    of_prices = indicator.inner is None and "volume" not in indicator.arguments
    over = of_prices or (indicator.inner is not None and _pane(indicator.inner) == "price")
    return "price" if over and indicator.block in _OF_PRICES else "own"


def _property(parameter: Parameter) -> dict[str, Any]:
    shown = {
        "type": _TYPES[parameter.type],
        "default": parameter.default,
        "minimum": parameter.low,
        "maximum": parameter.high,
        "enum": list(parameter.choices) or None,
        "description": parameter.description or None,
    }
    return {name: value for name, value in shown.items() if value is not None}
