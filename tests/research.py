"""Runs and fills for tests of research, made by the fold's own money."""

from collections.abc import Iterable, Sequence

import numpy as np

from projections.fold.money import Account, trade
from projections.research.gather import gather
from projections.research.run import Prepared
from projections.research.statistics import Curve
from streams.events import JournalEvent, Market
from tests.journal import batch, records, spot

MINUTE = 60_000_000_000
START = 1_546_300_800_000_000_000
"""A midnight: 2019-01-01."""
INITIAL = 10**9
FIELDS = (
    "time",
    "buy",
    "price",
    "size",
    "fee",
    "realised",
    "position",
    "cost",
    "cash",
    "opens",
    "closes",
    "offset",
    "row",
    "bar",
    "era",
)
FILL = np.dtype([(name, np.int64) for name in FIELDS])

SPOT = Market(
    venue="test", symbol="X/Y", base="X", quote="Y", settle="Y", contract="spot",
    price_scale=0, size_scale=0, cash_scale=2, price_step=1, size_step=1, min_size=1, fee=1_000_000,
)  # fmt: skip
INVERSE = Market(
    venue="test", symbol="B/U:B", base="B", quote="U", settle="B", contract="inverse",
    price_scale=1, size_scale=0, cash_scale=8, price_step=5, size_step=1, min_size=1, fee=75_000,
)  # fmt: skip


def curve(equity: Sequence[int], step: int = MINUTE, initial: int = INITIAL) -> Curve:
    """A run of this equity at the end of each bar, always without a position, at a price of 1."""
    n = len(equity)
    ends = START + step * np.arange(1, n + 1, dtype=np.int64)
    return Curve(
        ends, np.ones(n, np.int64), np.array(equity, np.int64), np.zeros(n, np.int64), initial, START
    )


def fills_of(market: Market, account: Account, trades: Iterable[tuple[bool, int, int]]) -> np.ndarray:
    """The fills of these trades (buy, size, price), one a minute."""
    rows: list[tuple[int, ...]] = []
    trips = 0
    for i, (buy, size, price) in enumerate(trades):
        before = account.position
        account, fee, realised = trade(market, account, size, price, buy=buy)
        crossed = before * account.position <= 0
        closes = trips if before and crossed else 0
        trips += bool(account.position and crossed)
        opens = trips if account.position and crossed else 0
        money = (fee, realised, account.position, account.cost, account.cash)
        rows.append((START + i * MINUTE, buy, price, size, *money, opens, closes, 0, i, i, 0))
    return np.array(rows, FILL)


BTC = spot()


def walked(minutes: int, *then: JournalEvent, market: Market = BTC, seed: int = 3) -> Prepared:
    """A market whose price walks, four trades a minute, and what comes then."""
    chance = np.random.default_rng(seed)
    prices = np.maximum(500 + np.cumsum(chance.integers(-2, 3, 4 * minutes)), 100).tolist()
    ticks = [(15 * i + 7, price, 1_000) for i, price in enumerate(prices)]
    hours = [batch(market, ticks[at : at + 240]) for at in range(0, len(ticks), 240)]
    journal = records([(market.key, event) for event in (market, *hours, *then)])
    return Prepared(gather(journal, market.key, ["1m"], ())[0])
