"""Whether a collector that runs on and on keeps its memory, its descriptors and its tasks.

    python -m tests.venues.endurance hour     200 quiet symbols in real time
    python -m tests.venues.endurance days     20 markets, 48 hours at 1,000 times their pace, a fault a minute

A line a sample; at the end what is asked of it, and exit code 1 where that does not hold.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from infra.exchange.tasks import end
from tests.venues.apart import Apart, Clocks, Sample, SharedClock, apart
from tests.venues.binance import Binance
from tests.venues.faults import Fault, Heal
from tests.venues.playing import At
from tests.venues.scripts import KINDS
from tests.venues.trades import Frame, Trade

SAMPLES = 60
WARM = 0.15
"""Of the samples, so many are of a process that is still growing to its size."""
FLAT = 0.10
STILL = 24
"""After so many samples without a trade it is given up."""
HOUR_S = 3600
QUIET_SYMBOLS, QUIET_EVERY_S = 200, 60
DAYS_S, DAYS_SYMBOLS, DAYS_EVERY_S = 48 * 3600, 20, 10
PACE = 1800
"""The venue's time between faults. It stands while nobody is connected, so the whole comes to over 1,000."""
MOST = 10
"""Trades that a fault concerns."""


def names(count: int) -> list[str]:
    return [f"S{number:03}" for number in range(count)]


def listed(count: int) -> list[dict[str, object]]:
    return [Binance.instrument(name, "USDT") for name in names(count)]


def poisson(markets: int, every_s: float, start: int, seconds: int) -> Iterator[Trade]:
    """Trades of the markets by chance, one of each in about `every_s`, from `start` (ms) on; each has had one
    before."""
    chance, ids, at = random.Random(markets), dict.fromkeys(names(markets), 1), float(start)
    while (at := at + chance.expovariate(markets / every_s / 1000)) < start + seconds * 1000:
        name = chance.choice(list(ids))
        ids[name] += 1
        price, size = (
            f"{chance.randint(100, 999)}.{chance.randint(10, 99)}",
            f"0.{chance.randint(1, 99999):05}",
        )
        yield Trade(f"{name}USDT", str(ids[name]), int(at), price, size, chance.choice(("buy", "sell")))


async def sampled(collector: Apart, every_s: float, samples: list[Sample]) -> None:
    """A sample now and then, shown, until no trade comes any more."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(every_s)
        one = await collector.sample()
        samples.append(one)
        values = f"{one.rss_mb:8.1f} {one.descriptors:6d} {one.tasks:6d} {one.cpu_s:8.1f} {one.trades:9,d}"
        print(f"{time.monotonic() - began:7.0f} {values}", flush=True)
        if len(samples) > STILL and samples[-1 - STILL].trades == one.trades:
            return


async def hour(folder: Path, seconds: int = HOUR_S) -> tuple[list[Sample], int]:
    """200 symbols with a trade a minute each. Returns samples, and how many trades are missing."""
    async with Binance(listed(QUIET_SYMBOLS)) as venue:
        feeds = [f"binance:{name}/USDT" for name in names(QUIET_SYMBOLS)]
        async with apart(folder, [venue], feeds) as collector:
            for name in names(QUIET_SYMBOLS):
                await venue.watched(f"{name}USDT")
            start = int(time.time() * 1000)
            trades = poisson(QUIET_SYMBOLS, QUIET_EVERY_S, start, seconds)
            return await _played(venue, collector, venue.frames(trades), (), 1.0, seconds / SAMPLES)


def fault_a_minute(seconds: int) -> Iterator[tuple[At, Fault]]:
    """Of all kinds that lose nothing for good."""
    chance = random.Random(48)
    for minute in range(1, seconds // 60):
        kind = chance.choice([kind for kind in KINDS if kind != "burst"])
        for fault in (Heal(), *KINDS[kind](chance, MOST)):
            yield At(minute * 60_000), fault


async def days(folder: Path, seconds: int = DAYS_S) -> tuple[list[Sample], int]:
    """48 hours of 20 markets, each with a trade in ten seconds. Returns as `hour`."""
    start = 1_700_000_040_000
    async with Binance(listed(DAYS_SYMBOLS)) as venue:
        clocks = folder / "clocks"
        venue.clock = SharedClock(Clocks(clocks))
        venue.stand_at(start)
        venue.publish(
            Trade(f"{name}USDT", "1", start, "100.00", "1.00000", "buy") for name in names(DAYS_SYMBOLS)
        )
        frames = venue.frames(poisson(DAYS_SYMBOLS, DAYS_EVERY_S, start, seconds))
        feeds = [f"binance:{name}/USDT" for name in names(DAYS_SYMBOLS)]
        async with apart(folder, [venue], feeds, clocks=clocks, pace=PACE, impatient=True) as collector:
            for name in names(DAYS_SYMBOLS):
                await venue.watched(f"{name}USDT")
                await venue.asked_since_watched(f"{name}USDT")
            return await _played(venue, collector, frames, list(fault_a_minute(seconds)), PACE, 2.5)


async def _played(
    venue: Binance,
    collector: Apart,
    frames: Sequence[Frame],
    script: Sequence[tuple[At, Fault]],
    speed: float,
    every_s: float,
) -> tuple[list[Sample], int]:
    """One task alone asks the collector for samples: two would read each other's answers."""
    samples: list[Sample] = []
    print(f"{'s':>7s} {'MB':>8s} {'fds':>6s} {'tasks':>6s} {'cpu s':>8s} {'trades':>9s}")
    began_s, trades = time.monotonic(), sum(len(frame.trades) for frame in frames)
    sampling = asyncio.create_task(sampled(collector, every_s, samples))
    playing = asyncio.create_task(venue.play(frames, speed=speed, script=script))
    await asyncio.wait({sampling, playing}, return_when=asyncio.FIRST_COMPLETED)
    pace = (frames[-1].time - frames[0].time) / 1000 / (time.monotonic() - began_s)
    print(f"played at {pace:.0f} times their pace" if playing.done() else "not played to their end")
    while not sampling.done() and not (samples and samples[-1].trades >= trades):
        await asyncio.sleep(1)
    await end([sampling, playing])
    return samples, trades - samples[-1].trades


def flat(samples: Sequence[Sample]) -> list[str]:
    """What has grown, by the medians of the first and the last fifth behind the warm-up."""
    kept = samples[int(len(samples) * WARM) :]
    fifth = max(1, len(kept) // 5)
    grown: list[str] = []
    values: dict[str, Callable[[Sample], float]] = {
        "MB": lambda s: s.rss_mb, "descriptors": lambda s: s.descriptors, "tasks": lambda s: s.tasks,
    }  # fmt: skip
    for name, value in values.items():
        before, after = median(map(value, kept[:fifth])), median(map(value, kept[-fifth:]))
        told = f"{name}: {before:.1f} at first, {after:.1f} at last"
        print(told)
        if after > before * (1 + FLAT):
            grown.append(told)
    return grown


def main(kind: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        samples, missing = asyncio.run({"hour": hour, "days": days}[kind](Path(folder)))
        spent_s = time.monotonic() - began
        cpu_s = samples[-1].cpu_s - samples[0].cpu_s
        print(f"{spent_s:.0f} s, {100 * cpu_s / spent_s:.1f} % of a core, {missing} trades missing")
        grown = flat(samples)
    return "; ".join([*grown, *([f"{missing} trades are missing"] if missing else [])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)
