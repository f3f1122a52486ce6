"""A bot without equity is halted for good, and what it holds is closed."""

from typing import Any

import pytest

from infra.strategies.registry import Strategies
from projections.fold.commands import code_check
from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from streams import events
from streams.events import (
    BotChanged,
    DeadLetter,
    Equity,
    Fill,
    JournalEvent,
    Market,
    Order,
    OrderClosed,
    Signal,
    Sizing,
)
from tests.journal import START, batch, create, fold, of, records, spot

BTC = spot(fee=0)
INVERSE = spot("BTC/USD", contract="inverse", settle="BTC", size_scale=0, fee=0)
FLIP = {"fast": 1, "slow": 2}
SHORT = [(1, 102, 5), (61, 101, 5), (121, 100, 5), (122, 100, 5)]
"""Leaves a bot that may go short so, at the price of 100."""
LONG = [(1, 100, 5), (61, 101, 5), (121, 102, 5), (122, 102, 5)]
ASKED: dict[str, Any] = {"who": "me", "at": START, "bot_id": 1}


def told(
    strategies: Strategies, market: Market, *inputs: list[Any] | JournalEvent, **bot: Any
) -> list[Derived]:
    code = strategies.latest("sma_cross").code_hash
    made: list[tuple[str, JournalEvent]] = [(market.key, market)]
    made.append((market.key, create(market, params=FLIP, code_hash=code, **bot)))
    for given in inputs:
        made.append((market.key, batch(market, given) if isinstance(given, list) else given))
    return fold(Pipeline(0, strategies), records(made))


def after_bankruptcy(derived: list[Derived]) -> list[BotChanged]:
    changes = of(derived, BotChanged)
    codes = [change.code for change in changes]
    return changes[codes.index("bankrupt") :]


def test_a_short_that_doubles_is_bankrupt_at_the_mark_and_closed_at_the_next_trade(
    strategies: Strategies,
) -> None:
    rows = [(181, 202, 5), (182, 90, 5, "backfill"), (183, 210, 5), (184, 90, 5)]
    derived = told(strategies, BTC, [*SHORT, (150, 202, 5), *rows], short=True)
    (change,) = after_bankruptcy(derived)
    assert (change.status, change.who, change.timestamp) == ("halted", "engine", START + 180 * 10**9)
    assert change.message == "equity of -98.91800000 USDT at a price of 202.00"
    assert [o.reason for o in of(derived, Order)] == ["signal", "signal", "bankrupt"]
    assert [(o.status, o.code) for o in of(derived, OrderClosed)] == [("cancelled", "bankrupt")]
    assert [(f.price, f.position) for f in of(derived, Fill)][1:] == [(21_000, 0)]


def test_an_inverse_long_below_half_its_entry_is_bankrupt_also_where_it_may_not_go_short(
    strategies: Strategies,
) -> None:
    derived = told(strategies, INVERSE, [*LONG, (150, 50, 5), (181, 50, 5), (182, 51, 5)], cash=1)
    (change,) = after_bankruptcy(derived)
    assert change.message.startswith("equity of -0.0")
    assert of(derived, Equity)[-1].equity[0] < 0
    assert [(f.price, f.position) for f in of(derived, Fill)][1:] == [(5_100, 0)]


def test_a_fill_that_loses_all_makes_bankrupt_between_two_marks(strategies: Strategies) -> None:
    flat = events.ExternalSignal(request="x", **ASKED, target=0.0)
    derived = told(strategies, BTC, SHORT, flat, [(123, 250, 5), (124, 250, 5)], short=True)
    (change,) = after_bankruptcy(derived)
    assert change.timestamp == START + 123 * 10**9
    assert change.message == "equity of -4851.35000000 USDT at a price of 250.00"
    assert of(derived, Fill)[-1].position == 0
    assert len(of(derived, Order)) == 2


def test_a_fill_that_leaves_a_position_is_followed_by_its_close_in_the_same_record(
    strategies: Strategies,
) -> None:
    """The fill closes half; the other half is worth less than nothing, and goes at the next trade."""
    half = events.ExternalSignal(request="x", **ASKED, target=-0.5)
    rows = [(123, 250, 5), (124, 260, 5), (125, 90, 5)]
    bot = {"short": True, "sizing": Sizing("amount", 99, 0)}
    whole = told(strategies, BTC, SHORT, half, rows, **bot)
    apart = told(strategies, BTC, SHORT, half, *([row] for row in rows), **bot)
    for derived in (whole, apart):
        assert [(f.price, f.position) for f in of(derived, Fill)][1:] == [(25_000, -49_500), (26_000, 0)]
        assert [o.reason for o in of(derived, Order)] == ["signal", "signal", "bankrupt"]


@pytest.mark.parametrize("code_hash", [None, "its own"])
def test_a_bankrupt_bot_starts_no_more_and_says_why(strategies: Strategies, code_hash: str | None) -> None:
    own = strategies.latest("sma_cross").code_hash if code_hash else None
    check = code_check("sma_cross", own) if own else ""
    gone = [*SHORT, (150, 202, 5), (181, 202, 5), (182, 202, 5)]
    asked = [
        events.StartBot(request="start", **ASKED, code_hash=own, code_check=check),
        events.HaltBot(request="halt", **ASKED, reason="fire", code="halted"),
        events.ReconfigureBot(request="params", **ASKED, params={"fast": 2, "slow": 3}),
        events.StartBot(request="again", **ASKED),
        events.HaltBot(request="lie", **ASKED, reason="none", code="bankrupt"),
    ]
    derived = told(strategies, BTC, gone, *asked, short=True)
    assert {(c.status, c.code) for c in after_bankruptcy(derived)} == {("halted", "bankrupt")}
    start, again, lie = [letter.reason for letter in of(derived, DeadLetter)]
    assert (
        start
        == again
        == (
            "bot 1 is bankrupt: equity of -98.91800000 USDT at a price of 202.00; it starts no more,"
            " create another"
        )
    )
    assert "no command says so" in lie


def test_a_bankrupt_bot_refuses_its_signals_as_what_it_is(strategies: Strategies) -> None:
    gone = [*SHORT, (150, 202, 5), (181, 202, 5), (182, 202, 5)]
    derived = told(strategies, BTC, gone, [(241, 100, 5), (301, 90, 5)], short=True)
    assert [(s.target, s.decision, s.code) for s in of(derived, Signal)][2:3] == [(-1, "refused", "bankrupt")]


def test_a_stopped_bot_that_loses_all_is_bankrupt_too(strategies: Strategies) -> None:
    stop = events.StopBot(request="stop", **ASKED)
    derived = told(strategies, BTC, SHORT, stop, [(150, 300, 5), (181, 300, 5), (182, 300, 5)], short=True)
    assert [c.code for c in of(derived, BotChanged)] == ["created", "stopped", "bankrupt"]
    assert of(derived, Fill)[-1].position == 0
