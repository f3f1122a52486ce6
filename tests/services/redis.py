"""A real redis-server for tests: Debian's package, one process on 127.0.0.1, ended by its pid.

And the bundled one, at a port of its own.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.redis.server import RedisServer

START_S = 10.0


class RedisMissingError(Exception):
    """There is no redis-server on this machine; the message says the way out."""


class Redis:
    """One server that keeps nothing: after a restart it is empty, at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = program("redis-server")
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("redis-server is not running; call start() first")
        return self._process.pid

    def start(self) -> "Redis":
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_tied_to_parent(), self._server, *options], cwd=self.folder, stdout=log, stderr=log
            )
        atexit.register(self.stop)
        for _ in range(int(START_S / 0.02)):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self._exited_within(0.02):
                break
        raise RuntimeError(f"redis-server did not start:\n{(self.folder / 'redis.log').read_text()[-2000:]}")

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def restart(self) -> "Redis":
        self.stop()
        return self.start()

    def cli(self, *arguments: str) -> "subprocess.Popen[str]":
        """Redis's own `redis-cli` on this server; it writes a line as soon as it has one."""
        command = [program("redis-cli"), "-p", str(self.port), *arguments]
        return subprocess.Popen([*_tied_to_parent(), *command], stdout=subprocess.PIPE, text=True)

    def _exited_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        if not self._exited_within(START_S):
            self._process.kill()
            self._process.wait()
        self._process = None
        atexit.unregister(self.stop)


@contextmanager
def bundled_redis() -> Iterator[RedisServer]:
    """The default port is everybody's on this machine, and two runs of the tests would share its server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with RedisServer(port) as server:
        yield server


def kill9(server: RedisServer) -> None:
    assert server.pid is not None  # to the number 0 a signal would reach these tests themselves
    os.kill(server.pid, signal.SIGKILL)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RedisMissingError(f"no {name} on this machine: tests/services/install.sh installs it (as root)")
    return path


def _tied_to_parent() -> list[str]:
    """On Linux the server dies with the process that started it, however that ends."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv and sys.platform == "linux" else []
