"""Every route of the API, with something in the place of its parameters, and the form of its errors."""

import re
from collections.abc import Mapping
from typing import Any

import httpx

from api.http.app import ROUTERS

BODY = {"strategy": "sma_cross", "venue": "test", "symbol": "A/USDT", "timeframe": "1m", "cash": "1"}
FILLED = {"bot_id": "1", "venue": "test", "symbol": "A/USDT", "name": "sma_cross", "stream": "journal"}


def filled(path: str, values: Mapping[str, str] = FILLED) -> str:
    """The path of a route with values for its parameters."""
    return re.sub(r"\{(\w+)(:path)?\}", lambda m: values[m[1]], path)


def routes(*, trade: bool = False) -> list[tuple[str, str]]:
    """(method, path) of every route, or of those that command."""
    found = []
    for router in ROUTERS:
        for route in router.routes:
            path = filled(route.path)  # type: ignore[attr-defined] - all are API routes
            commands = "commands" in getattr(route, "tags", ())
            found += [(method, path) for method in route.methods if commands or not trade]  # type: ignore[attr-defined] - as above
    return sorted(set(found))


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"code", "message", "hint"}
    assert all(isinstance(words, str) and words for words in told.values())
    assert told["code"] == code
    return told
