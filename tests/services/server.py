"""A server for tests: one process that keeps its address over restarts and is ended by its pid."""

import atexit
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.programs import Program


class Server:
    """Subclasses say what to run, and whether it answers. What it says is in `server.log` of its folder."""

    ends_on = signal.SIGTERM
    start_s = 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program: Program | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    @property
    def running(self) -> Program:
        if self._program is None:
            raise RuntimeError(f"{type(self).__name__} is not running; call start() first")
        return self._program

    @property
    def pid(self) -> int:
        return self.running.pid

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self._program = Program(*self.command(), log=self.folder / "server.log", cwd=self.folder)
        atexit.register(self.stop)
        try:
            self._program.until(self.answers, "it answers", self.start_s)
        except BaseException:
            self._end(signal.SIGKILL)
            raise
        return self

    def kill9(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(self.ends_on)

    @contextmanager
    def away(self) -> Generator[None]:
        """Killed meanwhile, and started again in any case: other tests use it too."""
        self.kill9()
        try:
            yield
        finally:
            self.start()

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def wait(self) -> None:
        """Until it ends, whoever ends it."""
        self.running.wait(None)

    def _end(self, how: signal.Signals) -> None:
        program, self._program = self._program, None
        if program is not None:
            atexit.unregister(self.stop)
            with program:
                program.end(how)


def free_ports(count: int) -> list[int]:
    """On 127.0.0.1."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports
