"""The first of the random worlds; `make soak` lets a thousand live."""

from infra.strategies.registry import Strategies
from tests.property.worlds import rare, run

WORLDS = 150


def test_money_balances_after_each_event_and_nobody_runs_on_without_equity(strategies: Strategies) -> None:
    assert rare(run(range(WORLDS), strategies), WORLDS) == {}
