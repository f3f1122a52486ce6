"""Readers of sockets that do not read are cut off, and nobody else notices."""

import threading
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from api.http import hub, wire
from infra.process.bundled_redis import RedisServer
from infra.strategies.registry import Strategies
from tests.integration.api.socket_world import MARKET_PATH, program, world
from tests.socket_readers import BareReader, read_all


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
        cut_off = metric("readers_cut_off_total")

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
        while metric("readers") > 180:
            at_end.wait(0.01)
        at_end.set()
        sampler.join()
        assert len(served.readers) == 180
        assert metric("readers_cut_off_total") == cut_off + 20
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


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"tcpd_websocket_{name}") or 0.0


def assert_dense_until_cut_off(reader: BareReader, first: int) -> None:
    texts: list[bytes] = []
    while not reader.ended and reader.code is None:
        texts += reader.texts()
    seqs = [m["seq"] for m in map(msgspec.json.decode, texts) if m["type"] != "heartbeat"]
    assert seqs == list(range(first, first + len(seqs)))
    assert reader.code == 4408
    reader.close()
