"""Composition root of a worker: the engine and the projector as Faust agents, and feeds beside them."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.commands import BotManager
from infra.db.connect import database_at
from infra.db.projector import DatabaseSink
from infra.db.queries import statuses
from infra.db.schema import migrate_when_reachable
from infra.process import telemetry
from infra.process.bundled_redis import RedisServer
from infra.process.settings import Settings
from infra.strategies.registry import Strategies, load_strategies
from infra.worker.anchoring import anchoring
from infra.worker.fold_code import fold_code_hash
from infra.worker.forming import Forming
from infra.worker.measured import Folding, MeasuredFold
from projections.fold.pipeline import Pipeline
from streams.agents.app import make_app, run_worker
from streams.agents.engine import Engine
from streams.agents.projector import Projector
from streams.agents.watchdog import STALLED_S
from streams.backends import open_log
from streams.codec import encode
from streams.events import HaltBot, WorkerStarted, WorkerStopped
from streams.journal import command_entry, genesis_at
from streams.log import Log, LogError
from streams.records import Entry, Output
from streams.snapshots import latest
from streams.topics import DERIVED, JOURNAL, PROJECTED, SYSTEM

if TYPE_CHECKING:
    from infra.channels.mirror import Mirror

logger = logging.getLogger(__name__)

Feed = Callable[[], Coroutine[Any, Any, None]]
"""Runs beside the agents until it ends or is cancelled; what it raises ends the worker."""
FEED_STOP_S = 10.0


@dataclass(frozen=True)
class Progress:
    """How far a worker is: last offsets by journal partition, whether everything is projected, and whether
    it has its partitions."""

    applied: Mapping[int, int]
    caught_up: bool
    running: bool = False


class FeedError(RuntimeError):
    """A feed beside the worker failed; its cause is chained."""


def work(
    settings: Settings,
    *,
    feeds: Sequence[Feed] = (),
    until: Callable[[Progress], bool] | None = None,
    observe: Callable[[Progress], None] | None = None,
    redis: RedisServer | None = None,
    counting: bool = False,
    stalled_s: float = STALLED_S,
) -> Progress:
    """Fold, project and mirror in this process until `until` is true, or SIGINT or SIGTERM arrives.

    `feeds` run beside it in a thread of their own. `until` and `observe` are asked ten times a second. The
    database is migrated first; one that is away is waited for. `redis` is the bundled server, running, and
    started again whenever it ends; where it is None, the setting `redis_url` says which Redis is written to,
    and without it none is: the channels are then counted for the sockets, where `counting` says so, or left
    to the next mirror. A worker that stands still for `stalled_s` while records wait ends itself. Returns
    how far it was when last asked. Raises `LogError` when another process folds an embedded log, `FeedError`
    when a feed failed.
    """
    migrate_when_reachable(settings.database_url)
    log = open_log(settings.log_url, partitions=settings.partitions)
    try:
        worker = _Worker(settings, log)
        with (
            anchoring(log, settings.anchor),
            _mirroring(settings, log, redis, counting=counting) as mirror,
        ):
            worker.forming.show = mirror.show_forming if mirror is not None else None
            return worker.run(feeds, until, observe, stalled_s)
    finally:
        log.close()


@contextmanager
def _mirroring(
    settings: Settings, log: Log, server: RedisServer | None, *, counting: bool
) -> "Generator[Mirror | None]":
    """The mirror at work; None where there is neither a Redis nor anything to count for."""
    url = server.url if server else settings.redis_url
    if url is None and not counting:
        yield None
        return
    from infra.channels.mirror import Mirror  # noqa: PLC0415 - it loads a client of Redis

    mirror = Mirror(log, settings.database_url, url, server)
    mirror.start()
    try:
        yield mirror
    finally:
        mirror.stop()


def journal_ends(log: Log) -> dict[int, int]:
    """The offset that comes next, by journal partition."""
    return {p: log.highwater(JOURNAL, p) for p in range(log.partitions)}


def wait_caught_up(settings: Settings, log: Log, timeout_s: float, ends: Mapping[int, int]) -> bool:
    """Wait until the workers elsewhere have folded the journal before `ends` and projected what followed.

    False when they have not come any further for `timeout_s`. What goes on arriving meanwhile is not waited
    for.
    """
    sink = DatabaseSink(settings.database_url)
    try:
        return come_to(
            {(JOURNAL, p): end for p, end in ends.items()}, lambda: _folded(log), timeout_s
        ) and come_to(
            {(topic, p): log.highwater(topic, p) for topic in PROJECTED for p in range(log.partitions)},
            sink.positions,
            timeout_s,
        )
    finally:
        sink.close()


Places = Mapping[tuple[str, int], int]
"""Offsets by topic and partition."""


def come_to(ends: Places, reached: Callable[[], Places], timeout_s: float) -> bool:
    """Wait until all before `ends` is reached; False when nothing moved for `timeout_s`."""
    before: Places | None = None
    deadline = 0.0
    while any((now := reached()).get(place, -1) + 1 < end for place, end in ends.items()):
        if now != before:
            before, deadline = now, time.monotonic() + timeout_s
        elif time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _folded(log: Log) -> Places:
    """By journal partition, the last offset whose outputs are in the log."""
    found = {p: latest(log, p, logger.warning) for p in range(log.partitions)}
    return {(JOURNAL, p): snapshot.sent for p, snapshot in found.items() if snapshot is not None}


class _Worker:
    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings = settings
        self.log = log
        for partition in range(log.partitions):
            genesis_at(log, partition)
        self.epoch = time.time_ns() // 1_000_000
        self.strategies = load_strategies(settings.kernels, settings.strategies)
        bots = BotManager(log, self.strategies, who="worker")
        self.sink = DatabaseSink(settings.database_url, bots.update_bot_state)
        self.sink.check(log)
        self.database = database_at(settings.database_url)
        self.unchecked: dict[int, Pipeline] = {}
        """Pipelines whose bots have not been compared with today's strategy code."""
        self.forming = Forming()
        self.folding = Folding()
        self.progress = Progress({}, caught_up=False)
        self.journal_at_start = journal_ends(log)
        app = make_app(settings.log_url, worker=settings.worker, datadir=settings.faust)
        self.app = app
        self.engine = Engine(app, log, self._fold_of, epoch=self.epoch, code=fold_code_hash())
        self.projector = Projector(app, log, self.sink, PROJECTED)

    def run(
        self,
        feeds: Sequence[Feed],
        until: Callable[[Progress], bool] | None,
        observe: Callable[[Progress], None] | None,
        stalled_s: float,
    ) -> Progress:
        side = _Feeds(feeds)

        def tick() -> bool:
            self._halt_changed()
            self.forming.look()
            if until is None and observe is None:
                return side.failed
            self.progress = Progress(
                dict(self.engine.applied),
                # in this order: what is folded by now adds nothing to the derived streams
                self.engine.is_at_end() and self.projector.is_at_end(),
                bool(self.engine.applied) or self.app.unassigned,
            )
            if observe:
                observe(self.progress)
            return side.failed or bool(until and until(self.progress))

        self._notice(self._started())
        try:
            with side, telemetry.asked(self._gauges()):
                followers, doing = [self.engine, self.projector], self.folding.doing
                run_worker(self.app, self.log, followers, tick, doing=doing, stalled_s=stalled_s)
        finally:
            reason = "a feed failed" if side.failed else "stopped"
            self._notice(
                WorkerStopped(worker=self.settings.worker, epoch=self.epoch, at=time.time_ns(), reason=reason)
            )
            self.sink.close()
            self.database.dispose()
        side.check()
        return self.progress

    def _gauges(self) -> telemetry.Gauges:
        """What is asked for at a scrape, in another thread."""
        return {
            "tcpd_journal_lag_records": (
                "Journal records that are not folded yet, by partition of this worker.",
                "partition",
                lambda: self._lag({(JOURNAL, p): at for p, at in dict(self.engine.applied).items()}),
            ),
            "tcpd_projection_lag_records": (
                "Derived records that are not in the database yet, by partition of this worker.",
                "partition",
                lambda: self._lag(dict(self.projector.applied)),
            ),
            "tcpd_market_data_age_seconds": (
                "Since the newest record of the market was folded, by the journal's clock.",
                "market",
                lambda: telemetry.ages(dict(self.folding.newest)),
            ),
            "tcpd_open_gaps": (
                "Ranges of time in which trades of the market may be missing.",
                "market",
                lambda: {
                    key: len(market.gaps.open)
                    for pipeline in list(self.forming.pipelines.values())
                    for key, market in pipeline.view().markets.items()
                },
            ),
            "tcpd_bots": ("Bots in the database, by status.", "status", lambda: statuses(self.database)),
        }

    def _lag(self, applied: Mapping[tuple[str, int], int]) -> dict[str, float]:
        lags: dict[str, float] = {}
        for (topic, partition), at in applied.items():
            behind = self.log.highwater(topic, partition) - 1 - at
            lags[str(partition)] = lags.get(str(partition), 0) + max(0, behind)
        return lags

    def _fold_of(self, partition: int, state: bytes | None) -> MeasuredFold:
        pipeline = Pipeline(partition, self.strategies)
        if state is not None:
            pipeline.restore(state)
            self._check_journal(pipeline)
        self.unchecked[partition] = pipeline
        self.forming.pipelines[partition] = pipeline
        return MeasuredFold(pipeline, self.folding, self.forming.look)

    def _check_journal(self, pipeline: Pipeline) -> None:
        """Raises `LogError` where the journal is not the one that the snapshot was folded from."""
        last = pipeline.applied
        records = self.log.read(JOURNAL, pipeline.partition, last, last + 1) if last >= 0 else ()
        if any(not pipeline.ends_with(record) for record in records):
            place = f"{JOURNAL}:{pipeline.partition}:{pipeline.applied}"
            raise LogError(
                f"{self.log.url}: {place} is not the record that was folded: the journal was cut and written"
                " on, or altered. Restore it; or, to fold what it holds now, make a new home with"
                " `tcpdashboard replay --into DIR`"
            )

    def _halt_changed(self) -> None:
        """Once a partition is folded up to where it stood at the start: halt bots whose strategy changed.

        Until then they fold with the code that is recorded, from the archive; so history stays what it is.
        """
        for partition, pipeline in list(self.unchecked.items()):
            if pipeline.applied + 1 < self.journal_at_start[partition]:
                continue
            del self.unchecked[partition]
            entries = _changed(pipeline, self.strategies)
            if entries:
                self.log.append(entries)

    def _started(self) -> WorkerStarted:
        ends = self.log.ends((topic, p) for topic in DERIVED for p in range(self.log.partitions))
        return WorkerStarted(
            worker=self.settings.worker,
            epoch=self.epoch,
            at=time.time_ns(),
            ends={f"{topic}:{p}": end for (topic, p), end in ends.items() if end} or None,
        )

    def _notice(self, event: WorkerStarted | WorkerStopped) -> None:
        value = encode(Output(0, -1, (0,), (event,)))
        self.log.append([Entry(SYSTEM, event.worker.encode(), value, event.at // 1_000_000, 0)])


def _changed(pipeline: Pipeline, strategies: Strategies) -> list[Entry]:
    """Halts of the bots whose strategy's code is not the recorded one."""
    entries: list[Entry] = []
    for key, market in pipeline.view().markets.items():
        for bot in market.bots.values():
            try:
                today = strategies.latest(bot.strategy).code_hash
            except LookupError:
                today = "none"
            if not bot.steps or today == bot.code_hash:
                continue
            reason = (
                f"the code of {bot.strategy} is {today[:12]} today and was {bot.code_hash[:12]} when the bot "
                "was given it; start the bot again to accept today's"
            )
            request = f"strategy-changed:{bot.bot_id}:{bot.code_hash[:16]}:{today[:16]}:{pipeline.applied}"
            halt = HaltBot(
                request=request,
                who="worker",
                at=time.time_ns(),
                bot_id=bot.bot_id,
                reason=reason,
                code="strategy_changed",
            )
            entries.append(command_entry(halt, key, pipeline.partition, halt.at // 1_000_000))
    return entries


class _Feeds:
    """Feeds on an event loop of their own, so that a busy fold never delays a socket."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="feeds", daemon=True)
        self._running: list[Any] = []

    @property
    def failed(self) -> bool:
        return any(f.done() and not f.cancelled() and f.exception() is not None for f in self._running)

    def check(self) -> None:
        for future in self._running:
            error = None if future.cancelled() else future.exception()
            if error is not None:
                raise FeedError(str(error)) from error

    def __enter__(self) -> "_Feeds":
        self._thread.start()
        self._running = [asyncio.run_coroutine_threadsafe(feed(), self._loop) for feed in self._feeds]
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._running:
            future.cancel()
        for task in self._drain():
            logger.warning("feed %s did not end within %.0f s", task.get_name(), FEED_STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(FEED_STOP_S)
        self._loop.close()

    def _drain(self) -> set[asyncio.Task[Any]]:
        """Let cancelled feeds finish their last writes; those that did not in time."""

        async def rest() -> set[asyncio.Task[Any]]:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            if not tasks:
                return set()
            _, late = await asyncio.wait(tasks, timeout=FEED_STOP_S)
            return late

        with suppress(CancelledError):
            return asyncio.run_coroutine_threadsafe(rest(), self._loop).result()
        return set()
