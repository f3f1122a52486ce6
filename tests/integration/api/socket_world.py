"""A log, a mirror and an API for the tests of sockets, and readers of them."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from infra.channels.mirror import Mirror
from infra.channels.reader import messages_since
from infra.channels.store import ChannelStore
from infra.db.schema import migrate, open_database
from infra.process.settings import load_settings
from infra.strategies.registry import Strategies
from infra.upkeep.rebuild import rebuild
from streams.codec import encode
from streams.embedded.log import EmbeddedLog
from streams.records import Entry, Output
from streams.topics import CANDLES
from tests.derived import as_log, candle, recorded
from tests.integration.api.conftest import Api, serving
from tests.integration.command_line import CommandLine
from tests.mirroring import mirroring

SYMBOL = "M00/USD:X"
MARKET, MARKET_PATH = f"market_data:{SYMBOL}", f"/ws/market/{SYMBOL}"
NOBODY = "redis://127.0.0.1:1/0"
WAIT_S = 30
Message = dict[str, Any]


@dataclass
class World:
    """A log, a mirror that counts and publishes it, and the API over both."""

    api: Api
    log: EmbeddedLog
    store: ChannelStore
    mirror: Mirror
    minutes: int = 1_000

    def connect(self, path: str, **options: Any) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self.api.token('read')}"}
        return opened(self.api.url, path, additional_headers=headers, **options)

    def append(self, count: int) -> None:
        """Candles of the market, one a record."""
        entries = []
        for minute in range(self.minutes, self.minutes + count):
            output = Output(0, minute, (0,), (candle(minute),))
            entries.append(Entry(CANDLES, f"sim:{SYMBOL}".encode(), encode(output), minute, 0))
        self.minutes += count
        self.log.append(entries, sync=False)

    def told(self, channel: str, since: int = 0) -> list[Message]:
        """What the log says that a channel carries."""
        return [msgspec.json.decode(m.text) for m in messages_since(self.log, self.store, channel, since)]

    def last(self, channel: str = MARKET) -> int:
        return self.store.snapshot(channel).seq


def opened(url: str, path: str, **options: Any) -> ClientConnection:
    # without a bound on its queue, since a full one holds up its close
    address = url.replace("http", "ws", 1) + path
    return connect(address, proxy=None, open_timeout=WAIT_S, max_queue=None, **options)


def received(reader: ClientConnection, timeout_s: float = WAIT_S) -> Message:
    """The next message that is no heartbeat. Raises `TimeoutError`."""
    while True:
        message = msgspec.json.decode(reader.recv(timeout=timeout_s))
        if message["type"] != "heartbeat":
            return message


def several(reader: ClientConnection, count: int) -> list[Message]:
    return [received(reader) for _ in range(count)]


def closed(reader: ClientConnection) -> int:
    """The code that the server closes with, whatever comes before."""
    with pytest.raises(ConnectionClosed) as error:
        while True:
            reader.recv(timeout=WAIT_S)
    assert error.value.rcvd is not None
    assert error.value.rcvd.reason
    return error.value.rcvd.code


@contextmanager
def world(
    folder: Path, strategies: Strategies, *, published: str = NOBODY, redis_url: str | None = None
) -> Iterator[World]:
    """The mirror publishes to `published`, the API listens to `redis_url`."""
    settings = replace(load_settings({"TCPD_HOME": str(folder)}), redis_url=redis_url)
    with ExitStack() as stack:
        log = as_log(recorded(1, journal_records=60), folder / "log", partitions=4)
        stack.callback(log.close)
        migrate(settings.database_url)
        rebuild(log, settings.database_url)
        store = ChannelStore(settings.database_url)
        stack.callback(store.close)
        mirror = stack.enter_context(mirroring(log, settings.database_url, published))
        database = open_database(settings.database_url)
        stack.callback(database.dispose)
        while store.snapshot(MARKET).seq == 0 or any(mirror_behind(mirror, log)):
            threading.Event().wait(0.02)
        api = serving(settings, log, database, strategies, stack)
        yield World(api, log, store, mirror)


def mirror_behind(mirror: Mirror, log: EmbeddedLog) -> Iterator[bool]:
    return (at + 1 < log.highwater(*place) for place, at in mirror.applied.items())


class Killed:
    """`serve` as a program on one port, killed and started again."""

    def __init__(self, home: Path, redis_url: str) -> None:
        self._home = CommandLine(home, {"TCPD_REDIS_URL": redis_url})
        self._start("0")

    def _start(self, port: str) -> None:
        self._program = self._home.start("serve", "--port", port, "--json")
        try:
            self.url = self._program.line["api"]
        except BaseException:
            self._program.kill()
            raise

    def start(self) -> None:
        """Again, after its end."""
        self._start(self.url.rpartition(":")[2])

    def end(self, how: signal.Signals) -> int:
        """Its exit code."""
        return self._program.end(how)

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self._program.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()


@contextmanager
def program(home: Path, redis_url: str) -> Iterator[Killed]:
    server = Killed(home, redis_url)
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)
