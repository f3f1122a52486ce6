"""Which names a market may have: those that the API can be asked for."""

import re

import pytest

from api.http.services import SYMBOL, VENUE
from infra.exchange.specification import specification

STEPS = {"contract": None, "price_step": "1", "size_step": "1"}


@pytest.mark.parametrize("symbol", ["BTC/USDT", "1000PEPE/USDT:USDT", 'Ä"%25?#/<b>', "A/status", "A.B/..C"])
def test_a_market_that_is_taken_can_be_asked_for(symbol: str) -> None:
    market = specification("a.b-c_1", symbol, **STEPS)
    assert re.search(VENUE, market.venue)
    assert re.search(SYMBOL, market.symbol)


@pytest.mark.parametrize(
    ("venue", "symbol"),
    [
        ("a/b", "BTC/USDT"), ("börse", "BTC/USDT"), ("..", "BTC/USDT"), ("v" * 65, "BTC/USDT"),
        ("sim", "../.."), ("sim", "A/.."), ("sim", "A/.:B"), ("sim", "A/B:.."), ("sim", "A\x1b[2J/B"),
        ("sim", "A\0/B"), ("sim", "A/" + "B" * 99),
    ],
)  # fmt: skip
def test_a_market_that_nobody_could_ask_for_is_refused(venue: str, symbol: str) -> None:
    with pytest.raises(ValueError, match=r"write "):
        specification(venue, symbol, **STEPS)
