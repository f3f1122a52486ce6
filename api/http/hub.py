"""From the channels to the readers of sockets: one subscription to Redis for all of them, and behind it the
database, which counts, and the log, which holds every message.

    Redis ──► Channel ──► every reader whose wire is free           the same bytes for each
    log ────► Channel          what Redis did not bring: a hole, a loss of Redis, no Redis at all
    log, newest of the channel ──► a reader that is behind          at its own speed

Nothing is queued for a reader. One whose wire is not free when a message comes is behind; its own task goes
on from the newest messages of the channel or, further back, from the log, and makes it live again in the same
step in which it has reached the channel. What is counted is in the database before it is published, so what
Redis brings beyond a hole may be let go.

Why: ADR 13.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.http.channel import CHUNK_BYTES, Channel, Framed, Reader
from api.http.failures import ApiError
from api.http.wire import Wire, text_frame
from infra.channels.reader import ChannelReader, Message
from infra.channels.store import ChannelStore
from infra.channels.subscriber import Subscriber
from infra.present.values import iso
from infra.process.errors import one_line
from streams.log import Log, LogError

logger = logging.getLogger(__name__)
T = TypeVar("T")

THREADS = 4
LOOK_UP_THREADS = 2
HEARTBEAT_S = 5.0
TAKE_S = 10.0
"""So long a reader may take for what was sent."""
ANSWER_S = 10.0
"""So long database and log may take."""
POLL_S = 0.25
CHECK_S = 5.0
"""The count is asked for so often without and with Redis."""


class Hub:
    """Serves readers from their first message to their end. Everything but `close` runs in one event loop.

    It is at work while there are readers. `find_redis` says where Redis is now; while that is nowhere, the
    database is asked instead, a few times a second, and there are no forming candles.
    """

    def __init__(self, log: Log, database: Engine, find_redis: Callable[[], str | None]) -> None:
        self.find_redis = find_redis
        self._log = log
        self._store = ChannelStore(database)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sockets")
        self._look_ups = ThreadPoolExecutor(LOOK_UP_THREADS, thread_name_prefix="sockets-lookup")
        self._channels: dict[str, Channel] = {}
        self._redis = Subscriber(find_redis, self._hear, self._subscribed, self._lose)
        self._without_redis = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def readers(self) -> list[Reader]:
        """Everybody who is served; may be asked from any thread."""
        return [reader for channel in tuple(self._channels.values()) for reader in tuple(channel.readers)]

    def close(self) -> None:
        """Once the event loop has ended."""
        self._threads.shutdown(cancel_futures=True)
        self._look_ups.shutdown(cancel_futures=True)

    def counted(self, name: str) -> int:
        """The last `seq` of a channel, from the database; to be called in a thread."""
        return self._store.sequences([name])[name]

    async def look_up(self, question: Callable[[], T]) -> T:
        """What database or log say to one who is no reader yet, and whom no reader waits for.

        Raises `ApiError` 503 when they do not answer.
        """
        return await self._ask(question, self._look_ups)

    async def _ask(self, question: Callable[[], T], threads: ThreadPoolExecutor | None = None) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S):
                return await loop.run_in_executor(threads or self._threads, question)
        except (SQLAlchemyError, LogError, TimeoutError) as error:
            message = "no answer" if isinstance(error, TimeoutError) else one_line(error)
            logger.warning("sockets: database or log: %s", message)
            raise ApiError(
                503, "unavailable", "database or log do not answer", "Reconnect with since."
            ) from error

    async def serve(self, name: str, wire: Wire, since: int | None, check: Callable[[], object]) -> None:
        """Send a channel's messages, after `since` or behind a snapshot, until this is cancelled.

        `check` is called with every heartbeat, and what it raises ends this. Raises `ApiError`: 408 for a
        reader that does not take what is sent, 503 when database or log do not answer.
        """
        reader = Reader(wire, since)
        channel = self._channels.setdefault(name, Channel(name))
        channel.readers.add(reader)
        try:
            if len(channel.readers) == 1:
                await self._open(channel)
            await until_first(self._follow(channel, reader), _beat(channel, reader, check))
        finally:
            channel.readers.discard(reader)
            channel.live.discard(reader)
            if not channel.readers:
                await self._shut(channel)

    # ------------------------------------------------------------ one reader that is behind

    async def _follow(self, channel: Channel, reader: Reader) -> None:
        while True:
            if reader in channel.live:
                await reader.woken.wait()
            reader.woken.clear()
            await self._advance(channel, reader)

    async def _advance(self, channel: Channel, reader: Reader) -> None:
        """Send it the next chunk of what it lacks, or make it live."""
        await _free(reader.wire)
        if reader.seq is None:
            snapshot = await self._ask(lambda: self._store.snapshot(channel.name))
            reader.source = None
            reader.seq = snapshot.seq
            reader.wire.push(text_frame(b'{"type":"snapshot",' + snapshot.encode()[1:]))
            return
        recent = channel.after(reader.seq)
        if recent is None:
            await self._advance_from_log(channel, reader, reader.seq)
        else:
            reader.source = None
            reader.push(recent)
            if reader.seq == channel.seq:
                channel.live.add(reader)

    async def _advance_from_log(self, channel: Channel, reader: Reader, seq: int) -> None:
        if reader.source is None:
            reader.source = ChannelReader(self._log, self._store, channel.name, seq)
            reader.messages = reader.source.read()
        source, messages = reader.source, reader.messages
        chunk = await self._ask(lambda: _chunk(messages))
        if chunk:
            reader.push([Framed(one.first, one.seq, text_frame(one.text)) for one in chunk])
            return
        reader.source = None
        if source.counted < seq:
            reader.seq = None
        elif channel.seq is None or seq >= channel.seq:
            channel.live.add(reader)
            self._begin(channel, seq)
        else:
            await asyncio.sleep(POLL_S)

    def _begin(self, channel: Channel, seq: int) -> None:
        """The channel's place, from its first reader; what came since is fetched."""
        if channel.seq is None:
            channel.seq = seq
            self._pull(channel)

    # ------------------------------------------------------------ channels

    async def _open(self, channel: Channel) -> None:
        if not self._tasks:
            self._start(self._watch())
            self._start(self._redis.run())
        await self._redis.add(channel.name)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_tell_failure)
        self._tasks.append(task)

    async def _shut(self, channel: Channel) -> None:
        del self._channels[channel.name]
        if channel.pulling is not None:
            channel.pulling.cancel()
        await self._redis.remove(channel.name)
        if not self._channels:
            for task in self._tasks:
                task.cancel()
            self._tasks.clear()
            self._without_redis.clear()

    def _hear(self, name: str, text: bytes) -> None:
        channel = self._channels.get(name)
        if channel is None:
            return
        try:
            is_whole = channel.hear(text)
        except msgspec.DecodeError as error:  # others may publish there too
            logger.warning("sockets: Redis told something on %s that is no message: %s", name, error)
            return
        if not is_whole:
            self._pull(channel)

    def _subscribed(self, name: str) -> None:
        """From here on messages come; what was counted before is fetched."""
        self._without_redis.clear()
        if name in self._channels:
            self._pull(self._channels[name])

    def _lose(self) -> None:
        self._without_redis.set()

    async def _watch(self) -> None:
        """Ask what is counted: often without Redis, else in case that it lost something unseen."""
        while True:
            if self._without_redis.is_set():
                await asyncio.sleep(POLL_S)
            else:
                await _set_within(self._without_redis, CHECK_S)
            before = {name: channel.seq for name, channel in self._channels.items()}
            try:
                counted = await self._ask(lambda names=tuple(before): self._store.sequences(names))
            except ApiError:  # it has been logged; sockets go on with what Redis brings
                continue
            for name, seq in counted.items():
                channel, known = self._channels.get(name), before[name]
                if channel is None or known is None:
                    continue
                if seq < known:
                    channel.restart(seq)
                elif seq > (channel.seq or 0):
                    self._pull(channel)

    def _pull(self, channel: Channel) -> None:
        channel.is_due = True
        if channel.seq is not None and channel.pulling is None:
            channel.pulling = asyncio.create_task(self._pull_until_level(channel))

    async def _pull_until_level(self, channel: Channel) -> None:
        """Read from the log what Redis did not bring, until there is no hole before what it brings."""
        try:
            while channel.is_due:
                channel.is_due = False
                await self._pull_once(channel)
        except ApiError:  # it has been logged; `_watch` sees to it again
            channel.source = None
        finally:
            channel.pulling = None

    async def _pull_once(self, channel: Channel) -> None:
        source = channel.source
        if source is None or source.seq != channel.seq:
            source = channel.source = ChannelReader(self._log, self._store, channel.name, channel.seq or 0)
        messages = source.read()
        while chunk := await self._ask(lambda: _chunk(messages)):
            for one in chunk:
                channel.add(one.first, one.seq, one.text)


def _chunk(messages: Iterator[Message]) -> list[Message]:
    """The next messages, as many as are sent at once."""
    found: list[Message] = []
    size_bytes = 0
    for one in messages:
        found.append(one)
        size_bytes += len(one.text)
        if size_bytes >= CHUNK_BYTES:
            break
    return found


def _tell_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("sockets: what follows the channels failed", exc_info=error)


async def until_first(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them until one ends, and raise what it raised."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _beat(channel: Channel, reader: Reader, check: Callable[[], object]) -> None:
    """Heartbeats, which wait for nobody: neither for the log, nor for a wire that is not free."""
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        check()
        if reader.wire.is_free:
            if reader.seq is not None:  # else a snapshot comes first
                reader.wire.push(_heartbeat(reader.seq))
        elif reader in channel.live:  # whoever does not take what was sent is cut off when it is behind
            channel.wake(reader)


def _heartbeat(seq: int) -> bytes:
    beat = {"type": "heartbeat", "seq": seq, "timestamp": iso(time.time_ns())}
    return text_frame(msgspec.json.encode(beat))


async def _free(wire: Wire) -> None:
    """Raises `ApiError` 408."""
    if wire.is_free:
        return
    try:
        async with asyncio.timeout(TAKE_S):
            await wire.free()
    except TimeoutError:
        message = f"nothing was taken for {TAKE_S:.0f} s; reconnect with since"
        raise ApiError(408, "too_slow", message, "Read faster.") from None


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
