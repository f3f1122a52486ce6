"""Indicators, asked for page by page from states that are kept, are those of one run from the start."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update

from infra.db import tables
from infra.db.bulk import write
from infra.db.connect import writing
from infra.db.pages import Window
from infra.db.schema import migrate, open_database
from infra.strategies.indicators import KEPT_MAX, Indicators
from infra.strategies.lives import Life
from infra.strategies.registry import Strategies, load_strategies
from projections.strategies.code import CompiledCode, History, StrategyCode
from streams.causes import Cause
from streams.events import MINUTE_NS
from tests.derived import bot_changed
from tests.journal import START
from tests.programs import KERNELS
from tests.property.blocks import ALL_BLOCKS

MARKET = "test:BTC/USDT"
CANDLES = 300
EVERY = 16
FRAMES = """
from projections.strategies import BaseStrategy, Signal, param

class Frames(BaseStrategy):
    n: int = param(3, low=1)
    window = 9
    value_names = ("mean", "rows")

    def process_data(self, df):
        return Signal(0.0, {"mean": df["close"].tail(self.n).mean(), "rows": len(df)})
"""
Shown = tuple[int, bytes]
"""A candle's end and the bits of its values."""
PARAMS = {"all_blocks": {"n": 7, "slow": 20, "width": 2.0}, "frames": {"n": 4}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Strategies:
    folder = tmp_path_factory.mktemp("indicators")
    files = []
    for name, text in (("all_blocks", ALL_BLOCKS), ("frames", FRAMES)):
        files.append(folder / f"{name}.py")
        files[-1].write_text(text)
    loaded = load_strategies(KERNELS, files)
    assert not loaded.broken
    return loaded


def fill(engine: Engine, first: int, count: int) -> None:
    """Candles of two timeframes; some share a cause, some are revised."""
    rows, price, chance = [], 20_000, Random(first)
    for n in range(first, first + count):
        price += chance.randrange(-9, 10)
        head, cause = (START + (n + 1) * MINUTE_NS,), (0, n // 3, n % 3)
        numbers = (price - 3, price + 9, price - 9, price, 1_000 + n % 77, 5, 2, 3, False, False, n, n)
        rows += [(MARKET, *head, timeframe, 0, *numbers, *cause) for timeframe in ("1m", "5m")]
        if n % 5 == 0:
            rows.append((MARKET, *head, "1m", 1, 1, *numbers[1:], 0, 10_000 + n, 0))
    with writing(engine).begin() as connection:
        write(connection, tables.candles, rows)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/database.db"
    migrate(url)
    engine = open_database(url)
    fill(engine, 0, CANDLES)
    yield engine
    engine.dispose()


def life(code: StrategyCode, after: int, until: int | None, params: dict[str, int] | None = None) -> Life:
    given = {"strategy": code.name, "code_hash": code.code_hash, "params": params or PARAMS[code.name]}
    change = bot_changed(1, MARKET, timestamp=START, since=Cause(0, after, 0), **given)
    return Life(after, until, change)


def from_the_start(engine: Engine, code: StrategyCode, one: Life) -> list[Shown]:
    """Every candle of a life with its values: an oracle that keeps nothing."""
    candle = tables.candles.c
    columns = (candle.timestamp, candle.open, candle.high, candle.low, candle.close, candle.volume)
    read = select(*columns).where(
        candle.timeframe == "1m", candle.revision == 0, candle.cause_offset > one.after,
        candle.cause_offset <= (10_000 if one.until is None else one.until),
    )  # fmt: skip
    with engine.connect() as connection:
        rows = connection.execute(read.order_by(candle.timestamp)).all()
    ends = np.array([row[0] for row in rows], np.int64)
    prices = [[value / 10 ** (3 if at == 5 else 2) for at, value in enumerate(row) if at] for row in rows]
    history = History(ends, np.array(prices, np.float64).reshape(-1, 5))
    if isinstance(code, CompiledCode):
        values = code.run(history, one.change.params).values
    else:
        values = np.empty((len(rows), len(code.value_names)))
        bot = code.lanes([one.change.params])
        for i in range(len(rows)):
            bot.seen[0] = i + 1
            assert not code.step(history, i, 0, bot)
            values[i] = bot.values[0]
    return [(end, row.tobytes()) for end, row in zip(ends.tolist(), values, strict=True)]


def asked(whole: list[Shown], window: Window) -> list[Shown]:
    low = -1 if window.after_ns is None else window.after_ns
    high = 2**63 if window.until_ns is None else window.until_ns
    rows = [row for row in whole if low < row[0] <= high]
    return (rows[::-1] if window.newest else rows)[: window.limit]


def answered(indicators: Indicators, lives: list[Life], window: Window) -> list[Shown]:
    found = indicators.page(lives, MARKET, window)
    return [(end, np.array(list(values.values())).tobytes()) for end, values in found]


times = st.none() | st.integers(-2, 2 * CANDLES + 40).map(lambda n: START + n * MINUTE_NS // 2)
windows = st.builds(Window, st.integers(1, 80), times, times, newest=st.booleans())
offsets = st.integers(-1, CANDLES // 3 + 5)


@pytest.mark.parametrize("name", PARAMS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bounds=st.tuples(offsets, offsets).map(sorted), wanted=st.lists(windows, min_size=1, max_size=8))
def test_pages_in_whatever_order_are_those_of_a_run_from_the_start(
    engine: Engine, registry: Strategies, name: str, bounds: list[int], wanted: list[Window]
) -> None:
    code = registry.latest(name)
    lives = [life(code, bounds[0], bounds[1]), life(code, bounds[1], None)]
    whole = [row for one in lives for row in from_the_start(engine, code, one)]
    indicators = Indicators(engine, registry, EVERY)
    for window in (*wanted, *wanted):
        assert answered(indicators, lives, window) == asked(whole, window)


@pytest.mark.parametrize("newest", [False, True])
def test_each_candle_can_be_asked_for_alone(engine: Engine, registry: Strategies, newest: bool) -> None:
    code, indicators = registry.latest("all_blocks"), Indicators(engine, registry, EVERY)
    lives = [life(code, -1, None)]
    whole = from_the_start(engine, code, lives[0])
    for end, bits in reversed(whole) if newest else whole:
        window = Window(1, end - 1, end, newest=newest)
        assert answered(indicators, lives, window) == [(end, bits)]


def test_pages_go_on_where_the_market_does(engine: Engine, registry: Strategies) -> None:
    code, indicators = registry.latest("all_blocks"), Indicators(engine, registry, EVERY)
    lives, window = [life(code, 5, None)], Window(50, newest=True)
    for first in range(CANDLES, CANDLES + 60, 20):
        fill(engine, first, 20)
        found = answered(indicators, lives, window)
        assert found == asked(from_the_start(engine, code, lives[0]), window)


def test_a_page_goes_on_from_the_nearest_state(engine: Engine, registry: Strategies) -> None:
    """Seen by prices that are changed far before it, which nothing that is asked for depends on any more."""
    code, indicators = registry.latest("all_blocks"), Indicators(engine, registry, EVERY)
    lives, window = [life(code, -1, None)], Window(5, newest=True)
    before = answered(indicators, lives, window)
    candle = tables.candles.c
    with engine.begin() as connection:
        connection.execute(update(tables.candles).where(candle.cause_offset == 0).values(close=1))
    assert answered(indicators, lives, window) == before
    assert answered(Indicators(engine, registry, EVERY), lives, window) != before


def test_states_of_other_candles_are_forgotten(engine: Engine, registry: Strategies) -> None:
    code, indicators = registry.latest("all_blocks"), Indicators(engine, registry, EVERY)
    lives, window = [life(code, -1, None)], Window(50, newest=True)
    answered(indicators, lives, window)
    with engine.begin() as connection:
        connection.execute(update(tables.candles).values(close=tables.candles.c.close + 1))
    assert answered(indicators, lives, window) == asked(from_the_start(engine, code, lives[0]), window)


def test_states_that_are_kept_are_bounded(engine: Engine, registry: Strategies) -> None:
    code, indicators = registry.latest("all_blocks"), Indicators(engine, registry, 1)
    for n in range(1, KEPT_MAX // CANDLES + 5):
        answered(indicators, [life(code, -1, None, {"n": n})], Window(5, newest=True))
    assert KEPT_MAX - CANDLES <= sum(map(len, indicators._kept.values())) <= KEPT_MAX
