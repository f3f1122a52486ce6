"""WebSockets of the API: what comes over them, dense and whole, whatever is cut, killed or slow."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.http import hub, wire
from api.http.security import COOKIE
from infra.channel_log import messages_since
from infra.channels import Snapshot
from infra.db.channels import ChannelStore
from infra.db.engine import open_engine
from infra.db.rebuild import rebuild
from infra.db.schema import migrate, open_database
from infra.redis.mirror import Mirror
from infra.redis.server import RedisServer
from infra.settings import load_settings
from infra.strategies import Strategies
from streams.codec import encode
from streams.embedded import EmbeddedLog
from streams.events import Output
from streams.journal import JournalWriter
from streams.log import Entry
from streams.topics import CANDLES
from tests.derived import as_log, candle, recorded
from tests.integration.api.conftest import Api, serving
from tests.integration.command_line import CommandLine
from tests.journal import spot
from tests.socket_readers import BareReader, read_all

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


def received(reader: ClientConnection) -> Message:
    """The next message that is no heartbeat."""
    while True:
        message = msgspec.json.decode(reader.recv(timeout=WAIT_S))
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
        mirror = Mirror(log, settings.database_url, published)
        mirror.start()
        stack.callback(mirror.stop)
        database = open_database(settings.database_url)
        stack.callback(database.dispose)
        while store.snapshot(MARKET).seq == 0 or any(mirror_behind(mirror, log)):
            threading.Event().wait(0.02)
        api = serving(settings, log, database, strategies, stack)
        yield World(api, log, store, mirror)


def mirror_behind(mirror: Mirror, log: EmbeddedLog) -> Iterator[bool]:
    return (at + 1 < log.highwater(*place) for place, at in mirror.applied.items())


@pytest.fixture
def bundled() -> Iterator[RedisServer]:
    with redis_at_work() as server:
        yield server


@contextmanager
def redis_at_work() -> Iterator[RedisServer]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        server = RedisServer(probe.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module", params=["with Redis", "without Redis"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, strategies: Strategies
) -> Iterator[World]:
    """For tests that leave the server as it is; they may append."""
    folder = tmp_path_factory.mktemp("sockets")
    if request.param == "without Redis":
        with world(folder, strategies) as made:
            yield made
        return
    with (
        redis_at_work() as server,
        world(folder, strategies, published=server.url, redis_url=server.url) as made,
    ):
        yield made


def test_a_snapshot_comes_first_and_then_every_message(shared: World) -> None:
    before = shared.last()
    with shared.connect(MARKET_PATH) as reader:
        snapshot = received(reader)
        assert (snapshot["type"], snapshot["seq"]) == ("snapshot", before)
        assert snapshot["messages"] == [shared.told(MARKET)[-1]]
        shared.append(30)
        assert several(reader, 30) == shared.told(MARKET, before)


@pytest.mark.parametrize(
    ("path", "channel"),
    [
        (MARKET_PATH, MARKET),
        ("/ws/market/M10%2FUSD:X", "market_data:M10/USD:X"),
        ("/ws/bot/1/status", "bot_status:1"),
        ("/ws/portfolio/11", "portfolio:11"),
        ("/ws/system", "system_events"),
    ],
)
def test_each_socket_gives_the_messages_of_its_channel(shared: World, path: str, channel: str) -> None:
    told = shared.told(channel)
    assert len(told) > 5
    for since in (0, len(told) // 2, len(told) - 1):
        with shared.connect(f"{path}?since={since}") as reader:
            assert several(reader, len(told) - since) == told[since:]


def test_a_reader_that_has_everything_gets_what_comes_next(shared: World) -> None:
    last = shared.last()
    with shared.connect(f"{MARKET_PATH}?since={last}") as reader:
        shared.append(1)
        assert received(reader)["seq"] == last + 1


def test_a_since_beyond_the_count_is_answered_with_a_snapshot(shared: World) -> None:
    last = shared.last()
    with shared.connect(f"{MARKET_PATH}?since={last + 1_000_000}") as reader:
        snapshot = received(reader)
        assert (snapshot["type"], snapshot["seq"]) == ("snapshot", last)
        shared.append(1)
        assert received(reader)["seq"] == last + 1


def test_readers_that_come_while_much_is_counted_miss_and_repeat_nothing(shared: World) -> None:
    before = shared.last()
    writer = threading.Thread(target=lambda: [shared.append(50) for _ in range(20)])
    writer.start()
    found: list[list[int]] = []
    for n in range(10):
        since = before if n % 2 else max(0, before - 40 * n)
        with shared.connect(f"{MARKET_PATH}?since={since}") as reader:
            seqs = [since]
            while seqs[-1] < before + 100 * n:
                seqs.append(received(reader)["seq"])
        found.append(seqs)
    writer.join()
    assert found == [list(range(seqs[0], seqs[-1] + 1)) for seqs in found]


def test_heartbeats_carry_the_last_seq_and_the_time(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.1)
    with shared.connect(MARKET_PATH) as reader:
        seq = received(reader)["seq"]
        beats = [msgspec.json.decode(reader.recv(timeout=WAIT_S)) for _ in range(2)]
        assert [(beat["type"], beat["seq"]) for beat in beats] == [("heartbeat", seq)] * 2
        assert beats[0]["time"] < beats[1]["time"]


def test_a_market_without_a_candle_is_known(shared: World) -> None:
    market = spot("NEW/USDT")
    JournalWriter(shared.log, "feed", 0).append(market, key=market.key)
    with shared.connect("/ws/market/NEW/USDT") as reader:
        assert received(reader) == {"type": "snapshot", "seq": 0, "messages": []}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/ws/market/NO/SUCH", 4404),
        ("/ws/bot/99/status", 4404),
        ("/ws/bot/one/status", 4404),
        ("/ws/portfolio/0", 4404),
        (f"/ws/portfolio/{10**30}", 4404),
        ("/ws/system?since=-1", 4400),
        ("/ws/system?since=", 4400),
        (f"/ws/system?since={2**63}", 4400),
    ],
)
def test_what_is_not_there_is_told_by_its_code(shared: World, path: str, code: int) -> None:
    with shared.connect(path) as reader:
        assert closed(reader) == code


@pytest.mark.parametrize(
    ("sent", "code"), [("hello", 1008), (b"\0", 1008), ("x" * (wire.IN_BYTES_MAX + 1), 1009)]
)
def test_a_reader_that_sends_something_is_closed(shared: World, sent: str | bytes, code: int) -> None:
    with shared.connect("/ws/system") as reader:
        received(reader)
        reader.send(sent)
        assert closed(reader) == code


# ------------------------------------------------------------ who may read


def test_a_token_that_is_revoked_or_expires_ends_its_sockets(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.1)
    tokens, url = shared.api.services.tokens, shared.api.url
    revoked, expired = tokens.create("revoked", "read"), tokens.create("expired", "read", "1m")
    with opened(url, MARKET_PATH, additional_headers={"Authorization": f"Bearer {revoked}"}) as reader:
        assert received(reader)["type"] == "snapshot"
        tokens.revoke("revoked")
        assert closed(reader) == 4401
    with opened(url, "/ws/system", additional_headers={"Authorization": f"Bearer {expired}"}) as reader:
        assert received(reader)["type"] == "snapshot"
        now = tokens._now
        monkeypatch.setattr(tokens, "_now", lambda: now() + 61 * 10**9)
        assert closed(reader) == 4401


def test_a_browser_reads_with_its_session_until_it_logs_out(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.1)
    url = shared.api.url
    with httpx.Client(base_url=url, headers={"Origin": url}) as browser:
        browser.post("/auth/login", json={"token": shared.api.token("read")})
        cookie = {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}
        with opened(url, MARKET_PATH, origin=url, additional_headers=cookie) as reader:
            assert received(reader)["type"] == "snapshot"
            browser.post("/auth/logout")
            assert closed(reader) == 4401


def test_a_page_is_told_by_a_code_that_its_token_is_none(shared: World) -> None:
    with opened(shared.api.url, MARKET_PATH, origin=shared.api.url) as reader:
        assert closed(reader) == 4401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "evil.example"}, 400),
    ],
)
def test_others_are_refused_in_the_handshake(shared: World, headers: dict[str, str], status: int) -> None:
    if set(headers) & {"Origin", "Host"}:
        headers = {**headers, "Authorization": f"Bearer {shared.api.token('read')}"}
    with pytest.raises(InvalidStatus) as error:
        opened(shared.api.url, MARKET_PATH, additional_headers=headers)
    assert error.value.response.status_code == status


# ------------------------------------------------------------ what goes away, and comes back


def test_forming_candles_come_beside_the_count(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with (
        world(tmp_path, strategies, published=bundled.url, redis_url=bundled.url) as made,
        made.connect(MARKET_PATH) as reader,
    ):
        seq = received(reader)["seq"]
        made.mirror.show_forming({f"sim:{SYMBOL}": candle(9_999)})
        first = received(reader)
        made.append(1)
        counted = received(reader)
        made.mirror.show_forming({f"sim:{SYMBOL}": candle(9_999)})
        second = received(reader)
    assert [message["forming"] for message in (first, counted, second)] == [True, False, True]
    assert [message["seq"] for message in (first, counted, second)] == [seq, seq + 1, seq + 1]


def test_a_count_that_was_set_back_is_told_by_a_snapshot(tmp_path: Path, strategies: Strategies) -> None:
    with world(tmp_path, strategies) as made:
        made.mirror.stop()
        with made.connect(f"{MARKET_PATH}?since=5") as reader:
            several(reader, made.last() - 5)
            turn = made.store.turn()
            made.store.write(turn, {MARKET: Snapshot(3)}, {}, [])
            assert received(reader) == {"type": "snapshot", "seq": 3, "messages": []}
        made.mirror = Mirror(made.log, made.api.services.settings.database_url, NOBODY)


def test_a_database_that_does_not_answer_is_told(home: Path, strategies: Strategies) -> None:
    url = "postgresql+psycopg2://tcpd@127.0.0.1:9/tcpd?connect_timeout=2"
    settings = replace(load_settings({"TCPD_HOME": str(home)}), database_url=url)
    with ExitStack() as stack:
        log = as_log([], home / "empty-log")
        stack.callback(log.close)
        api = serving(settings, log, open_engine(url), strategies, stack)
        headers = {"Authorization": f"Bearer {api.token('read')}"}
        with opened(api.url, "/ws/system", additional_headers=headers) as reader:
            assert closed(reader) == 1013


class Killed:
    """`serve` as a program on one port, killed and started again."""

    def __init__(self, home: Path, redis_url: str) -> None:
        settings = {"TCPD_REDIS_URL": redis_url}
        self._environment = CommandLine(home, settings).environment
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", port, "--json"],
            env=self._environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = msgspec.json.decode(self._process.stdout.readline())["api"]

    def end(self, how: signal.Signals) -> int:
        """Its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.communicate(timeout=WAIT_S)
        return self._process.returncode

    def resident_bytes(self) -> int:
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()


@contextmanager
def program(home: Path, redis_url: str) -> Iterator[Killed]:
    server = Killed(home, redis_url)
    server.start()
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)


def test_a_reader_that_resumes_gets_what_the_log_holds_though_redis_and_server_are_killed(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    chance, found, turns = Random(5), list[Message](), 16
    with (
        world(tmp_path, strategies, published=bundled.url) as made,
        program(tmp_path, bundled.url) as server,
    ):
        headers = {"Authorization": f"Bearer {made.api.token('read')}"}
        for turn in range(turns):
            made.append(chance.randint(1, 40))
            if turn % 6 == 2:
                os.kill(bundled.pid or 0, signal.SIGKILL)
            if turn % 6 == 4:
                bundled.start()
            if turn in (5, 11):
                server.end(signal.SIGKILL)
                server.start()
            wanted = made.last() if turn == turns - 1 else len(found) + chance.randint(1, 30)
            since = found[-1]["seq"] if found else 0
            with opened(server.url, f"{MARKET_PATH}?since={since}", additional_headers=headers) as reader:
                made.append(chance.randint(1, 40))
                while len(found) < min(wanted, made.last()):
                    found.append(received(reader))
                if turn % 2:
                    reader.socket.shutdown(socket.SHUT_RDWR)
        assert found == made.told(MARKET)[: len(found)]
        assert len(found) >= 300


def test_a_socket_goes_on_while_redis_is_killed_and_comes_back(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with (
        world(tmp_path, strategies, published=bundled.url, redis_url=bundled.url) as made,
        made.connect(MARKET_PATH) as reader,
    ):
        before = received(reader)["seq"]
        found: list[Message] = []
        for _ in range(3):
            made.append(20)
            found += several(reader, 20)
            os.kill(bundled.pid or 0, signal.SIGKILL)
            made.append(20)
            found += several(reader, 20)
            bundled.start()
        made.append(20)
        found += several(reader, 20)
        assert found == made.told(MARKET, before)


def test_a_server_that_is_told_to_end_closes_its_sockets_and_ends(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with (
        world(tmp_path, strategies, published=bundled.url) as made,
        program(tmp_path, bundled.url) as server,
    ):
        token = made.api.token("read")
        stuck = BareReader(server.url, f"{MARKET_PATH}?since=0", token, room=4_096)
        made.append(1_000)
        with opened(
            server.url, MARKET_PATH, additional_headers={"Authorization": f"Bearer {token}"}
        ) as reader:
            assert received(reader)["type"] == "snapshot"
            assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)
            assert closed(reader) == 1012
        stuck.close()


# ------------------------------------------------------------ slow readers


def test_a_reader_that_does_not_answer_a_close_is_cut_off(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CLOSE_S", 0.1)
    reader = BareReader(shared.api.url, "/ws/bot/99/status", shared.api.token("read"))
    while not reader.ended:
        reader.texts()
    assert reader.code == 4404
    reader.close()


class Crowd:
    """180 readers, and 20 that do not read, of a market from now on."""

    def __init__(self, url: str, token: str, since: int) -> None:
        path = f"{MARKET_PATH}?since={since}"
        self.readers = [BareReader(url, path, token) for _ in range(180)]
        self.stuck = [BareReader(url, path, token, room=4_096) for _ in range(20)]
        self.first = since + 1
        self._due = dict.fromkeys(self.readers, self.first)

    def read(self, last: int) -> None:
        """Have those who read read to `last`; each must get every message once."""

        def take(reader: BareReader, text: bytes) -> bool:
            message = msgspec.json.decode(text)
            if message["type"] != "heartbeat":
                assert message["seq"] == self._due[reader]
                self._due[reader] += 1
            return self._due[reader] == last + 1

        read_all(self.readers, take)
        assert set(self._due.values()) == {last + 1}

    def close(self) -> None:
        for reader in self.readers + self.stuck:
            reader.close()


def test_of_200_readers_20_that_do_not_read_are_cut_off_and_the_others_get_everything(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "TAKE_S", 4.0)
    monkeypatch.setattr(wire, "CLOSE_S", 60.0)  # those that were cut off read when the others have read
    with world(tmp_path, strategies, published=bundled.url, redis_url=bundled.url) as made:
        crowd = Crowd(made.api.url, made.api.token("read"), made.last())
        served, peaks, at_end = made.api.services.hub, [0], threading.Event()

        def sample() -> None:
            while not at_end.wait(0.01):
                with suppress(OSError):  # one was closed just now
                    peaks.append(max(one.wire.queued for one in served.readers))

        sampler = threading.Thread(target=sample)
        sampler.start()
        made.append(500)
        writer = threading.Thread(target=lambda: [made.append(10) for _ in range(50)])
        writer.start()
        crowd.read(crowd.first + 999)
        writer.join()
        while len(served.readers) > 180:
            at_end.wait(0.01)
        at_end.set()
        sampler.join()
        for reader in crowd.stuck:
            assert_dense_until_cut_off(reader, crowd.first)
        assert {reader.code for reader in crowd.readers} == {None}
        crowd.close()
    assert 16_000 < max(peaks) <= 64_000


def test_the_memory_of_a_server_with_200_readers_stays_flat(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with (
        world(tmp_path, strategies, published=bundled.url) as made,
        program(tmp_path, bundled.url) as server,
    ):
        crowd = Crowd(server.url, made.api.token("read"), made.last())
        resident: list[int] = []
        for turn in (1, 2, 3):
            made.append(400)
            crowd.read(crowd.first + 400 * turn - 1)
            resident.append(server.resident_bytes())
        crowd.close()
    assert resident[-1] - resident[0] < 20_000_000


def assert_dense_until_cut_off(reader: BareReader, first: int) -> None:
    texts: list[bytes] = []
    while not reader.ended and reader.code is None:
        texts += reader.texts()
    seqs = [m["seq"] for m in map(msgspec.json.decode, texts) if m["type"] != "heartbeat"]
    assert seqs == list(range(first, first + len(seqs)))
    assert reader.code == 4408
    reader.close()
