"""A minute of `tests.fuzz.fuzz_records`; `make fuzz` goes on for twenty."""

from infra.strategies.registry import Strategies
from tests.fuzz.fuzz_records import run, told
from tests.programs import KERNELS

SECONDS = 60.0
SEED = 1


def test_no_wrong_record_escapes_from_any_door(strategies: Strategies) -> None:
    counts = run(SECONDS, SEED, strategies, KERNELS)
    print(told(counts))
    assert counts["homes"] and counts["derived"]
    assert abs(counts["as bytes"] - counts["as events"]) < 0.1 * counts["records"]
    assert counts["reaching _by_kind"] >= 0.3 * counts["records"]
