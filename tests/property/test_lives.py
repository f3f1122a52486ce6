"""A bot's lives, read from what it told, are the stretches over which the fold stepped it."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.strategies.lives import BotHistory
from infra.strategies.registry import Strategies, load_strategies
from projections.fold.pipeline import Pipeline
from streams import events
from streams.causes import Cause
from streams.embedded.log import EmbeddedLog
from streams.events import BotChanged, JournalEvent
from streams.records import Entry
from streams.topics import BOTS
from tests.journal import START, batch, create, fold, named, of, records, spot

A = spot("A/USDT")
STRATEGY = """
from projections.strategies import BaseStrategy, Signal, param

class Fragile(BaseStrategy):
    n: int = param(3, low=1)
    window = 2

    def process_data(self, df):
        if df["close"].iloc[-1] % 3 == 0:
            raise RuntimeError("a price that it does not bear")
        return Signal(float(df["close"].iloc[-1] % 2))
"""


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    folder = tmp_path_factory.mktemp("lives")
    (folder / "fragile.py").write_text(STRATEGY)
    loaded = load_strategies(folder / "kernels", [folder / "fragile.py"])
    assert not loaded.broken
    return loaded


inputs = st.one_of(
    st.tuples(st.just("trade"), st.integers(1, 30)),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("stop"), st.booleans()),
    st.tuples(st.just("halt"), st.sampled_from(["halted", "strategy_changed"])),
    st.tuples(st.just("reconfigure"), st.sampled_from([None, {"n": 0}, {"n": 4}, {"n": 5}])),
)
"""With a price, whether it names the code, whether it flattens, the code of the halt, the parameters."""


def journal(given: list[tuple[str, object]], code_hash: str, n: int) -> Iterator[tuple[str, JournalEvent]]:
    yield A.key, A
    yield A.key, create(A, strategy="fragile", code_hash=code_hash, params={"n": n})
    for number, (what, with_) in enumerate(given):
        head = {"request": f"{number}", "who": "tester", "at": START, "bot_id": 1}
        match what, with_:
            case "trade", int(price):
                yield A.key, batch(A, [(60 * number + 30, price, 2)])
            case "start", with_code:
                yield A.key, events.StartBot(**head, **named("fragile", code_hash if with_code else None))
            case "stop", bool(flatten):
                yield A.key, events.StopBot(**head, flatten=flatten)
            case "halt", str(code):
                yield A.key, events.HaltBot(**head, reason="", code=code)
            case _, params:
                yield A.key, events.ReconfigureBot(**head, params=params)


@settings(max_examples=100, deadline=None)
@given(st.lists(inputs, max_size=30), st.integers(0, 1))
def test_lives_are_the_stretches_over_which_the_bot_stepped(
    fragile: Strategies, tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, object]], n: int
) -> None:
    code_hash = fragile.latest("fragile").code_hash
    log = EmbeddedLog(f"embedded://{tmp_path_factory.mktemp('log')}", partitions=1)
    pipeline, stepped = Pipeline(0, fragile), {}
    for record in records(journal(given, code_hash, n)):
        before = _since(pipeline)
        told = [one for one in fold(pipeline, [record]) if one.topic == BOTS]
        log.append([Entry(BOTS, one.key, one.value, one.time_ms, 0) for one in told], sync=False)
        failed = any(change.code == "strategy_error" for change in of(told, BotChanged))
        stepped[record.offset] = None if failed else before
    lives = BotHistory(log).lives(1, A.key)
    log.close()
    for offset, since in stepped.items():
        found = [x.change.since for x in lives if x.after < offset and (x.until is None or offset <= x.until)]
        assert found == ([] if since is None else [since]), offset


def _since(pipeline: Pipeline) -> Cause | None:
    """The change from which on the bot steps; None while it does not."""
    bots = [market.bots.get(1) for market in pipeline.view().markets.values()]
    return next((bot.since for bot in bots if bot is not None and bot.steps), None)
