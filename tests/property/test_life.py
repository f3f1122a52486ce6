"""Any commands in any order: a bot does what its table says, and every restart gives the same bytes."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.strategies.registry import Strategies
from projections.fold.bots import Standing
from projections.fold.life import LIFE, STANDINGS, Answer
from projections.fold.pipeline import Pipeline
from streams import events
from streams.causes import Cause
from streams.events import BotChanged, DerivedEvent, Fill, JournalEvent, Order, OrderClosed, Sizing
from streams.records import Record
from tests.journal import MINUTE, START, batch, create, emitted, records, spot

BTC = spot()
BOTS = st.integers(1, 3)


def became(standing: Standing, answer: Answer) -> Standing:
    return "bankrupt" if answer.code == "bankrupt" else answer.status or standing


def standing(change: BotChanged) -> Standing:
    return "bankrupt" if change.code == "bankrupt" else change.status


REACHABLE = {(status, became(status, answer)) for (status, _), answer in LIFE.items()} | {
    (status, status) for status in STANDINGS
}

COMMANDS = st.one_of(
    st.tuples(st.just(events.StartBot), st.fixed_dictionaries({"bot_id": BOTS})),
    st.tuples(st.just(events.StopBot), st.fixed_dictionaries({"bot_id": BOTS, "flatten": st.booleans()})),
    st.tuples(
        st.just(events.HaltBot),
        st.fixed_dictionaries(
            {
                "bot_id": st.one_of(st.none(), BOTS),
                "reason": st.just("fire"),
                "code": st.sampled_from(["halted", "strategy_changed"]),
            }
        ),
    ),
    st.tuples(
        st.just(events.ReconfigureBot),
        st.fixed_dictionaries(
            {
                "bot_id": BOTS,
                "params": st.sampled_from([None, {"fast": 1, "slow": 2}, {"fast": 0, "slow": 9}]),
                "sizing": st.sampled_from([None, Sizing("amount", 5, 3), Sizing("cash", 0, 0)]),
                "short": st.sampled_from([None, True, False]),
            }
        ),
    ),
    st.tuples(
        st.just(events.ExternalSignal),
        st.fixed_dictionaries({"bot_id": BOTS, "target": st.sampled_from([-1.0, -0.5, 0.0, 1.0, 2.0])}),
    ),
)
PRICES = st.lists(st.integers(50, 150) | st.just(20_000), min_size=1, max_size=3)
STEPS = st.lists(st.one_of(COMMANDS, PRICES), min_size=5, max_size=40)


def journal(steps: list[Any], code_hash: str) -> list[Record]:
    made: list[tuple[str, JournalEvent]] = [(BTC.key, BTC)]
    params = {"fast": 1, "slow": 2}
    made += [
        (BTC.key, create(BTC, bot_id, code_hash=code_hash, params=params, short=bot_id > 1, start=bot_id < 3))
        for bot_id in (1, 2, 3)
    ]
    second = 0
    for number, step in enumerate(steps):
        if isinstance(step, list):
            rows = [(second + 25 * n, price, 5) for n, price in enumerate(step, 1)]
            second += 25 * len(rows)
            made.append((BTC.key, batch(BTC, rows)))
        else:
            kind, fields = step
            made.append(
                (BTC.key, kind(request=f"r{number}", who="ann", at=START + second * MINUTE, **fields))
            )
    return records(made)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_a_bot_lives_by_its_table(strategies: Strategies, steps: list[Any]) -> None:
    pipeline = Pipeline(0, strategies)
    changes: dict[int, list[tuple[Cause, BotChanged]]] = {}
    waiting: dict[int, set[Cause]] = {}
    for record in journal(steps, strategies.latest("sma_cross").code_hash):
        derived, report = pipeline.fold(record)
        told = sorted((c for item in derived for c in emitted([item])), key=lambda pair: pair[0])
        assert [event for _, event in told if isinstance(event, BotChanged)] == report.bots
        for cause, event in told:
            if isinstance(event, BotChanged):
                changes.setdefault(event.bot_id, []).append((cause, event))
            _one_order_waits(waiting, cause, event)
    for told_of_one in changes.values():
        for (_, before), (cause, after) in pairwise(told_of_one):
            assert (standing(before), standing(after)) in REACHABLE
            assert after.since == cause or (after.since, after.steps) == (before.since, before.steps)
        for bot_id, bot in pipeline.view().markets[BTC.key].bots.items():
            last = changes[bot_id][-1][1]
            assert (bot.status, bot.steps, bot.since) == (last.status, last.steps, last.since)


def _one_order_waits(waiting: dict[int, set[Cause]], cause: Cause, event: DerivedEvent) -> None:
    """An order is made where none waits, and ends once."""
    if isinstance(event, Order):
        assert not waiting.get(event.bot_id)
        waiting[event.bot_id] = {cause}
    elif isinstance(event, Fill) or (isinstance(event, OrderClosed) and event.code != "cut_to_cash"):
        waiting[event.bot_id].remove(event.order_id)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.data())
def test_a_restart_between_any_commands_gives_the_same_bytes(
    strategies: Strategies, steps: list[Any], data: Any
) -> None:
    recorded = journal(steps, strategies.latest("sma_cross").code_hash)
    whole, restarted = Pipeline(0, strategies), Pipeline(0, strategies)
    cut = data.draw(st.integers(1, len(recorded) - 1))
    for record in recorded:
        if record.offset == cut:
            state = restarted.snapshot()
            restarted = Pipeline(0, strategies)
            restarted.restore(state)
        assert restarted.fold(record).derived == whole.fold(record).derived
    assert restarted.snapshot() == whole.snapshot()
