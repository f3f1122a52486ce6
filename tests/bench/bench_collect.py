"""What one collecting process bears: the product's clients on fake exchanges, which are in this process.

Run by `python -m tests.bench.bench_collect`. *Receipt* is from ccxt's handling of a frame to the end of the
synced append; *venue* from the time that the trade bears (whole ms), so that also what waits in the socket
counts, and how late the fake is. Both processes share the machine: `%` and `µs/trade` are the collector's own
processor time, `fake %` is that of this process.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from tests.bench.timing import load
from tests.conftest import SHARED_DATA
from tests.venues.apart import Apart, Sample, apart
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.endurance import listed, names, poisson
from tests.venues.fake import FakeVenue
from tests.venues.faults import REST, Cut, Down, Fault, Refuse
from tests.venues.recorded import BINANCE_TRADES, binance_trades
from tests.venues.trades import Frame, Trade, made

WARM_S = 10
"""So long is played before anything counts."""
FAST_MARKETS, FAST_RATE, FAST_S = 20, 10_000, 15
QUIET_MARKETS, QUIET_EVERY_S, QUIET_S = 200, 60, 60
BESIDE_RATE, BESIDE_S = 1_000, 10
BEHIND_S = 30
"""So long a collector is waited for."""
BASES = ("BTC", "ETH", "SOL")

ALL = (*REST, "socket")
TROUBLES: Mapping[str, Sequence[Fault]] = {
    "down": [Down()],
    "503": [Refuse(ALL, None, status=503), Cut()],
    "418, 120 s": [Refuse(ALL, None, status=418, retry_after=120), Cut()],
}


class Seen(NamedTuple):
    """Of the trades behind the warm-up; shares are of a core."""

    rate: float
    share: float
    fake_share: float
    receipt_ms: Sequence[float]
    venue_ms: Sequence[float]

    def show(self, name: str) -> None:
        (a, b), (c, d) = (np.percentile(ms, (50, 99)) for ms in (self.receipt_ms, self.venue_ms))
        times = f"{a:6.1f} {b:7.1f} {c:8.1f} {d:7.1f}"
        cpu = f"{100 * self.share:7.1f} {self.share / self.rate * 1e6:9.0f} {100 * self.fake_share:7.0f}"
        print(f"{name:28s} {self.rate:9,.0f} {times} {cpu} {load():6.1f}", flush=True)


def headline() -> None:
    print(f"{'':28s} {'':9s} {'receipt':>14s} {'venue':>16s}")
    times = f"{'p50 ms':>6s} {'p99 ms':>7s} {'p50 ms':>8s} {'p99 ms':>7s}"
    print(f"{'':28s} {'trades/s':>9s} {times} {'%':>7s} {'µs/trade':>9s} {'fake %':>7s} {'load':>6s}")


def dense(bases: Sequence[str], rate: int, seconds: int) -> Iterator[Trade]:
    """Recorded prices, sizes and sides, on each market in turn."""
    recorded = (SHARED_DATA / BINANCE_TRADES).exists()
    trades = cycle(binance_trades(SHARED_DATA) if recorded else made("", 20_000))
    for number in range(rate * seconds):
        turn, place = divmod(number, len(bases))
        market, at = Binance.pair(bases[place]), number * 1000 // rate
        yield next(trades)._replace(market=market, id=str(turn + 1), time=at)


def from_now(venue: FakeVenue, trades: Iterator[Trade]) -> Iterator[Frame]:
    """In frames of their own, moved in time so that the first is of when it is taken."""
    first = next(trades)
    moved = int(time.time() * 1000) - first.time
    for trade in chain((first,), trades):
        yield from venue.frames([trade._replace(time=trade.time + moved)])


@asynccontextmanager
async def collecting(markets: Mapping[FakeVenue, Sequence[str]]) -> AsyncIterator[Apart]:
    """A process that watches these bases against USDT."""
    feeds = [f"{venue.name}:{base}/USDT" for venue, bases in markets.items() for base in bases]
    with TemporaryDirectory() as folder:
        async with apart(Path(folder), list(markets), feeds, timed=True) as collector:
            for venue, bases in markets.items():
                for base in bases:
                    await venue.watched(venue.pair(base))
            yield collector


async def measured(collector: Apart, venue: FakeVenue, trades: Iterator[Trade]) -> Seen:
    """Plays the trades in their time, and waits until all are in the journal."""
    older = len(venue.published)
    playing = asyncio.create_task(venue.play(from_now(venue, trades), speed=1.0))
    await asyncio.sleep(WARM_S)
    first, began, fake_s = await collector.sample(), time.monotonic(), time.process_time()
    await playing
    fake_share = (time.process_time() - fake_s) / (time.monotonic() - began)
    samples = await all_taken(collector, len(venue.published) - older)
    spent, last = time.monotonic() - began, samples[-1]
    return Seen(
        (last.trades - first.trades) / spent,
        (last.cpu_s - first.cpu_s) / spent,
        fake_share,
        [delay for sample in samples for delay in sample.delays_ms],
        [age for sample in samples for age in sample.ages_ms],
    )


async def all_taken(collector: Apart, trades: int) -> list[Sample]:
    """Raises `TimeoutError`."""
    samples = [await collector.sample()]
    async with asyncio.timeout(BEHIND_S):
        while samples[-1].trades < trades:
            await asyncio.sleep(0.05)
            samples.append(await collector.sample())
    return samples


async def fast() -> None:
    bases = names(FAST_MARKETS)
    async with Binance(listed(FAST_MARKETS)) as venue, collecting({venue: bases}) as collector:
        seen = await measured(collector, venue, dense(bases, FAST_RATE, WARM_S + FAST_S))
    seen.show(f"binance, {FAST_MARKETS} markets")


async def quiet() -> None:
    """Markets that have begun: with the page behind their newest trade, which takes some two minutes."""
    bases = names(QUIET_MARKETS)
    async with Binance(listed(QUIET_MARKETS)) as venue:
        before = int(time.time() * 1000) - QUIET_EVERY_S * 1000
        venue.publish(made(venue.pair(base), 1, start=before)[0] for base in bases)
        async with collecting({venue: bases}) as collector:
            for base in bases:
                await venue.asked_since_watched(venue.pair(base))
            trades = poisson(QUIET_MARKETS, QUIET_EVERY_S, 0, WARM_S + QUIET_S)
            seen = await measured(collector, venue, trades)
    seen.show(f"binance, {QUIET_MARKETS} quiet markets")


async def bybit(name: str, faults: Sequence[Fault] = ()) -> Seen:
    """Alone; with `faults` beside a Binance that they struck."""
    async with Binance() as other, Bybit() as venue:
        markets: dict[FakeVenue, Sequence[str]] = {venue: BASES}
        if faults:
            markets[other] = BASES
        async with collecting(markets) as collector:
            for fault in faults:
                await other.strike(fault)
            seen = await measured(collector, venue, dense(BASES, BESIDE_RATE, WARM_S + BESIDE_S))
    seen.show(name)
    return seen


async def beside() -> None:
    """Alone before and after, for a machine that changes."""
    before = await bybit("bybit alone")
    struck = [(name, await bybit(f"beside binance: {name}", faults)) for name, faults in TROUBLES.items()]
    after = await bybit("bybit alone, again")
    alone = float(np.percentile([*before.receipt_ms, *after.receipt_ms], 99))
    ratios = [f"{name} {np.percentile(seen.receipt_ms, 99) / alone:.2f}" for name, seen in struck]
    print(f"p99 of receipt by that of bybit alone: {'; '.join(ratios)}")


def main() -> None:
    headline()
    for run in (fast, quiet, beside):
        asyncio.run(run())


if __name__ == "__main__":
    main()
