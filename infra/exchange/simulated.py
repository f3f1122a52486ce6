"""A simulated exchange without a network: trades are a function of seed, market and venue time.

Nothing is carried from one trade to the next. Every random number is a hash of (seed, market,
purpose, counter), where the counter is a trade's id or the number of a stretch of time; so any
range can be made at any time, in pieces of any size, and is the same. Floats are only added,
subtracted, multiplied and divided, which every machine rounds alike.

*When*: every day has the same number of trades, and each minute its share by weights: quiet
stretches weigh nothing, bursts ten times the rest. So ids are contiguous, and found from the day
alone. *At what price*: noise of periods from five seconds to 262 days, each between hashed points
joined by straight lines, is added up; four times the period has twice the height, as in a random
walk, but within bounds.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infra.exchange.provider import DataProvider, Delivery
from streams.events import MINUTE_NS, Market, RowKind
from streams.journal import Reached
from streams.ticks import Ticks, concatenate

VENUE = "sim"
START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z: before it nothing was traded."""
MS_NS = 1_000_000
MINUTE_MS = MINUTE_NS // MS_NS
DAY_MINUTES = 1440
DAY_NS = DAY_MINUTES * MINUTE_NS
TRADES_A_DAY = 172_800
PRICES = {"BTC": 60_000, "ETH": 3_000, "SOL": 150, "XRP": 1, "ADA": 1, "DOGE": 1, "AVAX": 30, "LTC": 80}
"""Middle prices in USDT of the first markets; further ones are COIN9, COIN10, … at 10."""
WAIT_S = 0.02
AHEAD_NS = 10 * MINUTE_NS
"""Trades are made this far ahead of the venue's time, and a message spans no more."""

_PERIODS_MS = tuple(5_400 * 4**octave for octave in range(12))
_TALLEST = 0.35
_QUIET_MINUTES = 20


def symbols(count: int) -> list[str]:
    """The names of the first `count` markets."""
    known = [f"{base}/USDT" for base in PRICES]
    return (known + [f"COIN{n}/USDT" for n in range(len(known) + 1, count + 1)])[:count]


def market(symbol: str) -> Market:
    """The specification of a simulated market: spot, fee 10 bp, slippage 1 bp."""
    base, quote = symbol.split("/")
    return Market(
        venue=VENUE,
        symbol=symbol,
        base=base,
        quote=quote,
        settle=quote,
        contract="spot",
        price_scale=_price_scale(symbol),
        size_scale=5,
        cash_scale=8,
        price_step=1,
        size_step=1,
        min_size=10,
        fee=100_000,
        slippage=10_000,
    )


def ticks(symbol: str, start_ns: int, end_ns: int, *, seed: int = 0) -> Ticks:
    """All trades of a market with start_ns < time ≤ end_ns, in order; `market` is 0 in every
    row."""
    start_ns = max(start_ns, START_NS - 1)
    days = range(start_ns // DAY_NS, end_ns // DAY_NS + 1) if start_ns < end_ns else range(0)
    parts = [_trades_of_day(symbol, seed, day, start_ns, end_ns) for day in days]
    ids = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
    time_ms = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
    buys = _hash(_key(seed, symbol, "side"), ids) & np.uint64(1)
    units = _level(symbol, seed, time_ms) * (_middle(symbol) * 10 ** _price_scale(symbol))
    return Ticks(
        np.zeros(len(ids), np.uint16),
        np.where(buys, RowKind.BUY, RowKind.SELL).astype(np.uint8),
        time_ms * MS_NS,
        np.floor(units).astype(np.int64) + buys.astype(np.int64),
        _sizes(symbol, seed, ids),
        ids,
    )


def _middle(symbol: str) -> int:
    return PRICES.get(symbol.split("/", maxsplit=1)[0], 10)


def _price_scale(symbol: str) -> int:
    return 2 if _middle(symbol) >= 100 else 4


def _trades_of_day(
    symbol: str, seed: int, day: int, start_ns: int, end_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and times (ms) of the trades of a day (since 1970) with start_ns < time ≤ end_ns.

    The n trades of a minute stand one in each n-th of it.
    """
    first = _first_of_minutes(symbol, seed, day)
    low = max(0, (start_ns - day * DAY_NS) // MINUTE_NS)
    high = min(DAY_MINUTES - 1, (end_ns - day * DAY_NS) // MINUTE_NS)
    counts = np.diff(first[low : high + 2])
    minute = np.repeat(np.arange(low, high + 1), counts)
    number = np.arange(first[low], first[high + 1])
    ids = (day - START_NS // DAY_NS) * TRADES_A_DAY + number
    place = (_hash(_key(seed, symbol, "time"), ids) >> np.uint64(48)).astype(np.int64)
    place += (number - first[minute]) << 16
    count = np.repeat(counts, counts)
    time_ms = (day * DAY_MINUTES + minute) * MINUTE_MS + place * MINUTE_MS // (count << 16)
    rows = slice(*np.searchsorted(time_ms, [start_ns // MS_NS, end_ns // MS_NS], side="right"))
    return ids[rows], time_ms[rows]


@lru_cache(maxsize=256)
def _first_of_minutes(symbol: str, seed: int, day: int) -> NDArray[np.int64]:
    """Shape (1441,): for each minute of a day, how many of the day's trades are before it."""
    minutes = np.arange(day * DAY_MINUTES, (day + 1) * DAY_MINUTES)
    weights = 50 + (_uniform(_key(seed, symbol, "weight"), minutes) * 100).astype(np.int64)
    weights[_uniform(_key(seed, symbol, "burst"), minutes) < 0.02] *= 10
    stretch = _uniform(_key(seed, symbol, "stretch"), minutes // _QUIET_MINUTES)
    weights[(stretch < 0.1) & (_uniform(_key(seed, symbol, "quiet"), minutes) < 0.7)] = 0
    before = np.concatenate([[0], np.cumsum(weights)])
    return TRADES_A_DAY * before // before[-1]


def _level(symbol: str, seed: int, time_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """The price at given times in units of the middle price, between 0.3 and 1.7."""
    level = np.ones(len(time_ms))
    for octave, period in enumerate(_PERIODS_MS if len(time_ms) else ()):
        key = _key(seed, symbol, f"price {period}")
        point = time_ms // period
        points = np.arange(point[0], point[-1] + 2)
        heights = (_uniform(key, points) * 2 - 1) * (_TALLEST / 2 ** (len(_PERIODS_MS) - 1 - octave))
        left, right = heights[point - points[0]], heights[point - points[0] + 1]
        level += left + (right - left) * ((time_ms - point * period) / period)
    return level


def _sizes(symbol: str, seed: int, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """In 1e-5 of the base currency: mostly small, a few fifty times that."""
    some = 10_000_000 / _middle(symbol)
    spread = _uniform(_key(seed, symbol, "size"), ids)
    return 10 + np.floor(some / (spread + 0.02)).astype(np.int64)


def _key(seed: int, symbol: str, purpose: str) -> np.uint64:
    digest = blake2b(f"{seed}:{symbol}:{purpose}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _hash(key: np.uint64, counter: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 random bits for each counter: SplitMix64 (Steele, Lea, Flood 2014) started at `key`."""
    z = counter.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform(key: np.uint64, counter: NDArray[np.int64]) -> NDArray[np.float64]:
    """In [0, 1), for each counter."""
    return (_hash(key, counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Slice(NamedTuple):
    """A message of the simulated exchange: the trades of its markets up to `until` (ns)."""

    until: int
    trades: dict[str, Ticks]


class SimulatedExchange(DataProvider):
    """A `DataProvider` whose venue time runs at `speed` × real time, from where the journal is.

    It ends at `end_ns`, or never. `now_s` and `wait` are the real clock, which tests move by hand.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        speed: float = 1.0,
        end_ns: int | None = None,
        now_s: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed {speed} is not above 0")
        self._seed, self._speed, self._end_ns = seed, speed, end_ns
        self._now_s, self._wait = now_s, wait

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        """Any BASE/USDT has a market."""
        return [market(s) for s in symbols if s.endswith("/USDT") and s.count("/") == 1 and s[0] != "/"]

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Slice, None]:
        """Slices without end, the first from the latest time that any market has reached."""
        latest = Reached(max((reached[m.key].time for m in markets if m.key in reached), default=0))
        start = at = max(latest.time, START_NS)
        feeds = [_Feed(m.symbol, self._seed, reached.get(m.key, latest)) for m in markets]
        began_s = self._now_s()
        while self._end_ns is None or at < self._end_ns:
            due = start + int((self._now_s() - began_s) * self._speed * 1e9) // MS_NS * MS_NS
            if self._end_ns is not None:
                due = min(due, self._end_ns)
            if at < due:
                at = min(due, at + AHEAD_NS)
                yield Slice(at, {feed.symbol: feed.until(at) for feed in feeds})
            await self._wait(WAIT_S if at == due else 0)

    def parse(self, raw: Slice) -> Delivery:
        """The trades of all markets in the order of their times."""
        parts = [
            part._replace(market=np.full(part.rows, index, np.uint16))
            for index, part in enumerate(raw.trades.values())
        ]
        ticks = concatenate(parts)
        order = np.argsort(ticks.time, kind="stable")
        keys = tuple(f"{VENUE}:{symbol}" for symbol in raw.trades)
        return Delivery(keys, ticks.take(order), clock=raw.until)


class _Feed:
    """One market's trades after what was delivered; made some minutes ahead, handed out by time."""

    def __init__(self, symbol: str, seed: int, reached: Reached) -> None:
        self.symbol, self._seed = symbol, seed
        self._made_until = reached.time
        self._ticks = ticks(symbol, 0, 0)
        self._last_id = reached.id

    def until(self, time_ns: int) -> Ticks:
        if time_ns > self._made_until:
            made = ticks(self.symbol, self._made_until, time_ns + AHEAD_NS, seed=self._seed)
            known = int(np.searchsorted(made.id, self._last_id, side="right"))
            self._ticks = concatenate([self._ticks, made.take(slice(known, None))])
            self._made_until = time_ns + AHEAD_NS
        rows = int(np.searchsorted(self._ticks.time, time_ns, side="right"))
        now, self._ticks = self._ticks.take(slice(rows)), self._ticks.take(slice(rows, None))
        return now
