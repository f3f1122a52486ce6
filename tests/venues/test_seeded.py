"""Whatever happens at a venue, and if the collector is killed meanwhile: the journal has each trade once, or
a gap that says which is missing. `python -m tests.venues.soak` plays many more."""

import pytest

from infra.exchange.venues.known import VENUES
from infra.strategies.registry import Strategies
from tests.venues.seeded import mixed, one_run

RUNS = 20
NAMES = sorted(VENUES)


@pytest.mark.parametrize("number", range(RUNS))
def test_nothing_is_lost_in_silence_under_any_faults(number: int, strategies: Strategies) -> None:
    venue = NAMES[number % len(NAMES)]
    outcome = one_run(venue, mixed(venue, number), strategies)
    assert not outcome.wrong, f"{outcome}\n" + "\n".join(outcome.wrong)
    assert outcome.trades >= 2_000
