"""What others send, and what they name their things, does not stop the doors."""

import socket
import threading
from pathlib import Path

import msgspec
import pytest
import redis

from api.http import request
from api.http.wire import KERNEL_BYTES_MAX
from infra.strategies.registry import Strategies
from tests.derived import candle
from tests.integration.api.conftest import Api
from tests.integration.api.socket_world import (
    MARKET,
    MARKET_PATH,
    SYMBOL,
    WAIT_S,
    received,
    world,
)
from tests.services.redis import bundled_redis
from tests.socket_readers import BareReader


@pytest.mark.parametrize("foreign", [b"hello", b'{"seq":"x","type":"candle.v1"}', b"\xff"])
def test_what_others_publish_on_a_channel_does_not_end_what_the_mirror_publishes(
    tmp_path: Path, strategies: Strategies, foreign: bytes
) -> None:
    with (
        bundled_redis() as server,
        world(tmp_path, strategies, published=server.url, redis_url=server.url) as made,
        made.connect(MARKET_PATH) as reader,
    ):
        assert received(reader)["type"] == "snapshot"
        with redis.Redis.from_url(server.url) as other:
            while other.publish(MARKET, foreign) == 0:
                threading.Event().wait(0.01)
        # what is forming comes over Redis and from nowhere else; what is published while nobody is
        # subscribed is lost, and heartbeats come in between
        for close in range(9_900, 9_950):
            made.mirror.show_forming({f"sim:{SYMBOL}": candle(close)})
            if msgspec.json.decode(reader.recv(timeout=WAIT_S)).get("forming"):
                return
        pytest.fail("nothing that is forming arrived")


def test_what_waits_for_a_reader_that_pings_and_reads_nothing_is_bounded(
    tmp_path: Path, strategies: Strategies
) -> None:
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)
    with world(tmp_path, strategies) as made:
        reader = BareReader(made.api.url, MARKET_PATH, made.api.token("read"), room=4_096)
        assert reader.texts()
        (served,) = made.api.services.hub.readers
        waiting = []
        for _ in range(100):
            reader.socket.sendall(400 * ping)
            waiting.append(served.wire.queued)
        reader.close()
    assert max(waiting) < 2 * KERNEL_BYTES_MAX


@pytest.mark.parametrize(
    "part", ["", "GET /health/live HTTP/1.1\r\nHost: 127", "POST /auth/login HTTP/1.1\r\nHost: {host}\r\n"
             "Content-Length: 9\r\n\r\nx"]
)  # fmt: skip
def test_a_request_that_does_not_arrive_is_cut_off(
    fresh: Api, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(request, "REQUEST_S", 0.2)
    host = fresh.url.removeprefix("http://")
    with socket.create_connection(host.split(":"), timeout=WAIT_S) as slow, pytest.raises(ConnectionError):
        slow.sendall(part.format(host=host).encode())
        while slow.recv(1_000):
            pass
        raise ConnectionResetError


def test_an_answer_and_a_socket_may_take_longer_than_a_request(
    tmp_path: Path, strategies: Strategies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "REQUEST_S", 2.0)  # a heartbeat comes after five
    with world(tmp_path, strategies) as made, made.connect(MARKET_PATH) as reader:
        assert received(reader)["type"] == "snapshot"
        assert msgspec.json.decode(reader.recv(timeout=WAIT_S))["type"] == "heartbeat"


def test_a_database_whose_file_was_deleted_is_not_ready(fresh: Api) -> None:
    assert fresh.client(None).get("/health/ready").status_code == 200
    for file in fresh.services.settings.home.glob("projections.db*"):
        file.unlink()
    assert fresh.client(None).get("/health/ready").status_code == 503
    assert fresh.client("read").get("/api/bots").status_code == 503
