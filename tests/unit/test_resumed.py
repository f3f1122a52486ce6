"""A target that is not what a bot holds is a signal again: after a start, a reconfiguration, a halt."""

import pytest

from projections.fold.pipeline import Pipeline
from streams import events
from streams.events import Fill, JournalEvent, Order, Signal, Sizing
from tests.journal import START, batch, create, fold, of, records, spot

BTC = spot()
FLIP = {"fast": 1, "slow": 2}
"""sma_cross that follows the last close: up → 1, down → −1."""
LONG = [(1, 100, 5), (61, 101, 5), (121, 102, 5), (122, 102, 5)]
"""Leaves the bot long, at the price of 102."""
TURNED = [(181, 90, 5), (182, 90, 5), (241, 80, 5), (242, 80, 5)]
"""The strategy turns at the second minute's end."""
FALLING = [(301, 70, 5), (302, 70, 5), (361, 60, 5), (362, 60, 5)]
ASKED = {"request": "", "who": "me", "at": START}
START_IT = events.StartBot(**{**ASKED, "request": "start"}, bot_id=1)
STOP_IT = events.StopBot(**{**ASKED, "request": "stop"}, bot_id=1)
FLATTEN_IT = events.StopBot(**{**ASKED, "request": "flatten"}, bot_id=1, flatten=True)
HALT_IT = events.HaltBot(**{**ASKED, "request": "halt"}, bot_id=1, reason="fire", code="halted")


def told(strategies, *inputs: list | JournalEvent, **bot) -> list:
    """What follows from rows and commands, for a bot that follows the last close."""
    code = strategies.latest("sma_cross").code_hash
    made = [(BTC.key, BTC), (BTC.key, create(BTC, params=FLIP, code_hash=code, **bot))]
    made += [(BTC.key, batch(BTC, given) if isinstance(given, list) else given) for given in inputs]
    return fold(Pipeline(0, strategies), records(made))


def signals(derived: list) -> list[tuple]:
    return [(s.origin, s.previous, s.target, s.code) for s in of(derived, Signal)]


@pytest.mark.parametrize("end", [STOP_IT, HALT_IT])
def test_a_bot_started_against_its_signal_closes_at_the_next_candle(strategies, end) -> None:
    derived = told(strategies, LONG, end, TURNED, START_IT, FALLING)
    refused = "bot_stopped" if end is STOP_IT else "bot_halted"
    assert signals(derived) == [
        ("strategy", 0, 1, "ok"),
        ("strategy", 1, -1, refused),
        ("resumed", 1, -1, "closed_only"),
    ]
    resumed = of(derived, Signal)[-1]
    assert list(resumed.values) == ["fast_average", "slow_average"]
    assert (resumed.candle is not None, resumed.timestamp) == (True, START + 300 * 10**9)
    assert [(f.price, f.position) for f in of(derived, Fill)][1:] == [(7000, 0)]


def test_a_bot_that_holds_what_its_strategy_asks_for_gives_no_signal_again(strategies) -> None:
    derived = told(strategies, LONG, STOP_IT, START_IT, [(181, 103, 5), (241, 104, 5), (301, 105, 5)])
    assert signals(derived) == [("strategy", 0, 1, "ok")]


def test_a_start_of_a_running_bot_repeats_no_signal(strategies) -> None:
    derived = told(strategies, LONG, TURNED, START_IT, FALLING)
    assert signals(derived) == [("strategy", 0, 1, "ok"), ("strategy", 1, -1, "closed_only")]


def test_an_order_cancelled_by_a_stop_is_asked_for_again(strategies) -> None:
    derived = told(strategies, LONG[:3], STOP_IT, START_IT, [(181, 103, 5), (182, 104, 5)])
    assert signals(derived) == [("strategy", 0, 1, "ok"), ("resumed", 0, 1, "ok")]
    assert [f.price for f in of(derived, Fill)] == [10400]


def test_a_bot_flattened_and_started_at_once_asks_again_when_it_holds_nothing(strategies) -> None:
    quiet = [(180,), (181, 103, 5), (241, 104, 5), (242, 105, 5)]
    derived = told(strategies, LONG, FLATTEN_IT, START_IT, quiet)
    assert signals(derived) == [("strategy", 0, 1, "ok"), ("resumed", 0, 1, "ok")]
    assert [o.reason for o in of(derived, Order)] == ["signal", "flatten", "signal"]
    assert [f.price for f in of(derived, Fill)] == [10200, 10300, 10500]


def test_a_share_that_changed_while_a_bot_was_stopped_is_a_signal_again(strategies) -> None:
    half = events.ExternalSignal(**{**ASKED, "request": "half"}, bot_id=1, target=0.5)
    bot = {"sizing": Sizing("amount", 2, 0)}
    derived = told(strategies, LONG, STOP_IT, half, START_IT, [(181, 103, 5), (241, 104, 5)], **bot)
    # the strategy says 1 at the next candle, which is what is held: a change of its target, and no order
    assert signals(derived)[1:] == [("external", 1, 0.5, "bot_stopped"), ("strategy", 0.5, 1, "in_position")]


def test_a_reconfigured_bot_goes_on_from_the_share_that_it_holds(strategies) -> None:
    half = events.ExternalSignal(**{**ASKED, "request": "half"}, bot_id=1, target=0.5)
    slow = events.ReconfigureBot(**{**ASKED, "request": "slow"}, bot_id=1, params={"fast": 8, "slow": 9})
    rows = [(123, 102, 5), (181, 103, 5), (241, 104, 5), (301, 105, 5)]
    derived = told(strategies, LONG, half, [(122.5, 102, 5)], slow, rows, sizing=Sizing("amount", 2, 0))
    assert [f.position for f in of(derived, Fill)] == [2_000, 1_000]
    assert signals(derived)[2:] == [], "it holds a half, which is where its new indicators begin"


def test_a_restart_between_start_and_candle_forgets_no_resumption(strategies) -> None:
    code = strategies.latest("sma_cross").code_hash
    made = [(BTC.key, BTC), (BTC.key, create(BTC, params=FLIP, code_hash=code)), (BTC.key, batch(BTC, LONG))]
    made += [(BTC.key, STOP_IT), (BTC.key, batch(BTC, TURNED)), (BTC.key, START_IT)]
    journal = records([*made, (BTC.key, batch(BTC, FALLING))])
    before, after = Pipeline(0, strategies), Pipeline(0, strategies)
    fold(before, journal[:-1])
    after.restore(before.snapshot())
    assert [s.origin for s in of(after.fold(journal[-1]).derived, Signal)] == ["resumed"]
