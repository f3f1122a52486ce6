"""A bot over several timeframes reads each higher candle as it was when it closed, and none before."""

from collections import Counter
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.strategies.registry import Strategies
from projections.fold.pipeline import Pipeline
from projections.strategies.code import CompiledCode
from projections.strategies.histories import History
from streams import events
from streams.causes import Cause
from streams.codec import decode_input
from streams.events import (
    Bars,
    BotChanged,
    Candle,
    DeadLetter,
    ReconfigureBot,
    Signal,
    Timeframe,
    WarmedCommand,
    named_above,
)
from tests.journal import create, emitted, fold, spot
from tests.parity import compared
from tests.programs import KERNELS
from tests.property.worlds import World
from tests.several import several
from tests.warming import Live, candles_in, wander

BTC = spot()
FRAMES: tuple[Timeframe, ...] = ("1m", "5m", "15m")
ALONE = {"1m": "own", "5m": "of5m", "15m": "of15m"}
"""Strategies that each give what one timeframe gives to those of several."""
PARAMS = {"near": 3, "far": 2}


@pytest.fixture(scope="module")
def strategies(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    return several(KERNELS, tmp_path_factory.mktemp("several"))


def bot(strategies: Strategies, number: int, name: str = "talks", **changes):
    code_hash = strategies.latest(name).code_hash
    return create(BTC, number, strategy=name, params=PARAMS, code_hash=code_hash, short=True, **changes)


class Talking(World):
    """A world whose bots tell their indicators at each candle."""

    def _bot(self, bot_id: int) -> events.CreateBot:
        given = bot(self.strategies, bot_id)
        kept = {name: getattr(given, name) for name in ("strategy", "code_hash", "code_check", "params")}
        made = super()._bot(bot_id)
        return msgspec.structs.replace(made, timeframe="1m", **kept)

    def reconfigure(self) -> None:
        self.command(ReconfigureBot, params=PARAMS)


def values(candles: list[Candle]) -> np.ndarray:
    return np.array(
        [
            (
                *(getattr(c, name) / 10**c.price_scale for name in ("open", "high", "low", "close")),
                c.volume / 10**c.size_scale,
            )
            for c in candles
        ]
    ).reshape(-1, 5)


def expected(strategies: Strategies, seen: dict[str, list[Candle]]) -> dict[str, float]:
    """What strategies of one timeframe each make of the newest of these candles."""
    found: dict[str, float] = {}
    for timeframe, candles in seen.items():
        code = strategies.latest(ALONE[timeframe])
        assert isinstance(code, CompiledCode)
        row = [float("nan")] * len(code.value_names)
        if candles:
            history = History(np.array([c.timestamp for c in candles]), values(candles))
            row = code.run(history, {p.name: PARAMS[p.name] for p in code.parameters}).values[-1].tolist()
        found |= dict(zip(code.value_names, row, strict=True))
    return found


def test_each_signal_carries_what_had_closed_by_then(strategies: Strategies) -> None:
    """With gaps, late trades, several candles in a row of the journal, restarts, and bots that begin anew,
    warm or cold."""
    checked: Counter[str] = Counter()
    for seed in range(15):
        world = Talking(seed, strategies, Counter())
        world.live()
        check_signals(strategies, world, checked)
    assert checked["warm"] > 500
    assert min(checked["revised"], checked["incomplete"], checked["warmed"]) > 20, checked


def check_signals(strategies: Strategies, world: World, checked: Counter[str]) -> None:
    closed: list[tuple[Cause, Candle]] = []
    since: dict[int, dict[str, int]] = {}
    for cause, event in sorted(emitted(world.derived), key=lambda pair: pair[0]):
        match event:
            case Candle(revision=0):
                closed.append((cause, event))
                checked["incomplete"] += event.incomplete
            case Candle():
                checked["revised"] += 1
            case BotChanged() if event.since == cause:
                warmed = first_warmed(world, cause.offset, closed)
                checked["warmed"] += "5m" in warmed
                newest = max((c.timestamp for _, c in closed), default=0) + 1
                since[event.bot_id] = dict.fromkeys(FRAMES, newest) | warmed
            case Signal(origin="strategy"):
                begun = since[event.bot_id]
                seen = {
                    t: [c for _, c in closed if c.timeframe == t and c.timestamp >= begun[t]] for t in FRAMES
                }
                due = expected(strategies, seen)
                assert bits(event.values) == bits(due), (world.chance, event)
                checked["warm"] += due["trend"] == due["trend"]
            case _:
                pass


def first_warmed(world: World, offset: int, closed: list[tuple[Cause, Candle]]) -> dict[str, int]:
    """By timeframe, the end of the first candle on which a bot was warmed that begins with this record."""
    command = decode_input(world.journal[offset].value).event
    assert isinstance(command, WarmedCommand)
    frames = {name: timeframe or "1m" for timeframe, name in command.warm_ups.items()}
    found: dict[str, int] = {}
    for record in world.journal[:offset]:
        bars = decode_input(record.value).event
        if isinstance(bars, Bars) and bars.warm_up in frames:
            meanwhile = [
                candle.timestamp
                for cause, candle in closed
                if candle.timeframe == bars.timeframe and record.offset < cause.offset
            ]
            ends = [*bars.timestamp, *meanwhile]
            found |= {frames[bars.warm_up]: ends[0]} if ends else {}
    return found


def bits(named: dict[str, float]) -> dict[str, bytes]:
    return {name: np.float64(value).tobytes() for name, value in named.items()}


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    meanwhile=st.lists(st.integers(0, 20), min_size=4, max_size=4),
    cut=st.integers(1, 59),
)
def test_one_that_is_warmed_midway_is_what_one_is_that_was_always_there(
    strategies: Strategies, seed: int, meanwhile: list[int], cut: int
) -> None:
    """In the middle of a higher candle, also where candles close between the reading of candles and the
    command, and with a restart there."""
    live, prices = Live(BTC, strategies), iter(wander(seed, 1_400))
    live.give(bot(strategies, 1, "trend"))
    live.trade([next(prices) for _ in range(1_100 + cut)])
    code = strategies.latest("trend")
    needs = {t: code.need(PARAMS, "" if t == "1m" else t) for t in FRAMES}
    for number, counts in ((2, needs), (3, dict.fromkeys(FRAMES))):
        name = f"w{number}"
        parts = {t: live.bars(t, counts[t], name if t == "1m" else named_above(name, t), 40) for t in FRAMES}
        for at in range(max(map(len, parts.values()))):
            live.give(*(bars[at] for bars in parts.values() if at < len(bars)))
            if at == 0:
                live.trade([next(prices) for _ in range(meanwhile[number])])
                live.restart()
        live.trade([next(prices) for _ in range(meanwhile[number - 2])])
        warmed, *above = (candles_in(bars) for bars in parts.values())
        given_ = msgspec.structs.replace(
            bot(strategies, number, "trend"), warm_up=name, warm_candles=warmed,
            warm_higher=dict(zip(FRAMES[1:], above, strict=True)),
        )  # fmt: skip
        live.give(given_)
    for n in range(60):
        live.trade([next(prices)])
        first, second, third = map(live.lane, (1, 2, 3))
        assert (second[0], third[0]) == (first[0], first[0])
        if n == 30:
            live.restart()
    assert not [event for _, event in emitted(live.derived, DeadLetter)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_a_restart_anywhere_gives_the_same_bytes(
    strategies: Strategies, seed: int, data: st.DataObject
) -> None:
    world = Talking(seed, strategies, Counter())
    world.live()
    stops = data.draw(st.lists(st.integers(1, len(world.journal)), max_size=8).map(sorted))
    pipeline, derived = Pipeline(0, strategies), []
    for start, stop in pairwise([0, *stops, len(world.journal)]):
        derived += fold(pipeline, world.journal[start:stop])
        state, pipeline = pipeline.snapshot(), Pipeline(0, strategies)
        pipeline.restore(state)
    assert derived == world.derived
    assert pipeline.snapshot() == world.pipeline.snapshot()


def test_the_backtest_of_every_recorded_bot_is_what_is_recorded(strategies: Strategies) -> None:
    counts: Counter[str] = Counter()
    for seed in range(20, 35):
        world = Talking(seed, strategies, Counter())
        world.live()
        for bot_id, one in compared(world.journal, strategies, world.derived).items():
            assert one.differs is None, f"world {seed}, bot {bot_id}: {one.differs}"
            counts.update(one.counts)
    assert min(counts[kind] for kind in counts) > 100, counts
