"""The product's collector in a process of its own, on fakes of this one: to be killed, and to be measured.

async with Binance() as venue, apart(folder, [venue], ["binance:BTC/USDT"]) as collector:
    await venue.watched("BTCUSDT")
    ...
    collector.kill()
    collector.start()
    (await collector.sample()).rss_mb
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import stamina

from infra.exchange.collector import DataCollector, Processed
from infra.exchange.venues import watching
from infra.exchange.venues.known import VENUES
from infra.exchange.venues.provider import VenueProvider
from infra.exchange.venues.venue import Venue
from streams.backends import open_log
from streams.journal import scan
from streams.ticks import is_trade
from tests.venues.authority import authority, trusting
from tests.venues.clock import VenueClock
from tests.venues.fake import FakeVenue
from tests.venues.resolving import connector_to
from tests.venues.unlimited import unlimited


class Clocks:
    """What the collector takes for the time, in a file that both processes have: the venue's clock, and how
    far its own that never goes back is moved on."""

    def __init__(self, file: Path) -> None:
        made = not file.exists()
        self._shared = np.memmap(file, np.float64, "w+" if made else "r+", shape=(4,))

    def tell(self, base: float, since: float, speed: float) -> None:
        self._shared[:3] = base, since, speed

    def pass_by(self, seconds: float) -> None:
        self._shared[3] += seconds

    def wall_ns(self) -> int:
        while True:
            base, since, speed, _ = seen = tuple(self._shared.tolist())
            if seen == tuple(self._shared.tolist()):
                return int((base + (time.monotonic() - since) * 1000 * speed) * 1_000_000)

    def now_s(self) -> float:
        return time.monotonic() + float(self._shared[3])


class SharedClock(VenueClock):
    """A venue's clock that the process of the collector sees."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        super().__init__()
        self.go(1.0)

    def go(self, speed: float, at: int | None = None) -> None:
        super().go(speed, at)
        self._clocks.tell(self._base, self._since, self._speed)


class Sample(NamedTuple):
    """Of the collector's process, now."""

    rss_mb: float
    descriptors: int
    tasks: int
    cpu_s: float
    trades: int
    """That it has appended since its start."""
    delays_ms: tuple[float, ...]
    """Of the trades since the last sample, from ccxt's receiving of the frame to the end of the append; only
    with `timed`."""
    ages_ms: tuple[float, ...]
    """Of the same, from the time that the trade bears, which is in whole ms."""


class _Reached(NamedTuple):
    """A fake as another process sees it."""

    name: str
    hosts: tuple[str, ...]
    port: int
    refused_names: list[str]


class Task(NamedTuple):
    """What a process of its own is told."""

    log_url: str
    venues: tuple[_Reached, ...]
    certificate: str
    feeds: tuple[str, ...]
    clocks: Path | None
    """None: real clocks."""
    pace: float
    """So many times as fast as the real one goes the clock that never goes back."""
    impatient: bool
    """What failed is tried again at once."""
    timed: bool
    options: dict[str, Any]
    """Of the provider."""


class Apart:
    def __init__(
        self,
        folder: Path,
        venues: Sequence[FakeVenue],
        feeds: Sequence[str],
        *,
        clocks: Path | None = None,
        pace: float = 1.0,
        impatient: bool = False,
        timed: bool = False,
        **options: Any,
    ) -> None:
        self.log_url = f"embedded://{folder}/log"
        self._venues = venues
        certificate = authority().cert_pem.bytes().decode()
        self._task = Task(
            self.log_url, (), certificate, tuple(feeds), clocks, pace, impatient, timed, options
        )

    def start(self) -> None:
        ours, theirs = _processes().Pipe()
        venues = tuple(_Reached(v.name, v.hosts, v.port, []) for v in self._venues)
        task = self._task._replace(venues=venues)
        self._process = _processes().Process(target=_collect, args=(task, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours

    def kill(self) -> None:
        """As `kill -9` does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    async def sample(self) -> Sample:
        self._pipe.send("sample")
        return await asyncio.to_thread(self._pipe.recv)


@asynccontextmanager
async def apart(
    folder: Path, venues: Sequence[FakeVenue], feeds: Sequence[str], **given: Any
) -> AsyncIterator[Apart]:
    collector = Apart(folder, venues, feeds, **given)
    await asyncio.to_thread(collector.start)
    try:
        yield collector
    finally:
        collector.kill()


@cache
def _processes() -> ForkServerContext:
    """Forked from one that has imported what takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.venues.apart", "ccxt.pro"])
    return context


# In the process of its own


PONG_S = 0.2
"""So many real seconds an answer over loopback may take, however fast clocks go."""


class _Unlimited(VenueProvider):
    """Where clocks go faster than real ones, limits that go by those are out of place: ccxt's own, and that
    of pages, whose waits are real."""

    def __init__(self, venue: Venue, **given: Any) -> None:
        often = unlimited(venue.name)
        often.pages_a_minute = 10**6
        super().__init__(often, **given)


class _Noting(VenueProvider):
    """It notes when each trade came."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.came: dict[tuple[str, int], float] = {}

    def arrived(self, line: Any, told: Any) -> None:
        flow = self._flows[told["symbol"]]
        self.came[flow.market.key, int(told["timestamp"])] = time.perf_counter()
        super().arrived(line, told)


class _Collector(DataCollector):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trades = 0
        self.came: dict[str, dict[tuple[str, int], float]] = {}
        self.delays_ms: list[float] = []
        self.ages_ms: list[float] = []

    def send_signal_to_bots(self, processed: Processed) -> Any:
        positions = super().send_signal_to_bots(processed)
        now, now_ns, came = time.perf_counter(), time.time_ns(), self.came.get(processed.provider)
        for partition, rows in processed.rows.items():
            live = rows.take(is_trade(rows.kind))
            self.trades += live.rows
            if came is not None:
                table = processed.tables[partition]
                for place, at in zip(live.market.tolist(), live.time.tolist(), strict=True):
                    seen = came.pop((table[place].key, at // 1_000_000), None)
                    if seen is not None:
                        self.delays_ms.append((now - seen) * 1000)
                        self.ages_ms.append((now_ns - at) / 1e6)
        return positions

    def sample(self) -> Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        rss_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        descriptors = len(os.listdir("/proc/self/fd"))
        delays, self.delays_ms = tuple(self.delays_ms), []
        ages, self.ages_ms = tuple(self.ages_ms), []
        cpu_s = time.process_time()
        return Sample(rss_mb, descriptors, len(asyncio.all_tasks()), cpu_s, self.trades, delays, ages)


def _collect(task: Task, pipe: Connection) -> None:
    stamina.set_testing(task.impatient, attempts=10**9)
    if task.pace > 1:
        watching.PONG_S = watching.PING_AGAIN_S = PONG_S * task.pace
    asyncio.run(_run(task, pipe))


async def _run(task: Task, pipe: Connection) -> None:
    with closing(open_log(task.log_url, partitions=1)) as log:
        collector = _Collector(log, scan(log, range(log.partitions)))
        kind = _Noting if task.timed else _Unlimited if task.impatient else VenueProvider
        for venue in task.venues:
            provider = kind(VENUES[venue.name], connector=_connector(task), **_clocks(task), **task.options)
            collector.register_provider(venue.name, provider)
            if isinstance(provider, _Noting):
                collector.came[venue.name] = provider.came

        def answer() -> None:
            try:
                pipe.recv()
                pipe.send(collector.sample())
            except (EOFError, OSError):
                os._exit(1)  # who started this is gone

        asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
        await collector.start_collection(task.feeds)


def _connector(task: Task) -> Callable[[], Any]:
    return lambda: connector_to(task.venues, trusting(task.certificate))


def _clocks(task: Task) -> dict[str, Callable[[], Any]]:
    if task.clocks is None:
        return {}
    clocks = Clocks(task.clocks)
    wall_ns = clocks.wall_ns
    return {"now_s": lambda: clocks.now_s() * task.pace, "steady_ns": wall_ns, "wall_ns": wall_ns}
