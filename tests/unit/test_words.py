"""Each code that a signal or an order ends with is reached, and is the true reason."""

from typing import Any

import pytest

from infra.strategies.registry import Strategies
from projections.fold.decide import WORDS
from projections.fold.pipeline import Pipeline
from streams import events
from streams.events import JournalEvent, Market, OrderClosed, Signal, Sizing
from tests.journal import START, batch, create, fold, of, records, spot

BTC = spot()
FLIP = {"fast": 1, "slow": 2}
UP = [(1, 100, 5), (61, 101, 5), (121, 102, 5)]
"""The strategy asks for 1 at 102."""
LONG = [*UP, (122, 102, 5)]
DOWN = [(181, 90, 5), (241, 80, 5)]
"""The strategy asks for −1 at 90."""
SHORT = [(1, 102, 5), (61, 101, 5), (121, 100, 5), (122, 100, 5)]
ASKED: dict[str, Any] = {"who": "me", "at": START, "bot_id": 1}
STOP = events.StopBot(request="stop", **ASKED)
HALT = events.HaltBot(request="halt", **ASKED, reason="fire", code="halted")
DEAF = events.Feed(market=BTC.key, source="tester", state="stale", since=START)
SLOWER = events.ReconfigureBot(request="params", **ASKED, params={"fast": 8, "slow": 9})


def signal(target: float) -> events.ExternalSignal:
    return events.ExternalSignal(request=f"to {target}", **ASKED, target=target)


Reached = tuple[list[list[Any] | JournalEvent], dict[str, Any]]
"""Inputs, and what the bot and its market have that others have not."""
SIGNALS: dict[str, Reached] = {
    "ok": ([LONG], {}),
    "in_position": ([UP, signal(0)], {}),
    "closed_only": ([LONG, DOWN], {}),
    "bot_stopped": ([STOP, UP], {}),
    "bot_halted": ([HALT, UP], {}),
    "bankrupt": ([SHORT, [(123, 210, 5), (180,)], signal(-0.5)], {"short": True}),
    "stale_data": ([UP[:2], DEAF, UP[2:]], {}),
    "short_not_allowed": ([SHORT], {}),
    "insufficient_cash": ([UP], {"sizing": Sizing("cash", 10_001, 0)}),
    "too_small": ([UP], {"sizing": Sizing("amount", 4, 0), "market": spot(min_size=4_001)}),
    "overflow": ([UP], {"sizing": Sizing("amount", 2**62, 0)}),
}
ENDS: dict[str, Reached] = {
    "bot_stopped": ([UP, STOP], {}),
    "bot_halted": ([UP, HALT], {}),
    "bankrupt": ([SHORT, [(150, 210, 5), (181, 210, 5)]], {"short": True}),
    "reconfigured": ([UP, SLOWER], {}),
    "superseded": ([UP, signal(0.5)], {}),
    "insufficient_cash": (
        [UP, [(122, 20_000, 5)]],
        {"sizing": Sizing("amount", 1, 0), "market": spot(size_step=1_000)},
    ),
    "stale_data": ([UP, DEAF, [(122, 102, 5)]], {}),
    "cut_to_cash": ([UP, [(122, 103, 5)]], {}),
    "overflow": (
        [SHORT, signal(0), [(123, 10**11, 5)]],
        {"sizing": Sizing("amount", 9, 0), "short": True},
    ),
}


def told(strategies: Strategies, reached: Reached) -> list[Any]:
    inputs, special = reached
    market: Market = special.get("market", BTC)
    bot = {name: value for name, value in special.items() if name != "market"}
    code = strategies.latest("sma_cross").code_hash
    made: list[tuple[str, JournalEvent]] = [(market.key, market)]
    made.append((market.key, create(market, params=FLIP, code_hash=code, **bot)))
    for given in inputs:
        made.append((market.key, batch(market, given) if isinstance(given, list) else given))
    return fold(Pipeline(0, strategies), records(made))


@pytest.mark.parametrize("code", SIGNALS)
def test_a_signal_is_decided_by(strategies: Strategies, code: str) -> None:
    assert of(told(strategies, SIGNALS[code]), Signal)[-1].code == code


@pytest.mark.parametrize("code", ENDS)
def test_an_order_ends_by(strategies: Strategies, code: str) -> None:
    assert code in [closed.code for closed in of(told(strategies, ENDS[code]), OrderClosed)]


def test_every_word_is_reached() -> None:
    assert SIGNALS.keys() | ENDS.keys() == WORDS.keys()
