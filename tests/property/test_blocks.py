"""Every block against TA-Lib or a plain oracle, where prices stand still, and from whenever a bot begins."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.strategies.registry import load_strategies
from projections.strategies import blocks as blocks_module
from projections.strategies.blocks import Block, Indicator
from projections.strategies.code import CompiledCode, History
from tests.programs import KERNELS
from tests.property.blocks import ALL_BLOCKS, OVER_BLOCKS

Floats = npt.NDArray[np.float64]
MINUTE_NS = 60_000_000_000
DAY = 24 * 60


def loaded(folder: Path, name: str, text: str) -> CompiledCode:
    file = folder / f"{name}.py"
    file.write_text(text)
    strategies = load_strategies(KERNELS, [file])
    assert not strategies.broken
    code = strategies.latest(name)
    assert isinstance(code, CompiledCode)
    return code


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> CompiledCode:
    return loaded(tmp_path_factory.mktemp("blocks"), "all_blocks", ALL_BLOCKS)


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory) -> CompiledCode:
    return loaded(tmp_path_factory.mktemp("blocks"), "over_blocks", OVER_BLOCKS)


def wander(seed: int, rows: int, still: float = 0.3, digits: int = 2) -> Floats:
    """Candles of a price that moves by whole cents, in some of them not at all, and then without volume."""
    chance = np.random.default_rng(seed)
    moves = chance.integers(-300, 301, rows) * (chance.random(rows) >= still)
    close = np.round(1_000.0 + np.cumsum(moves) / 100, digits)
    before = np.concatenate([[1_000.0], close[:-1]])
    up, down = chance.integers(0, 90, (2, rows)) * (moves != 0) / 100
    high, low = np.maximum(close, before) + up, np.minimum(close, before) - down
    volume = chance.integers(1, 10**6, rows) * (moves != 0) / 1000
    return np.ascontiguousarray(np.stack([before, high, low, close, volume], axis=1))


def ran(code: CompiledCode, values: Floats, first: int = 0, **params: object) -> dict[str, Floats]:
    """Its numbers by name, on minutes that begin so many after a midnight."""
    ends = MINUTE_NS * (100 * DAY + first + np.arange(1, len(values) + 1, dtype=np.int64))
    run = code.run(History(ends, values), params)
    return dict(zip(code.value_names, run.values.T, strict=True))


def recorded(folder: Path, rows: int) -> Floats:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "bitmex_XBTUSD_own1m_2018H2.parquet").slice(100_000, rows)
    columns = ("open", "high", "low", "close", "volume")
    values = np.stack([table[name].to_numpy().astype(np.float64) for name in columns], axis=1)
    values[1:, 0] = values[:-1, 3]
    return np.ascontiguousarray(values)


def close_to(ours: Floats, theirs: Floats, warm: int, within: float = 1e-9) -> None:
    """Equal from the candle number `warm` on, and before there is none of ours."""
    assert np.isnan(ours[: warm - 1]).all()
    assert not np.isnan(ours[warm - 1 :]).any()
    np.testing.assert_allclose(ours[warm - 1 :], theirs[warm - 1 :], rtol=within, atol=within)


def check(code: CompiledCode, values: Floats, n: int) -> None:
    ours = ran(code, values, n=n, width=1.5)
    _, high, low, close, volume = (np.ascontiguousarray(column) for column in values.T)
    price = (high + low + close) / 3
    close_to(ours["weighted"], talib.WMA(close, n), n)
    close_to(ours["change"], talib.ROC(close, n), n + 1)
    close_to(ours["least"], talib.MIN(low, n), n)
    close_to(ours["greatest"], talib.MAX(high, n), n)
    close_to(ours["channel.upper"], talib.MAX(high, n), n)
    close_to(ours["channel.lower"], talib.MIN(low, n), n)
    close_to(ours["channel.middle"], (talib.MAX(high, n) + talib.MIN(low, n)) / 2, n)
    close_to(ours["trend.plus"], talib.PLUS_DI(high, low, close, n), n + 1)
    close_to(ours["trend.minus"], talib.MINUS_DI(high, low, close, n), n + 1)
    close_to(ours["trend.adx"], talib.ADX(high, low, close, n), 2 * n)
    flat = talib.MAX(high, n) == talib.MIN(low, n)
    k = np.where(flat, 50.0, talib.STOCHF(high, low, close, n, 1)[0])
    close_to(ours["place.k"], k, n)
    close_to(ours["place.d"], talib.SMA(k, 3), n + 2)
    middle, reach = talib.EMA(close, n), talib.ATR(high, low, close, n)
    close_to(ours["envelope.middle"], middle, n + 1)
    close_to(ours["envelope.upper"], middle + 1.5 * reach, n + 1)
    close_to(ours["envelope.lower"], middle - 1.5 * reach, n + 1)
    # where prices differ by a rounding, TA-Lib divides that by itself
    deviating = talib.MAX(price, n) - talib.MIN(price, n) > 2.0**-50 * talib.MAX(price, n)
    close_to(ours["commodity"], np.where(deviating, talib.CCI(high, low, close, n), 0.0), n, within=1e-6)
    ever = talib.OBV(close, volume)
    close_to(ours["balance"], np.append(np.full(n, np.nan), ever[n:] - ever[:-n]), n + 1, within=1e-6)
    windows = np.lib.stride_tricks.sliding_window_view
    closes, amounts, prices = (windows(column, n) for column in (close, volume, price))
    before = np.full(n - 1, np.nan)
    sigma = closes.std(axis=1)
    score = np.divide(
        closes[:, -1] - closes.mean(axis=1), sigma, np.zeros_like(sigma), where=np.ptp(closes, axis=1) > 0
    )
    close_to(ours["deviation"], np.append(before, sigma), n, within=1e-7)
    close_to(ours["score"], np.append(before, score), n, within=1e-7)
    amount = amounts.sum(axis=1)
    paid = np.divide((amounts * prices).sum(axis=1), amount, prices[:, -1].copy(), where=amount > 0)
    close_to(ours["paid"], np.append(before, paid), n)
    close_to(ours["paid_today"], of_days(price, volume), DAY + 1)


def of_days(price: Floats, volume: Floats) -> Floats:
    """Volume-weighted prices since midnight, of minutes that begin there."""
    found = np.empty(len(price))
    for first in range(0, len(price), DAY):
        day = slice(first, first + DAY)
        paid, amount = np.cumsum(price[day] * volume[day]), np.cumsum(volume[day])
        found[day] = np.divide(paid, amount, price[day].copy(), where=amount > 0)
    return found


def check_over(code: CompiledCode, values: Floats, n: int, m: int) -> None:
    ours = ran(code, values, n=n, m=m)
    _, high, low, close, volume = (np.ascontiguousarray(column) for column in values.T)
    strength = ours["strength"]
    close_to(ours["smooth"], talib.SMA(strength, m), n + m)
    line, _, histogram = talib.MACD(close, 3, n, m)
    close_to(ours["momentum"], talib.EMA(histogram, m), n + 2 * m - 2)
    close_to(ours["line"][n + m :], line[n + m :], 1)
    bands = talib.BBANDS(talib.EMA(strength, 3), m, 2.0, 2.0)
    for name, band in zip(("upper", "middle", "lower"), bands, strict=True):
        close_to(ours[f"bands.{name}"], band, n + m + 2, within=1e-5)
    close_to(ours["lower"], talib.BBANDS(strength, m, 2.0, 2.0)[2], n + m, within=1e-5)
    close_to(ours["change"], talib.ROC(talib.SMA(talib.WMA(close, 3), 4), m), m + 6)
    ever = talib.OBV(close, volume)
    balance = np.append(np.full(7, np.nan), np.round(ever[7:] - ever[:-7], 3))
    close_to(ours["balance"], talib.RSI(balance, n), n + 8, within=1e-5)
    close_to(ours["channel"], talib.MAX(talib.MIN(low, 3), m), m + 2)
    windows = np.lib.stride_tricks.sliding_window_view
    paid = windows(of_days((high + low + close) / 3, volume)[DAY:], m).mean(axis=1)
    close_to(ours["paid"][DAY:], np.append(np.full(m - 1, np.nan), paid), m)
    places = windows(talib.STOCHF(high, low, close, n, 3)[1][n + 1 :], m)
    sigma = places.std(axis=1)
    sure = np.flatnonzero(sigma > 1e-6)  # the rest is rounding by rounding
    score = (places[:, -1] - places.mean(axis=1))[sure] / sigma[sure]
    close_to(ours["score"][n + m :][sure], score, 1, within=1e-5)


@pytest.mark.parametrize("n", [2, 14, 100])
def test_blocks_equal_ta_lib_or_plain_numpy_on_recorded_minutes(
    code: CompiledCode, shared_data: Path, n: int
) -> None:
    check(code, recorded(shared_data, 20_000), n)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(4, 40), m=st.integers(2, 30))
def test_blocks_over_other_blocks_equal_ta_lib_over_its_own(
    over: CompiledCode, seed: int, n: int, m: int
) -> None:
    check_over(over, wander(seed, 2 * DAY, 0.0), n, m)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 40), still=st.sampled_from([0.0, 0.3, 0.9]))
def test_blocks_equal_ta_lib_or_plain_numpy_on_random_candles(
    code: CompiledCode, seed: int, n: int, still: float
) -> None:
    check(code, wander(seed, 2 * DAY, still), n)


def test_where_prices_stand_still_every_block_has_a_plain_value(code: CompiledCode) -> None:
    values = np.tile([97.1, 97.1, 97.1, 97.1, 0.0], (2 * DAY, 1))
    last = {name: float(column[-1]) for name, column in ran(code, values, n=7).items()}
    prices = (
        "average", "smooth", "bands.middle", "bands.upper", "bands.lower", "weighted", "least", "greatest",
        "channel.middle", "channel.upper", "channel.lower", "envelope.middle", "envelope.upper",
        "envelope.lower", "paid", "paid_today",
    )  # fmt: skip
    neutral = {"strength": 50.0, "place.k": 50.0, "place.d": 50.0}
    expected = dict.fromkeys(last, 0.0) | dict.fromkeys(prices, 97.1) | neutral
    assert last == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", ["code", "over"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 30),
    still=st.sampled_from([0.0, 0.5, 0.95]),
    later=st.integers(1, 3 * DAY),
)
def test_after_the_candles_that_it_needs_a_block_is_bit_for_bit_one_that_saw_all(
    request: pytest.FixtureRequest, name: str, seed: int, n: int, still: float, later: int
) -> None:
    code: CompiledCode = request.getfixturevalue(name)
    params: dict[str, object] = {"n": n, "slow": n + 5} if name == "code" else {"n": n + 3, "m": n}
    need = code.need(params)
    values = wander(seed, later + need + 200, still)
    whole, part = ran(code, values, **params), ran(code, values[later:].copy(), later, **params)
    for value in code.value_names:
        assert part[value][need:].tobytes() == whole[value][later + need :].tobytes(), value


def test_the_document_lists_all_blocks_and_how_many_candles_each_needs() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "blocks.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    given = {"n": 10, "d": 3, "slow": 26, "signal": 9}
    listed = {}
    for called, _, _, needs in rows:
        for call in re.findall(r"`(.*?)`", called):
            listed[call] = eval(re.sub(r"(\d) ", r"\1 * ", needs.strip()), given)  # noqa: S307 - of our own document
    blocks = [block for block in vars(blocks_module).values() if isinstance(block, Block)]
    assert listed == {
        f"{block.name}({', '.join(a for a in block.arguments if a != 'end')})": Indicator(
            block, block.arguments
        ).need(given)
        for block in blocks
    }


@pytest.mark.parametrize("name", ["wma", "adx", "stochastic", "day_vwap", "kernels_of_bars", "ends", "np."])
def test_a_strategy_holds_the_text_of_no_block_that_it_does_not_name(name: str, tmp_path: Path) -> None:
    """So that a new block leaves the code of all others as it was."""
    strategies = load_strategies(tmp_path)
    for code in strategies:
        assert name not in (tmp_path / f"{code.code_hash}.py").read_text()
