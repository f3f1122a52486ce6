"""The mirror: derived events → numbered messages → Redis.

    derived streams ─ read ─► repeats hidden ─► seq by channel ─► database (seq, snapshots, positions: one
    transaction) ─► Redis (messages and snapshot: one step)

It reads the log like any reader, all partitions in one thread, since channels span them; a record is read
only when the log has acknowledged it. What is counted is in the database before it is published: a crash
between the two costs nothing, since at every connection each channel is compared with its snapshot in Redis,
and what is missing there is read again from the log. So Redis may be gone for as long as it likes.

Of several mirrors on one database one counts; the others fail at their first write, stand by, and take over
when no more is counted. Each publishes the forming candles of its own worker.

Why: ADR 10.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import groupby, islice

import msgspec
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError

from infra.channels.forming import FormingPublisher
from infra.channels.messages import SYSTEM_EVENTS, Snapshot, lost_body
from infra.channels.publisher import NONE, Batch, Publisher
from infra.channels.reader import Message, messages_since, publications_of
from infra.channels.store import ChannelStore, Counted, OvertakenError, Run
from infra.db.projector import Place, Reached
from infra.process import telemetry
from infra.process.bundled_redis import RedisServer, RedisServerError
from infra.process.errors import one_line
from streams.agents.app import ending_process
from streams.background import Background
from streams.events import Candle
from streams.log import Log, LogError
from streams.records import Record
from streams.topics import PROJECTED

logger = logging.getLogger(__name__)

RUN_MESSAGES = 1_000
RUN_RECORDS = 5_000
"""A reader that comes back reads at most so many records in vain before the first that it wants."""
IDLE_S = 0.05
RETRY_S = 0.5
QUIET_S = 30.0
"""A failure that lasts is told so often."""
CHECK_S = 1.0
STANDBY_S = 5.0
STANDBY_STEP_S = 0.1
DRAIN_S = 3.0
CATCH_UP_MESSAGES = 500


class Mirror:
    """The mirror of one worker, in a thread of its own.

    `server` is the bundled one, started again when it has ended; None for a Redis by URL. `applied` is how
    far it has counted, by (topic, partition), and may be read from any thread.
    """

    def __init__(
        self, log: Log, database_url: str, redis_url: str | None, server: RedisServer | None = None
    ) -> None:
        """`redis_url` None: it counts for the sockets, and publishes nowhere. Raises `SchemaError`."""
        self.applied: dict[Place, int] = {}
        self._log = log
        self._store = ChannelStore(database_url)
        self._redis_url = redis_url
        self._server = server
        self._publisher: Publisher | None = None
        self._levelled = False
        self._retry_at = 0.0
        self._heard_at = 0.0
        self._published: dict[str, tuple[int, bytes]] = {}
        """By channel, what Redis took last."""
        self._loaded: dict[str, tuple[int, bytes]] = {}
        """By channel, what was counted at first: Redis took it from an earlier mirror, or may have."""
        self._lost: list[tuple[str, bytes]] = []
        self._forming = FormingPublisher(redis_url)
        self._places = [(topic, p) for topic in PROJECTED for p in range(log.partitions)]
        self._thread = Background("mirror", self._run)

    def start(self) -> None:
        self._forming.start()
        self._thread.start()

    def stop(self) -> None:
        """Publish what is in the log, and end."""
        self._forming.stop()
        self._thread.stop()
        self._store.close()
        if self._publisher is not None:
            self._publisher.close()

    def show_forming(self, candles: Mapping[str, Candle]) -> None:
        """The open 1m candles by market, to be published, each market's at most ten times a second."""
        self._forming.show(candles)

    def _run(self) -> None:
        with ending_process("mirror"):
            stands_by, quiet_until = False, 0.0
            while True:
                try:
                    if stands_by:
                        self._stand_by()
                    if not stands_by or not self._thread.stopping.is_set():
                        stands_by = False
                        self._follow()
                    return
                except OvertakenError as error:
                    logger.info("mirror: %s; standing by", error)
                    stands_by = True
                except (OperationalError, InterfaceError, LogError) as error:
                    if time.monotonic() >= quiet_until:
                        logger.warning("mirror: %s; trying again each %s s", one_line(error), RETRY_S)
                        quiet_until = time.monotonic() + QUIET_S
                    self._thread.stopping.wait(RETRY_S)
                if self._thread.stopping.is_set():
                    return

    def _stand_by(self) -> None:
        """Until no mirror has counted for a while."""
        self._published.clear()
        self._loaded.clear()
        turn, since = -1, time.monotonic()
        while not self._thread.stopping.wait(STANDBY_STEP_S):
            self._forming.let(self._is_connected())
            now = self._store.turn()
            if now != turn:
                turn, since = now, time.monotonic()
            elif time.monotonic() - since > STANDBY_S:
                return

    def _follow(self) -> None:
        """Count and publish until the end; after any error everything is loaded anew."""
        counted = self._load()
        self._publish(counted, [])
        with closing(self._log.tail({place: _next(counted, place) for place in self._places})) as tail:
            while not self._thread.stopping.is_set():
                self._round(counted, tail.read(IDLE_S))
            ends = self._log.ends(self._places)
            deadline = time.monotonic() + DRAIN_S
            while any(_next(counted, place) < end for place, end in ends.items()):
                if time.monotonic() > deadline:
                    return
                self._round(counted, tail.read(IDLE_S))

    def _round(self, counted: Counted, records: list[Record]) -> None:
        self._publish(counted, self._count(counted, records))
        if self._levelled:
            now_ms = time.time_ns() / 1e6
            for record in records:
                telemetry.PUBLISH_DELAY_SECONDS.observe(max(0.0, now_ms - record.time_ms) / 1e3)

    # ------------------------------------------------------------ counting

    def _load(self) -> Counted:
        """What is counted; positions are moved to where the log begins."""
        self._levelled = False
        counted = self._store.load()
        ends = {place: self._last(place) for place in counted.positions}
        if any((at.offset or 0) > ends[place] for place, at in counted.positions.items()):
            logger.error(
                "mirror: the database has counted further than log %s goes: it counted another log; each seq"
                " goes on, messages before now are left out",
                self._log.url,
            )
            self._store.forget_log(counted.turn)
            counted = self._store.load()
        for place in self._places:
            self._skip_lost(counted, place)
        self.applied = {place: _next(counted, place) - 1 for place in self._places}
        if not self._loaded:
            self._loaded = {channel: _state(snapshot) for channel, snapshot in counted.snapshots.items()}
        return counted

    def _last(self, place: Place) -> int:
        return self._log.highwater(*place) - 1 if place[1] < self._log.partitions else -1

    def _skip_lost(self, counted: Counted, place: Place) -> None:
        due, first = _next(counted, place), self._log.earliest(*place)
        if due >= first:
            return
        logger.error("mirror: %s:%d: offsets %d to %d are gone from the log", *place, due, first - 1)
        self._lost.append((SYSTEM_EVENTS, lost_body(*place, due, first - 1)))
        counted.positions.setdefault(place, Reached()).offset = first - 1
        counted.runs = {channel: run for channel, run in counted.runs.items() if run.place != place}

    def _count(self, counted: Counted, records: list[Record]) -> list[Batch]:
        """Give the messages of the records their seq and write it down."""
        texts: dict[str, list[bytes]] = {}
        runs: list[tuple[str, Run]] = []
        for record in records:
            place = (record.topic, record.partition)
            reached = counted.positions.setdefault(place, Reached())
            before = reached.seen.copy()
            found = publications_of(record, reached.seen)
            reached.offset = record.offset
            for channel in dict.fromkeys(made.channel for made in found):
                snapshot = counted.snapshots.setdefault(channel, Snapshot())
                if _needs_run(counted.runs.get(channel), snapshot.seq, record):
                    counted.runs[channel] = Run(snapshot.seq + 1, place, record.offset, before)
                    runs.append((channel, counted.runs[channel]))
            for made in found:
                texts.setdefault(made.channel, []).append(counted.snapshots[made.channel].add(made))
        if records:
            places = {(record.topic, record.partition) for record in records}
            positions = {place: counted.positions[place] for place in places}
            snapshots = {channel: counted.snapshots[channel] for channel in texts}
            self._store.write(counted.turn, snapshots, positions, runs)
            counted.turn += 1
            self.applied.update((place, _next(counted, place) - 1) for place in places)
        return [_batch(channel, counted.snapshots[channel], made) for channel, made in texts.items()]

    # ------------------------------------------------------------ publishing

    def _publish(self, counted: Counted, batches: list[Batch]) -> None:
        if not self._is_connected():
            return
        try:
            if not self._levelled:
                self._level(counted)
            elif batches or time.monotonic() - self._heard_at > CHECK_S:
                self._publish_batches(counted, batches)
        except RedisError as error:
            self._lose(error)
        self._publish_lost()

    def _publish_batches(self, counted: Counted, batches: list[Batch]) -> None:
        """Without any it is asked whether Redis is there, since it may have come back empty."""
        publisher = self._connected()
        if not batches:
            publisher.ping()
        self._heard_at = time.monotonic()
        for batch, stands in zip(batches, publisher.publish(batches), strict=True):
            if stands == NONE:
                self._level(counted)
                return
            if stands < batch.last:
                self._catch_up(counted, batch.channel, stands)
            self._published[batch.channel] = (batch.last, batch.snapshot)
        self._forming.let(True)

    def _level(self, counted: Counted) -> None:
        """Bring every channel in Redis to what is counted.

        Where Redis was emptied, channels begin with what it took last; one that it never took, at 1.
        """
        publisher, channels = self._connected(), list(counted.snapshots)
        stands = dict(zip(channels, publisher.sequences(channels), strict=True))
        ahead = [channel for channel in channels if stands[channel] > counted.snapshots[channel].seq]
        if ahead:
            if self._store.turn() != counted.turn:
                raise OvertakenError("another mirror has published more than is counted here")
            logger.warning("mirror: Redis is further than the database in %s; it is set back", ahead[:5])
        known = self._published
        if set(stands.values()) <= {NONE}:
            known = self._loaded | self._published
        seeds = {c: known[c] for c in channels if stands[c] == NONE and c in known}
        seeds |= {channel: _state(counted.snapshots[channel]) for channel in ahead}
        publisher.put((channel, text) for channel, (_, text) in seeds.items())
        for channel in channels:
            seq = seeds[channel][0] if channel in seeds else stands[channel]
            if seq < counted.snapshots[channel].seq:
                self._catch_up(counted, channel, seq)
        self._published = self._loaded | self._published  # which Redis has taken by now
        self._levelled = True
        self._forming.let(True)

    def _catch_up(self, counted: Counted, channel: str, stands: int) -> None:
        """Publish what follows `stands`, read again from the log."""
        publisher, target = self._connected(), counted.snapshots[channel]
        snapshot = _snapshot(publisher.snapshots([channel])[0])
        messages = messages_since(self._log, self._store, channel, max(stands, 0))
        while chunk := list(islice(messages, CATCH_UP_MESSAGES)):
            publisher.publish(_replayed(channel, snapshot, target, chunk))
        self._published[channel] = _state(target)

    def _publish_lost(self) -> None:
        """What the log lost, told outside the count."""
        if not self._lost or not self._is_connected():
            return
        try:
            self._connected().publish_uncounted(self._lost)
            self._lost.clear()
        except RedisError as error:
            self._lose(error)

    # ------------------------------------------------------------ the connection

    def _is_connected(self) -> bool:
        """Connected, or connected now; between two attempts there is a while, and at the end none is made."""
        ends = self._retry_at > 0 and self._thread.stopping.is_set()
        if (
            self._publisher is not None
            or self._redis_url is None
            or ends
            or time.monotonic() < self._retry_at
        ):
            return self._publisher is not None
        try:
            if self._server is not None:
                self._server.start()
            self._publisher = Publisher(self._redis_url)
        except (RedisError, RedisServerError) as error:
            self._lose(error)
            return False
        logger.info("mirror: connected to Redis")
        telemetry.REDIS_CONNECTED.set(1)
        return True

    def _connected(self) -> Publisher:
        assert self._publisher is not None
        return self._publisher

    def _lose(self, error: Exception) -> None:
        if self._publisher is not None or not self._retry_at:
            logger.warning("mirror: Redis is gone (%s); going on without, trying again", error)
        self._forming.let(False)
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
            telemetry.REDIS_CONNECTED.set(0)
        self._levelled = False
        self._retry_at = time.monotonic() + RETRY_S


def _next(counted: Counted, place: Place) -> int:
    at = counted.positions.get(place)
    return 0 if at is None or at.offset is None else at.offset + 1


def _needs_run(run: Run | None, seq: int, record: Record) -> bool:
    """Whether the channel's messages of this record, which follow `seq`, begin a run."""
    if run is None or run.place != (record.topic, record.partition):
        return True
    return record.offset - run.offset >= RUN_RECORDS or seq - run.first_seq >= RUN_MESSAGES


def _snapshot(stored: bytes | None) -> Snapshot:
    """What stands in Redis; what somebody else wrote there is overwritten."""
    try:
        return Snapshot() if stored is None else Snapshot.decode(stored)
    except msgspec.DecodeError:
        return Snapshot()


def _state(snapshot: Snapshot) -> tuple[int, bytes]:
    return snapshot.seq, snapshot.encode()


def _batch(channel: str, snapshot: Snapshot, texts: list[bytes]) -> Batch:
    return Batch(channel, snapshot.seq - len(texts) + 1, snapshot.seq, snapshot.encode(), texts)


def _replayed(channel: str, snapshot: Snapshot, target: Snapshot, messages: Iterable[Message]) -> list[Batch]:
    """Messages read again, a gap alone; `snapshot` moves with them and ends as `target`."""
    batches: list[Batch] = []
    for is_gap, some in groupby(messages, key=lambda one: one.first < one.seq):
        for part in ([one] for one in some) if is_gap else (list(some),):
            for one in part:
                snapshot.replay(one.seq, one.text)
            text = (target if snapshot.seq == target.seq else snapshot).encode()
            batches.append(Batch(channel, part[0].first, snapshot.seq, text, [one.text for one in part]))
    return batches
