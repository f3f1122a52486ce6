"""What others send, and what they name their things, does not stop the doors."""

import threading
from pathlib import Path

import msgspec
import pytest
import redis

from api.http.wire import KERNEL_BYTES_MAX
from infra.strategies import Strategies
from tests.derived import candle
from tests.integration.api.test_sockets import (
    MARKET,
    MARKET_PATH,
    SYMBOL,
    WAIT_S,
    received,
    redis_at_work,
    world,
)
from tests.socket_readers import BareReader


@pytest.mark.parametrize("foreign", [b"hello", b'{"seq":"x","type":"candle.v1"}', b"\xff"])
def test_what_others_publish_on_a_channel_does_not_end_what_the_mirror_publishes(
    tmp_path: Path, strategies: Strategies, foreign: bytes
) -> None:
    with (
        redis_at_work() as server,
        world(tmp_path, strategies, published=server.url, redis_url=server.url) as made,
        made.connect(MARKET_PATH) as reader,
    ):
        assert received(reader)["type"] == "snapshot"
        with redis.Redis.from_url(server.url) as other:
            while other.publish(MARKET, foreign) == 0:
                threading.Event().wait(0.01)
        made.mirror.show_forming({f"sim:{SYMBOL}": candle(9_999)})
        # a message of Redis comes before two heartbeats, and from nowhere else
        assert any(msgspec.json.decode(reader.recv(timeout=WAIT_S)).get("forming") for _ in range(2))


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
