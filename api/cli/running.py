"""What the commands that run on have in common: how they begin, say that they are ready, and end."""

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.exceptions import TyperException

from api.cli.failures import FAILED, told
from api.cli.output import print_json, say
from api.cli.session import Session
from api.http.listening import LOOPBACK, PROBE_PORT, listen, url_of
from infra.process.settings import SettingsError
from infra.process.signals import raising
from streams.background import Background

if TYPE_CHECKING:
    from infra.worker.root import Progress

logger = logging.getLogger(__name__)

LOOK_S = 0.1
HEARD_S = 5.0
"""A worker that looked no longer than this ago is at work."""


@contextmanager
def running(*, answer_s: float | None = None) -> Generator[Session]:
    """The session of a command that runs until SIGINT or SIGTERM, which is a success.

    `answer_s`: see `open_log`. Where its log is JSON, what it fails with is a line of it too.
    """
    from infra.process.logs import log_as_service

    raising(lambda: SystemExit(0), signal.SIGINT, signal.SIGTERM)
    with Session(answer_s=answer_s) as session:
        log_as_service(session.settings.worker)
        try:
            _make(session.settings.home)
            yield session
        except (TyperException, typer.Exit, typer.Abort):
            raise  # said as of any other command
        except Exception as error:
            if sys.stderr.isatty():
                raise
            line = told(error)
            logger.critical("%s", line or repr(error), exc_info=None if line else error)
            raise typer.Exit(FAILED) from error


def _make(home: Path) -> None:
    """Make the home folder, before anything is started that needs it. Raises `SettingsError`."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"home {home} cannot be made: {error.strerror}; name another folder with TCPD_HOME"
        raise SettingsError(message) from None


def refuse_second_fold(session: Session) -> None:
    """Raises the `LogError` that this home's worker would end with, before anything is started."""
    from streams.backends import backend_of

    settings = session.settings
    backend_of(settings.log_url).check_folding(settings.worker, settings.faust)


def announce(line: Mapping[str, object], message: str, *, json: bool) -> None:
    """Say where it is: `line` on standard output for programs, or `message` to people."""
    if json:
        print_json(line)
        sys.stdout.flush()
    else:
        tell(message)


def tell(message: str) -> None:
    """A word to people on a terminal; elsewhere it goes into the log."""
    if sys.stderr.isatty():
        say(message)
    else:
        logger.info("%s", message)


@contextmanager
def when_ready(ready: Callable[[], bool], then: Callable[[], None]) -> Generator[None]:
    """Call `then`, in a thread, as soon as `ready`, which is asked there, is true."""

    def wait() -> None:
        while not ready():
            if thread.stopping.wait(LOOK_S):
                return
        then()

    thread = Background("ready", wait)
    with thread:
        yield


class Standing:
    """Whether a worker is ready: its agents run, and log and database answer."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._heard_at: float | None = None

    def observe(self, progress: "Progress") -> None:
        """Told by the worker ten times a second, on its own loop."""
        if progress.running:
            self._heard_at = time.monotonic()

    def is_ready(self) -> bool:
        """May be asked from any thread; waits for the database."""
        from api.http.health import UNREACHABLE, check

        if self._heard_at is None or time.monotonic() - self._heard_at > HEARD_S:
            return False
        try:
            check(self._session.log, self._session.database)
        except UNREACHABLE:
            return False
        return True


def listen_for_probes(port: int | None, host: str = LOOPBACK) -> socket.socket:
    """Raises `OSError` where the port is taken."""
    return listen(host, port, PROBE_PORT, "give another with --probe-port")


@contextmanager
def probing(
    session: Session,
    listener: socket.socket,
    ready: Callable[[], bool],
    names: list[str] | None = None,
    why: Callable[[], str] = str,
) -> Generator[str]:
    """Health and metrics of this process on a listening socket, in a thread; gives their URL."""
    from api.http.probe import Probe
    from infra.process.tokens import TokenFile

    tokens = TokenFile(session.settings.home)
    tokens.first()
    with listener, Probe(listener, tokens, ready, names or (), why):
        yield url_of(listener)


async def until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or until SIGINT or SIGTERM: it is then cancelled, and finishes what it has begun."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
