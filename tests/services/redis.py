"""A real redis-server for tests: Debian's package, one process on 127.0.0.1, ended by its pid.

And the bundled one, at a port of its own.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.process.bundled_redis import RedisServer
from tests.programs import Program
from tests.services.server import Server, free_ports


class RedisMissingError(Exception):
    """There is no redis-server on this machine; the message says the way out."""


class Redis(Server):
    """One server that keeps nothing: after a restart it is empty, at the same address."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = program("redis-server")
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [self._server, *options]

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def cli(self, *arguments: str) -> Program:
        """Redis's own `redis-cli` on this server; it writes a line as soon as it has one."""
        return Program(program("redis-cli"), "-p", self.port, *arguments)


@contextmanager
def bundled_redis() -> Iterator[RedisServer]:
    """The default port is everybody's on this machine, and two runs of the tests would share its server."""
    with RedisServer(*free_ports(1)) as server:
        yield server


def kill9(server: RedisServer) -> None:
    assert server.pid is not None  # to the number 0 a signal would reach these tests themselves
    os.kill(server.pid, signal.SIGKILL)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise RedisMissingError(f"no {name} on this machine: tests/services/install.sh installs it (as root)")
    return path
