"""The API as a child process of `up`: heavy reads never delay the fold, and a crash of one spares the other.

The parent binds the listening socket and hands it over, so that the address and the requests that wait in
its backlog outlive the child. The child is `tcpdashboard serve` itself. It ends when its standard input does,
which is a pipe that the parent's end closes, however that comes.

Why: ADR 14.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from types import TracebackType

from streams.background import Background

logger = logging.getLogger(__name__)

PAUSE_S = 0.5
PAUSE_S_MAX = 30.0
"""Before a child that ended is started again: so long at first, then twice as long each time."""
STEADY_S = 60.0
"""A child that lived so long has started well: the next pause is the first again."""
STOP_S = 10.0
ASK_S = 2.0


class ApiProcess:
    """The API on a socket of ours, started again whenever it ends. Use it as a context manager."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str]) -> None:
        """`listener` listens; `environment`: the settings of the child beside those of this process."""
        self._listener = listener
        self._environment = {**os.environ, **environment}
        self._process = self._start()
        self._keeper = Background("api keeper", self._keep)
        self._keeper.start()

    def is_ready(self) -> bool:
        """Whether the child answers that it is ready."""
        connection = HTTPConnection(*self._listener.getsockname()[:2], timeout=ASK_S)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def __enter__(self) -> "ApiProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child in order, and by force where it does not."""
        self._keeper.stopping.set()
        self._process.terminate()
        if not self._keeper.join(STOP_S):
            self._process.kill()
            self._keeper.join()
        self._listener.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        handle = self._listener.fileno()
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "api.cli", "serve", "--child", str(handle)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[handle],
            start_new_session=True,  # Ctrl-C is for us: we end it when the worker is drained
        )

    def _keep(self) -> None:
        pause_s = PAUSE_S
        while True:
            began = time.monotonic()
            code = self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            if time.monotonic() - began > STEADY_S:
                pause_s = PAUSE_S
            if not self._keeper.stopping.is_set():
                logger.warning("the API ended with code %d; it is started again in %.1f s", code, pause_s)
            if self._keeper.stopping.wait(pause_s):
                return
            self._process = self._start()
            if self._keeper.stopping.is_set():
                self._process.terminate()
            pause_s = min(2 * pause_s, PAUSE_S_MAX)


def end_with_parent() -> None:
    """End this process, a child, at once when its parent has ended: in a thread of its own.

    Nothing is lost thereby: a command is durable before it is answered.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(0)

    Background("parent", wait).start()
