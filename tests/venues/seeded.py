"""A run from a seed: two markets of a venue under faults, the collector in a process of its own, which in a
third of the runs is killed; then its journal is judged.

A quiet third market is collected beside them. What is played is over midnight and no more than needed; the
clocks of the collector go with it, and go on while nothing happens.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from infra.upkeep.fresh_home import fold_home
from projections.audit.verify import verify
from projections.strategies.code import Strategies
from streams.backends import open_log
from streams.log import Log
from streams.snapshots import latest
from streams.topics import JOURNAL
from tests.venues.apart import Apart, Clocks, SharedClock
from tests.venues.fake import FakeVenue
from tests.venues.faults import Delisted, Fault
from tests.venues.judging import (
    Row,
    Seen,
    bars,
    first,
    folded,
    known,
    row_of,
    seen,
    wrong_bars,
    wrong_gaps,
    wrong_letters,
    wrong_rows,
)
from tests.venues.scripts import Maker, chosen_of, kinds_of, lost_of, seeded
from tests.venues.serve import VENUES
from tests.venues.trades import Trade

START = 1_700_006_400_000 - 10 * 60_000
"""In ms: ten minutes before a midnight."""
HOUR = 3_600_000
TRADES = 2_000
EARLIER = 30
"""Of each market, before anybody collects."""
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
PATIENT_S = 10.0**9
STUCK_S = 0.1
"""So long nothing happens, until clocks are moved on."""
STEP_S = 2.0
LIMIT_S = 120.0


@dataclass
class Outcome:
    venue: str
    seed: int
    kinds: list[str]
    killed: bool
    lost: bool
    trades: int = 0
    missing: int = 0
    spent_s: float = 0.0
    wrong: list[str] = field(default_factory=list[str])

    @property
    def title(self) -> str:
        return self.kinds[0] if len(set(self.kinds)) == 1 else "mixed"

    def __str__(self) -> str:
        more = [word for word, is_so in (("killed", self.killed), ("lost", self.lost)) if is_so]
        return f"{self.venue} seed {self.seed}: {', '.join([*self.kinds, *more])}"


@dataclass(frozen=True)
class Killed(Fault):
    """The collector is killed and started again; `away` trades happen meanwhile."""

    collector: Callable[[], Apart]
    away: int

    async def strike(self, venue: FakeVenue) -> None:
        collector = self.collector()
        collector.kill()
        while venue.connections:
            await asyncio.sleep(0.002)
        venue.pending.away = self.away
        await asyncio.to_thread(collector.start)


class Plan(NamedTuple):
    """What a seed says."""

    kinds: list[str]
    killed: bool
    lost: bool
    gap_wait_s: float
    script: list[tuple[int, Fault]]


def planned(kind: type[FakeVenue], seed: int, collector: Callable[[], Apart]) -> Plan:
    chance = random.Random(f"plan {seed}")
    kinds, killed, lost = kinds_of(kind), seed % 3 == 2, seed % 4 == 1
    away = chance.choice((5, 40, 300))

    def kill(_chance: random.Random, _most: int) -> list[Fault]:
        return [Killed(collector, away)]

    more: list[Maker] = [*([lost_of(kind)] if lost else []), *([kill] if killed else [])]
    script = seeded(seed, TRADES, kinds, more=more)
    return Plan(chosen_of(seed, kinds), killed, lost, chance.choice((PATIENT_S, PATIENT_S, 1.0)), script)


def market_ids(kind: type[FakeVenue]) -> list[str]:
    """Of `SYMBOLS`."""
    return [symbol.replace("/", "-" if kind.name == "okx" else "") for symbol in SYMBOLS]


def walk(chance: random.Random, market: str, count: int, start: int) -> Iterator[Trade]:
    """Trades of which many share their millisecond, with pauses; ids are dense."""
    at, cents = float(start), chance.randint(100_000, 9_000_000)
    for id in range(1, count + 1):
        at += 0 if chance.random() < 0.4 else chance.expovariate(1 / 2_500)
        at += chance.random() < 0.002 and chance.uniform(30_000, 150_000)
        cents = max(100, cents + chance.randint(-5, 5))
        price, size = f"{cents // 100}.{cents % 100:02}", f"0.{chance.randint(1, 99_999):05}"
        yield Trade(market, str(id), int(at), price, size, chance.choice(("buy", "sell")))


def one_run(venue: str, seed: int, strategies: Strategies) -> Outcome:
    """Play it and judge it; what is wrong is in the outcome."""
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(VENUES[venue], seed, Path(folder))
        began = time.monotonic()
        asyncio.run(run.play())
        with closing(open_log(run.collector.log_url)) as log:
            run.judge(log, strategies)
        run.outcome.spent_s = time.monotonic() - began
    return run.outcome


class _Run:
    def __init__(self, kind: type[FakeVenue], seed: int, folder: Path) -> None:
        self.kind, self.markets = kind, market_ids(kind)
        self.plan = plan = planned(kind, seed, lambda: self.collector)
        self.outcome = Outcome(kind.name, seed, plan.kinds, plan.killed, plan.lost)
        self.keys = [f"{kind.name}:{symbol}" for symbol in SYMBOLS]
        if any(isinstance(fault, Delisted) for _, fault in plan.script):
            self.keys.pop()  # what is delisted is promised nothing of
        chance = random.Random(f"trades {seed}")
        walks = [list(walk(chance, m, EARLIER + TRADES // 2, START)) for m in self.markets[:2]]
        before, quiet = walk(chance, self.markets[2], 2, START)
        earlier = [*(trade for each in walks for trade in each[:EARLIER]), before]
        self.earlier = [t._replace(time=START - 60_000 + int(t.id)) for t in earlier]
        self.trades = sorted((t for each in walks for t in each[EARLIER:]), key=lambda t: t.time)
        self.trades.insert(0, quiet._replace(time=self.trades[0].time))
        self.end = (self.trades[-1].time // HOUR + 1) * HOUR + 2_000
        self.folder, self.published = folder, list[Trade]()

    async def play(self) -> None:
        async with self.kind() as venue:
            self.venue, self.clocks = venue, Clocks(self.folder / "clocks")
            venue.clock = SharedClock(self.clocks)
            venue.publish(self.earlier)
            venue.stand_at(START)
            self.collector = Apart(
                self.folder,
                [venue],
                [f"{self.kind.name}:{symbol}" for symbol in SYMBOLS],
                clocks=self.folder / "clocks",
                impatient=True,
                gap_wait_s=self.plan.gap_wait_s,
            )
            await asyncio.to_thread(self.collector.start)
            try:
                async with asyncio.timeout(LIMIT_S), self._hurried():
                    await self._played()
            except TimeoutError:
                self.outcome.wrong.append(f"it did not come to its end in {LIMIT_S:.0f} s")
            finally:
                self.collector.kill()
                self.published = list(venue.published)

    async def _played(self) -> None:
        with closing(open_log(self.collector.log_url, partitions=1)) as log:
            self.log = log
            await self._until(lambda seen: all(key in seen and seen[key].promised for key in self.keys))
            frames = self.venue.frames(self.trades)
            await self.venue.play(frames, script=self.plan.script, rest_first=not self.kind.numbered)
            self.venue.rest_faults.clear()
            self.venue.stand_at(self.end)
            await self._until(self._is_settled)

    async def _until(self, condition: Callable[[dict[str, Seen]], bool]) -> None:
        """Until the journal says so."""
        looked = -1
        while True:
            if (highwater := self.log.highwater(JOURNAL, 0)) > looked:
                looked = highwater
                if condition(seen(self.log, self.kind.numbered)):
                    return
            await asyncio.sleep(0.02)

    def _is_settled(self, found: dict[str, Seen]) -> bool:
        """Everything is promised up to the end, and what is missing is missing for good."""
        whole = self.end - 2_000
        return all(
            found[key].promised >= whole * 1_000_000 and all(final for _, final in found[key].gaps)
            for key in self.keys
        )

    @asynccontextmanager
    async def _hurried(self) -> AsyncIterator[None]:
        """The collector's clock goes on while nothing happens."""

        async def hurry() -> None:
            happened = (0, 0)
            while True:
                await asyncio.sleep(STUCK_S)
                now = len(self.venue.published), len(self.venue.requests)
                if now == happened:
                    self.clocks.pass_by(STEP_S)
                happened = now

        task = asyncio.create_task(hurry())
        try:
            yield
        finally:
            task.cancel()

    # ------------------------------------------------------------ judging

    def judge(self, log: Log, strategies: Strategies) -> None:
        outcome = self.outcome
        fold_home(log, strategies)
        found, candles = seen(log, self.kind.numbered), folded(log)
        for place, market in enumerate(self.markets):
            key = f"{self.kind.name}:{SYMBOLS[place]}"
            mine = [row_of(t, self.kind.numbered) for t in self.published if t.market == market]
            if key in self.keys and key in found:
                self._judge_market(key, mine, found[key], candles.get(key, {}))
        outcome.wrong += first(wrong_letters(log))
        proven = verify(log, strategies, lambda partition: _stored(log, partition))
        if not (proven.equal and proven.proven):
            outcome.wrong.append(f"verify: {proven.difference or proven.damaged or 'nothing was compared'}")

    def _judge_market(self, key: str, published: list[Row], market: Seen, candles: dict[Any, Any]) -> None:
        outcome = self.outcome
        earlier = 1 if key.endswith(SYMBOLS[2]) else EARLIER
        has = known(market, published)
        collected, its = published[earlier:], has[earlier:]
        missing = its.count(False)
        outcome.trades += len(collected)
        outcome.missing += missing
        wrong = [*first(wrong_rows(market, published)), *first(wrong_gaps(market, collected, its))]
        if self.kind.numbered:
            hidden = {int(trade.id) for trade in self.venue.unasked if trade.market == _market(self, key)}
            lost = [row for row, is_known in zip(collected, its, strict=True) if not is_known]
            wrong += first(f"{row} is missing, and REST has it" for row in lost if row.id not in hidden)
        rows = [row for row, is_known in zip(published, has, strict=True) if is_known]
        if rows:
            gaps = [span for span, _ in market.gaps]
            wrong += first(wrong_bars(candles, bars(rows, gaps, (self.end - 2_000) * 1_000_000)))
        outcome.wrong += [f"{key}: {words}" for words in wrong]


def _market(run: _Run, key: str) -> str:
    return run.markets[SYMBOLS.index(key.partition(":")[2])]


def _stored(log: Log, partition: int) -> tuple[int, bytes] | None:
    snapshot = latest(log, partition, print)
    return (snapshot.applied, snapshot.state) if snapshot and snapshot.state else None


def mixed(venue: str, number: int) -> int:
    """The seed of a run with several kinds of faults, by its number."""
    return len(kinds_of(VENUES[venue])) + number
