"""The Faust app of a worker on any backend, and how it runs and ends."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import faust
from yarl import URL

from streams.agents.watchdog import STALLED_S, Doing, Watchdog, Watched
from streams.backends import backend_of
from streams.log import Log
from streams.topics import GROUP, RECORD_BYTES_MAX

logger = logging.getLogger(__name__)

FAILED = 70
"""Exit code of a worker that ended itself (EX_SOFTWARE)."""
CHECK_S = 0.1
STOP_S = 20.0


class Follower(Watched, Protocol):
    """An agent as its worker sees it; its positions are those assigned to this worker."""

    async def settle(self) -> None:
        """Finish what has been taken."""
        ...


class App(faust.App):
    """A Faust app that knows the names of the streams on its backend."""

    prefix = ""
    worker = ""

    def topic_of(self, stream: str) -> str:
        return self.prefix + stream

    def stream_of(self, topic: str) -> str:
        return topic.removeprefix(self.prefix)


def make_app(url: str, *, worker: str, datadir: Path) -> App:
    """The app of the log at `url`, whose topics exist (`open_log` creates them).

    `worker` names a slot that outlives the process: a worker that starts again under its name
    within the session gets its partitions back without a pause for the others. Raises `LogError`.
    """
    broker = backend_of(url).broker()
    _quieten()
    app = App(
        broker.prefix + GROUP,
        broker=broker.urls,
        datadir=datadir,
        autodiscover=False,
        consumer_group_instance_id=f"{broker.prefix}{GROUP}-{worker}",
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.5,
        broker_commit_interval=0.3,
        broker_max_poll_records=100,  # fewer are fairer to the other partitions in a backlog
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_batch_size=RECORD_BYTES_MAX,  # a full batch makes the fold wait for the broker
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        web_enabled=False,
    )
    app.prefix, app.worker = broker.prefix, worker
    app.transport = broker.transport([URL(place) for place in broker.urls], app)
    return app


def raw_topic(app: App, *streams: str) -> Any:
    """Topics as bytes: what they mean is for `streams.codec` alone."""
    names = [app.topic_of(stream) for stream in streams]
    return cast(Any, app).topic(
        *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


def stop_flow(app: App) -> None:
    """Fetch no more, and forget what was fetched. Faust goes on behind its commits after an assignment."""
    app.consumer.stop_flow()
    app.flow_control.suspend()
    app.flow_control.clear()


def end_process(reason: str, fields: Mapping[str, object] | None = None) -> NoReturn:
    """End at once, before more is acknowledged; exit code `FAILED`. `fields`: fields of the log line."""
    logger.critical("%s; this worker ends, start it again", reason, extra=fields)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(FAILED)


@contextmanager
def ending_process(doing: str) -> Generator[None]:
    """End the process on an error. Faust acknowledges a record whose agent raises: end before that."""
    try:
        yield
    except Exception as error:
        logger.critical("%s failed", doing, exc_info=error)
        end_process(f"{doing}: {error!r}")


def run_worker(
    app: App,
    log: Log,
    followers: Sequence[Follower],
    until: Callable[[], bool] | None = None,
    *,
    doing: Callable[[], Doing] = Doing,
    stalled_s: float = STALLED_S,
) -> None:
    """Run the app in this thread until SIGINT, SIGTERM, or `until()` is true.

    `until` is asked every 0.1 s, in this thread, so it may look at the folds; it should be quick.

    Then everything taken is finished, snapshots are written and offsets committed. A failure of any
    part ends the process with exit code `FAILED`, and so does being stalled for so many seconds; `doing`: see
    `Watchdog`. Raises `LogError` when this worker may not fold (`Backend.folding`).
    """
    watchdog = Watchdog(log, followers, doing, end_process, stalled_s=stalled_s)
    with backend_of(log.url).folding(app.worker, Path(app.conf.datadir)), watchdog:
        asyncio.run(_run(app, log, followers, until))


async def _run(
    app: App,
    log: Log,
    followers: Sequence[Follower],
    until: Callable[[], bool] | None,
) -> None:
    stop = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.create_task(_start(app))
    with ending_process("running"):
        while not stop.is_set() and not (until is not None and until()):
            if app.crashed:
                end_process(f"the Faust app crashed: {app.crash_reason!r}")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), CHECK_S)
    await _stop(app, followers)
    starting.cancel()


async def _start(app: App) -> None:
    with ending_process("starting Faust"):
        await app.start()


async def _stop(app: App, followers: Sequence[Follower]) -> None:
    stop_flow(app)
    for follower in followers:
        await follower.settle()
    try:
        await asyncio.wait_for(app.stop(), STOP_S)
    except TimeoutError:
        # what was taken is settled, and commits only follow the snapshots: nothing is lost
        logger.warning("Faust did not stop within %.0f s; going on without it", STOP_S)


def _quieten() -> None:
    """Debug lines cost Faust 7 % of its speed even when nobody prints them."""
    for name in ("faust", "mode"):
        if logging.getLogger(name).getEffectiveLevel() < logging.INFO:
            logging.getLogger(name).setLevel(logging.INFO)
