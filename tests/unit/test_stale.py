"""Bots of a market for whose data nobody vouches: they open nothing, close, or go on."""

from typing import Any

import pytest
from msgspec.structs import replace

from infra.strategies.registry import Strategies
from projections.fold.outbox import Derived
from projections.fold.pipeline import Pipeline
from streams import events
from streams.events import Fill, Order, OrderClosed, Signal, Sizing
from streams.records import Input
from tests.journal import START, batch, create, of, records, spot

BTC = spot()
FLIP = {"fast": 1, "slow": 2}
"""sma_cross that follows the last close: up → 1, down → −1."""
UP = [(1, 100, 5), (61, 101, 5), (121, 102, 5)]
"""The strategy asks for 1 at 102."""
LONG = [*UP, (122, 102, 5)]
RISING = [(181, 103, 5), (182, 103, 5), (241, 104, 5), (242, 104, 5)]
FALLING = [(181, 90, 5), (182, 90, 5), (241, 80, 5), (242, 80, 5)]
ASKED: dict[str, Any] = {"who": "me", "at": START, "bot_id": 1}


def feed(state: events.FeedState, source: str = "venue") -> Input:
    said = events.Feed(market=BTC.key, source=source, state=state, since=START, reason="deaf")
    return Input("", 0, 0, said)


class Journal:
    """Rows and words of sources, in order, behind a bot that follows the last close."""

    def __init__(self, strategies: Strategies, *inputs: Any, **bot: Any) -> None:
        self.strategies = strategies
        changes = {name: bot.pop(name) for name in ("on_stale", "timeframe") if name in bot}
        code = strategies.latest("sma_cross").code_hash
        created = create(BTC, params=FLIP, code_hash=code, **{"short": True, **bot})
        self.entries = [Input("spec", 1, 0, BTC), Input("", 0, 0, replace(created, **changes))]
        self.sequences: dict[str, int] = {}
        for given in inputs:
            self.add(given)

    def add(self, given: Any, source: str = "venue") -> None:
        if isinstance(given, tuple):
            given, source = given
        if isinstance(given, list):
            number = self.sequences.get(source, 0)
            self.sequences[source] = number + 1
            given = Input(source, 1, number, batch(BTC, given))
        elif not isinstance(given, Input):
            given = Input("", 0, 0, given)
        self.entries.append(given)

    def folded(self) -> list[Derived]:
        journal = records(self.entries)
        pipeline, restarted = Pipeline(0, self.strategies), Pipeline(0, self.strategies)
        derived: list[Derived] = []
        for record in journal:
            made = pipeline.fold(record).derived
            assert restarted.fold(record).derived == made, f"a restart before {record.offset}"
            derived += made
            state = restarted.snapshot()
            restarted = Pipeline(0, self.strategies)
            restarted.restore(state)
        return derived


def _changed(command: events.CreateBot, changes: dict[str, Any]) -> events.CreateBot:
    from msgspec.structs import replace

    return replace(command, **changes)


def told(strategies: Strategies, *inputs: Any, **bot: Any) -> list[Derived]:
    return Journal(strategies, *inputs, **bot).folded()


def signals(derived: list[Derived]) -> list[tuple[Any, ...]]:
    return [(s.origin, s.target, s.decision, s.code) for s in of(derived, Signal)]


@pytest.mark.parametrize("state", ["catching_up", "stale", "down", "halted"])
def test_a_bot_opens_nothing_while_its_feed_is_not_live_and_asks_again_behind(
    strategies: Strategies, state: events.FeedState
) -> None:
    derived = told(strategies, UP[:2], feed(state), [(121, 102, 5), (122, 102, 5)], feed("live"), RISING)
    assert signals(derived) == [
        ("strategy", 1, "refused", "stale_data"),
        ("resumed", 1, "executed", "ok"),
    ]
    assert [f.price for f in of(derived, Fill)] == [10_300]


def test_what_closes_goes_on_while_the_feed_is_stale(strategies: Strategies) -> None:
    derived = told(strategies, LONG, feed("stale"), FALLING)
    assert signals(derived)[1:] == [("strategy", -1, "executed", "closed_only")]
    assert [(f.price, f.position) for f in of(derived, Fill)][1:] == [(8_000, 0)]


def test_less_of_a_position_is_less_also_while_the_feed_is_stale_and_more_is_refused(
    strategies: Strategies,
) -> None:
    half = events.ExternalSignal(request="half", **ASKED, target=0.5)
    whole, again = (events.ExternalSignal(request=name, **ASKED, target=1.0) for name in ("whole", "again"))
    bot = {"sizing": Sizing("amount", 2, 0), "timeframe": "1d"}
    derived = told(
        strategies, [(1, 100, 5), (61, 100, 5)], whole, [(62, 100, 5)],
        feed("stale"), half, [(63, 100, 5)], again, [(64, 100, 5)], **bot,
    )  # fmt: skip
    assert [code for *_, code in signals(derived)] == ["ok", "ok", "stale_data"]
    assert [f.position for f in of(derived, Fill)] == [2_000, 1_000]


def test_an_order_that_waited_when_the_feed_ended_opens_nothing(strategies: Strategies) -> None:
    derived = told(strategies, UP, feed("stale"), [(122, 102, 5)])
    assert [(o.status, o.code) for o in of(derived, OrderClosed)] == [("rejected", "stale_data")]
    assert not of(derived, Fill)


def test_an_order_that_turns_a_position_only_closes_it_while_the_feed_is_stale(
    strategies: Strategies,
) -> None:
    derived = told(strategies, LONG, FALLING[:3], feed("down"), FALLING[3:])
    assert [o.size > 90_000 for o in of(derived, Order)] == [True, True]
    assert [f.position for f in of(derived, Fill)][1:] == [0]
    assert [(o.status, o.code) for o in of(derived, OrderClosed)][-1] == ("cancelled", "stale_data")


def test_a_bot_that_is_to_flatten_closes_at_the_next_trade_and_asks_again_behind(
    strategies: Strategies,
) -> None:
    rows, later = [(123, 101, 5), (124, 103, 5)], [(181, 105, 5), (182, 104, 5)]
    derived = told(strategies, LONG, feed("stale"), rows, feed("live"), later, on_stale="flatten")
    assert signals(derived)[1:] == [("resumed", 1, "executed", "ok")]
    assert [o.reason for o in of(derived, Order)] == ["signal", "flatten", "signal"]
    assert [(f.price, f.position > 0) for f in of(derived, Fill)][1:] == [(10_100, False), (10_400, True)]


def test_a_bot_that_is_to_ignore_it_goes_on(strategies: Strategies) -> None:
    derived = told(strategies, UP[:2], feed("stale"), [(121, 102, 5), (122, 102, 5)], on_stale="ignore")
    assert signals(derived) == [("strategy", 1, "executed", "ok")]
    assert len(of(derived, Fill)) == 1


def test_an_incomplete_candle_holds_and_never_flattens(strategies: Strategies) -> None:
    derived = told(
        strategies, UP[:2], _gap_at(62), [(121, 102, 5), (122, 102, 5)], RISING, on_stale="flatten"
    )
    assert signals(derived) == [
        ("strategy", 1, "refused", "stale_data"),
        ("resumed", 1, "executed", "ok"),
    ]
    held = told(strategies, LONG, _gap_at(130), RISING, on_stale="flatten")
    assert [o.reason for o in of(held, Order)] == ["signal"]
    assert signals(held) == [("strategy", 1, "executed", "ok")]


def _gap_at(second: int) -> Input:
    start = START + second * 10**9
    return Input("", 0, 0, events.Gap(market=BTC.key, start=start, end=start + 10**9, reason=""))


def test_the_word_of_the_source_of_the_last_row_counts_backfill_aside(strategies: Strategies) -> None:
    backfill = ([(100, 101, 5, "backfill")], "file")
    stale = told(strategies, UP[:2], feed("stale"), backfill, [(121, 102, 5)])
    assert [code for *_, code in signals(stale)] == ["stale_data"]
    live = told(strategies, UP[:2], feed("stale"), ([(121, 102, 5)], "file"))
    assert [code for *_, code in signals(live)] == ["ok"]
    back = told(strategies, UP[:2], feed("stale"), ([(62, 101, 5)], "file"), [(121, 102, 5)])
    assert [code for *_, code in signals(back)] == ["stale_data"]


def test_a_word_on_another_source_changes_nothing(strategies: Strategies) -> None:
    derived = told(strategies, UP[:2], feed("down", "other"), [(121, 102, 5)])
    assert [code for *_, code in signals(derived)] == ["ok"]


def test_a_started_bot_is_told_of_what_closes_in_a_stale_time_and_of_the_rest_behind(
    strategies: Strategies,
) -> None:
    stop, start = events.StopBot(request="s", **ASKED), events.StartBot(request="t", **ASKED)
    later = [(301, 79, 5), (302, 79, 5), (361, 78, 5), (362, 78, 5)]
    derived = told(strategies, LONG, stop, FALLING, feed("stale"), start, later[:2], feed("live"), later[2:])
    assert signals(derived)[2:] == [
        ("resumed", -1, "executed", "closed_only"),
        ("resumed", -1, "executed", "ok"),
    ]
    assert [f.position < 0 for f in of(derived, Fill)] == [False, False, True]


def test_a_reconfiguration_changes_what_a_bot_does_while_its_feed_is_stale(strategies: Strategies) -> None:
    ignore = events.ReconfigureBot(request="r", **ASKED, on_stale="ignore")
    rows = [(121, 100, 5), (122, 100, 5), (181, 102, 5), (182, 102, 5)]
    derived = told(strategies, UP[:2], feed("stale"), ignore, rows)
    assert [(f.price, f.position < 0) for f in of(derived, Fill)] == [(10_200, True)]
