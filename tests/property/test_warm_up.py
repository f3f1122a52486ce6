"""A bot made on a running market is, from its first candle on, what one is that was always there."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.strategies.registry import Strategies
from projections.fold.pipeline import Pipeline
from streams.events import DeadLetter, ReconfigureBot, Timeframe
from tests.journal import START, create, fold, of, spot
from tests.warming import Live, candles_in, wander

BTC = spot()
BUILT_IN = {
    "sma_cross": {"fast": 3, "slow": 8},
    "macd_cross": {"fast": 2, "slow": 4, "signal": 3},
    "rsi_reversion": {"n": 3, "low": 45.0, "high": 55.0},
    "bollinger_breakout": {"n": 5, "width": 1.0},
}
BEFORE, AFTER = 620, 60


def bot(strategies: Strategies, number: int, name: str, timeframe: Timeframe = "1m"):
    code_hash = strategies.latest(name).code_hash
    return create(
        BTC,
        number,
        strategy=name,
        params=BUILT_IN[name],
        code_hash=code_hash,
        timeframe=timeframe,
        short=True,
    )


def warmed(command, name: str, candles: int):
    return replace(command, warm_up=name, warm_candles=candles)


@pytest.mark.parametrize("name", BUILT_IN)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    meanwhile=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    size=st.sampled_from([7, 100, 1_000]),
)
def test_its_indicators_are_bit_for_bit_those_of_a_bot_from_the_beginning(
    strategies: Strategies, name: str, seed: int, sizes: list[int], meanwhile: list[int], size: int
) -> None:
    """Also where candles close between the reading of candles, their records and the command, and after
    restarts there; with all candles its target is the same too."""
    live, prices = Live(BTC, strategies), iter(wander(seed, BEFORE + AFTER + 100))
    live.give(bot(strategies, 1, name))
    while live.minutes < BEFORE:
        live.trade([next(prices) for _ in range(sizes[live.minutes % len(sizes)])])
    needed = strategies.latest(name).need(BUILT_IN[name])
    assert needed < BEFORE
    for number, count in ((2, needed), (3, None)):
        bars = live.bars("1m", count, f"w{number}", size)
        live.give(*bars[:1])
        live.trade([next(prices) for _ in range(meanwhile[number])])
        live.restart()
        live.give(*bars[1:])
        live.trade([next(prices) for _ in range(meanwhile[number - 2])])
        live.give(warmed(bot(strategies, number, name), f"w{number}", candles_in(bars)))
    for n in range(AFTER):
        live.trade([next(prices)])
        first, second, third = map(live.lane, (1, 2, 3))
        assert (second[0], third) == (first[0], first)
        if n == AFTER // 2:
            live.restart()
    assert not of(live.derived, DeadLetter)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_restart_anywhere_gives_the_same_bytes(
    strategies: Strategies, seed: int, data: st.DataObject
) -> None:
    live, prices = Live(BTC, strategies), iter(wander(seed, 500))
    for number, timeframe in enumerate(data.draw(st.lists(st.sampled_from(["1m", "5m"]), max_size=4)), 1):
        live.trade([next(prices) for _ in range(data.draw(st.integers(0, 60)))])
        bars = live.bars(timeframe, data.draw(st.sampled_from([None, 3, 40])), f"w{number}", 20)
        live.give(bars[0])
        live.trade([next(prices) for _ in range(data.draw(st.integers(0, 8)))])
        live.give(*bars[1:])
        given_up = data.draw(st.booleans())
        if not given_up:
            live.give(warmed(bot(strategies, number, "sma_cross", timeframe), f"w{number}", candles_in(bars)))
        if data.draw(st.booleans()):
            again = live.bars(timeframe, 10, f"again{number}")
            anew = ReconfigureBot(request=f"r{number}", who="ann", at=START, bot_id=number)
            live.give(*again, warmed(anew, f"again{number}", candles_in(again)))
    live.trade([next(prices) for _ in range(20)])
    stops = data.draw(st.lists(st.integers(1, len(live.journal)), max_size=4).map(sorted))
    pipeline, derived = Pipeline(0, strategies), []
    for start, stop in pairwise([0, *stops, len(live.journal)]):
        derived += fold(pipeline, live.journal[start:stop])
        state, pipeline = pipeline.snapshot(), Pipeline(0, strategies)
        pipeline.restore(state)
    assert derived == live.derived
    assert pipeline.snapshot() == live.pipeline.snapshot()
