"""The journals that the measurements read: real trades with bots, many markets, many bots.

Recorded BitMEX trades of `../shared/data` when they are there, else those of the simulated exchange; for
longer journals repeated, shifted in time.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from msgspec import structs

from infra.exchange import simulated
from infra.strategies.registry import Strategies, load_strategies
from projections.fold.commands import code_check
from streams.codec import encode
from streams.events import Command, CreateBot, JournalEvent, Market, RowKind, RowMarket, Sizing
from streams.log import Log
from streams.records import Entry, Input
from streams.ticks import Ticks, pack
from streams.topics import JOURNAL
from tests.conftest import SHARED_DATA

TRADES = SHARED_DATA / "bitmex_XBTUSD_trades_20180101_20180102.parquet"
KERNELS = Path(__file__).resolve().parents[2] / ".cache" / "bench-kernels"
MS_NS = 1_000_000
DAYS_NS = 2 * 86_400_000_000_000
CASH = 10**10
ENTRIES_PER_APPEND = 200

BITMEX = Market(
    venue="bitmex",
    symbol="BTC/USD:BTC",
    base="BTC",
    quote="USD",
    settle="BTC",
    contract="inverse",
    price_scale=1,
    size_scale=0,
    cash_scale=8,
    price_step=5,
    size_step=1,
    min_size=1,
    closed="left",
    fee=75_000,
)
TWO_BOTS = (("sma_cross", {"fast": 7, "slow": 31}), ("rsi_reversion", {"n": 14, "low": 30.0, "high": 70.0}))
SOURCE = "bench"


def strategies() -> Strategies:
    return load_strategies(KERNELS)


def trades(times: int = 1) -> tuple[Market, Ticks]:
    """About half a million trades of two days, as often as asked for, each later by two days."""
    market, once = _recorded() if TRADES.exists() else _simulated()
    shifts = np.repeat(np.arange(times) * DAYS_NS, once.rows)
    market_column, kind, time, price, size, _ = (
        None if column is None else np.tile(column, times) for column in once
    )
    return market, Ticks(market_column, kind, time + shifts, price, size, None)  # type: ignore[arg-type]  # only ids are None


def _recorded() -> tuple[Market, Ticks]:
    table = pq.read_table(TRADES)
    size = table["size"].to_numpy()
    return BITMEX, Ticks(
        np.zeros(len(size), np.uint16),
        np.where(size > 0, RowKind.BUY, RowKind.SELL).astype(np.uint8),
        table["timestamp"].to_numpy() * MS_NS,
        np.rint(table["price"].to_numpy() * 10).astype(np.int64),
        np.abs(size).astype(np.int64),
        None,
    )


def _simulated() -> tuple[Market, Ticks]:
    symbol = simulated.symbols(1)[0]
    return simulated.market(symbol), simulated.ticks(
        symbol, simulated.START_NS, simulated.START_NS + DAYS_NS, seed=1
    )


def source() -> str:
    return "recorded BitMEX trades" if TRADES.exists() else "trades of the simulated exchange"


Row = tuple[str, JournalEvent]
"""A journal record to be: its market's key and its event."""


def batches(market: Market, ticks: Ticks, rows: int) -> Iterator[Row]:
    """The trades as records of so many rows."""
    table = [RowMarket(market.key, market.price_scale, market.size_scale)]
    for start in range(0, ticks.rows, rows):
        yield market.key, pack(table, ticks.take(slice(start, start + rows)))


def interleaved(market: Market, ticks: Ticks, markets: int, rows: int) -> tuple[list[Market], list[Row]]:
    """The trades dealt to so many markets of one partition in turn, as records of all of them."""
    many = [structs.replace(market, symbol=f"M{n}/USD:BTC") for n in range(markets)]
    dealt = ticks._replace(market=(np.arange(ticks.rows) % markets).astype(np.uint16))
    table = [RowMarket(m.key, m.price_scale, m.size_scale) for m in many]
    starts = range(0, ticks.rows, rows)
    return many, [(many[0].key, pack(table, dealt.take(slice(start, start + rows)))) for start in starts]


def create(market: Market, bot_id: int, name: str, params: dict, code: Strategies) -> Row:
    """A running bot on 1m with all its equity in each position."""
    code_hash = code.latest(name).code_hash
    return market.key, CreateBot(
        request=f"bench-{bot_id}",
        who="bench",
        at=0,
        bot_id=bot_id,
        market=market.key,
        timeframe="1m",
        strategy=name,
        code_hash=code_hash,
        code_check=code_check(name, code_hash),
        params=params,
        sizing=Sizing("equity", 1, 0),
        short=True,
        cash=CASH,
        cash_scale=market.cash_scale,
        start=True,
    )


def with_two_bots(market: Market, code: Strategies) -> list[Row]:
    """The head of a journal: the market, and two bots on it."""
    bots = [create(market, n, name, params, code) for n, (name, params) in enumerate(TWO_BOTS, 1)]
    return [(market.key, market), *bots]


def entries(rows: Iterable[Row], *, sequence: int = 0) -> Iterator[Entry]:
    """Journal records of partition 0, numbered from `sequence` on."""
    for key, event in rows:
        if isinstance(event, Command):
            entry = Input("", 0, 0, event)
        else:
            entry = Input(SOURCE, 1, sequence, event)
            sequence += 1
        yield Entry(JOURNAL, key.encode(), encode(entry), 1_514_764_800_000, 0)


def append(log: Log, rows: Iterable[Row], *, sequence: int = 0) -> int:
    """Write them to the log; how many records."""
    count = 0
    waiting = entries(rows, sequence=sequence)
    while some := list(islice(waiting, ENTRIES_PER_APPEND)):
        count += len(log.append(some, sync=False))
    return count
