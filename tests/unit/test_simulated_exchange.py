"""The simulated exchange is a function of seed, market and venue time, however it is asked."""

import asyncio
import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange.simulated import (
    DAY_NS,
    MS_NS,
    START_NS,
    TRADES_A_DAY,
    SimulatedExchange,
    market,
    symbols,
    ticks,
)
from streams.events import MINUTE_NS, RowKind
from streams.journal import Reached
from streams.ticks import Ticks, concatenate

BTC = "BTC/USDT"
HOUR_NS = 60 * MINUTE_NS


def assert_same(one: Ticks, other: Ticks) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


STEP_S = 1 / 32


class HandClock:
    """Real time that moves only while somebody waits."""

    def __init__(self) -> None:
        self.s = 64.0

    def now(self) -> float:
        return self.s

    async def wait(self, seconds: float) -> None:
        self.s += STEP_S if seconds else 0


def run(names: list[str], reached: dict[str, Reached], *, end_ns: int, speed: float = 4096.0):
    """All slices up to `end_ns`, as deliveries."""

    async def collect():
        clock = HandClock()
        exchange = SimulatedExchange(speed=speed, end_ns=end_ns, now_s=clock.now, wait=clock.wait)
        markets = await exchange.markets(names, {})
        return [exchange.parse(raw) async for raw in exchange.messages(markets, reached)]

    return asyncio.run(collect())


@given(st.lists(st.integers(0, 3 * DAY_NS), min_size=2, max_size=5).map(sorted), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_pieces_of_any_size_are_the_whole(cuts, seed):
    cuts = [START_NS + cut for cut in cuts]
    pieces = [ticks(BTC, a, b, seed=seed) for a, b in itertools.pairwise(cuts)]
    assert_same(concatenate(pieces), ticks(BTC, cuts[0], cuts[-1], seed=seed))


def test_the_series_is_the_same_on_every_machine_and_in_every_version():
    made = ticks("ETH/USDT", START_NS + 40 * DAY_NS, START_NS + 41 * DAY_NS, seed=7)
    columns = b"".join(np.ascontiguousarray(c).tobytes() for c in made)
    assert hashlib.sha256(columns).hexdigest()[:12] == DIGEST


DIGEST = "1e1f36884308"


def test_ids_are_contiguous_and_times_in_order_across_days():
    made = ticks(BTC, 0, START_NS + 2 * DAY_NS - 1)
    np.testing.assert_array_equal(made.id, np.arange(2 * TRADES_A_DAY))
    assert (np.diff(made.time) >= 0).all()
    assert made.time[0] >= START_NS
    np.testing.assert_array_equal(made.time // DAY_NS - START_NS // DAY_NS, made.id // TRADES_A_DAY)


def test_nothing_was_traded_before_the_start():
    assert ticks(BTC, 0, START_NS - 1).rows == 0
    assert ticks(BTC, START_NS + 5, START_NS + 5).rows == 0


def test_there_are_empty_minutes_bursts_and_a_price_that_moves_but_does_not_jump():
    made = ticks(BTC, START_NS, START_NS + 2 * DAY_NS)
    counts = np.bincount((made.time - START_NS) // MINUTE_NS)
    assert 50 < (counts == 0).sum() < 800
    assert counts.max() > 8 * np.median(counts)
    moves = np.abs(np.diff(made.price)) / made.price[:-1]
    assert moves.max() < 0.01
    assert made.price.max() / made.price.min() > 1.01
    assert set(made.kind.tolist()) == {RowKind.BUY, RowKind.SELL}


@pytest.mark.parametrize("symbol", symbols(10))
def test_every_trade_fits_the_markets_specification(symbol):
    made, spec = ticks(symbol, START_NS, START_NS + DAY_NS), market(symbol)
    assert made.price.min() > 100 * spec.price_step
    assert made.size.min() >= spec.min_size
    assert int(made.price.max()) * int(made.size.max()) < 2**63


def test_markets_and_seeds_differ():
    end = START_NS + HOUR_NS
    prices = {ticks(s, START_NS, end, seed=n).price.tobytes() for s in symbols(3) for n in (0, 1)}
    assert len(prices) == 6


def test_there_is_no_end_of_markets():
    assert symbols(2) == ["BTC/USDT", "ETH/USDT"]
    many = symbols(300)
    assert len(set(many)) == 300 and many[-1] == "COIN300/USDT"


def test_it_has_markets_in_usdt_only():
    exchange = SimulatedExchange()
    found = asyncio.run(exchange.markets([BTC, "BTC/EUR", "/USDT", "BTCUSDT"], {}))
    assert [m.key for m in found] == ["sim:BTC/USDT"]


def test_slices_hold_all_trades_of_all_markets_in_the_order_of_time():
    deliveries = run(symbols(3), {}, end_ns=START_NS + HOUR_NS)
    assert len(deliveries) > 10
    rows = concatenate([d.ticks for d in deliveries])
    assert (np.diff(rows.time) >= 0).all()
    for index, symbol in enumerate(symbols(3)):
        mine = Ticks(*(c[rows.market == index] for c in rows))
        assert_same(mine._replace(market=mine.market * 0), ticks(symbol, START_NS, START_NS + HOUR_NS))


def test_each_slice_promises_its_end():
    deliveries = run([BTC], {}, end_ns=START_NS + HOUR_NS)
    clocks = [d.clock for d in deliveries]
    assert clocks == sorted(set(clocks)) and clocks[-1] == START_NS + HOUR_NS
    assert all((d.ticks.time <= d.clock).all() for d in deliveries)


def test_venue_time_is_real_time_times_the_speed():
    deliveries = run([BTC], {}, end_ns=START_NS + 5_500 * MS_NS, speed=1 / STEP_S)
    assert [(d.clock - START_NS) // MS_NS for d in deliveries] == [1000, 2000, 3000, 4000, 5000, 5500]


@given(cut_ms=st.integers(1, 3_600_000), within=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_a_restart_goes_on_with_the_next_trade(cut_ms, within):
    """Also when the journal holds some trades after the last promise."""
    end = START_NS + HOUR_NS
    cut = START_NS + cut_ms * MS_NS
    after = ticks(BTC, cut, end).take(slice(within))
    last_id = -1 if not after.rows else int(after.id[-1])
    deliveries = run([BTC], {"sim:BTC/USDT": Reached(cut, last_id)}, end_ns=end)
    rows = concatenate([ticks(BTC, START_NS - 1, cut), after, *(d.ticks for d in deliveries)])
    assert_same(rows, ticks(BTC, START_NS - 1, end))


def test_a_market_that_joins_later_begins_at_the_present():
    now = START_NS + HOUR_NS
    deliveries = run(symbols(2), {"sim:BTC/USDT": Reached(now, 5)}, end_ns=now + HOUR_NS)
    assert min(d.ticks.time.min() for d in deliveries if d.ticks.rows) > now


def test_a_speed_that_is_none_is_refused():
    with pytest.raises(ValueError, match="speed 0 is not above 0"):
        SimulatedExchange(speed=0)
