"""Sockets whose Redis, database or server go away and come back: dense and whole nevertheless."""

import signal
import socket
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from random import Random

from redis import Redis
from websockets.sync.client import ClientConnection

from infra.channels.messages import Snapshot
from infra.db.connect import database_at
from infra.process.addresses import REDIS, announced
from infra.process.bundled_redis import RedisServer
from infra.process.settings import load_settings
from infra.strategies.registry import Strategies
from tests.derived import as_log, candle
from tests.integration.api.conftest import serving
from tests.integration.api.socket_world import (
    MARKET,
    MARKET_PATH,
    SYMBOL,
    Message,
    World,
    closed,
    opened,
    program,
    received,
    several,
    world,
)
from tests.services.redis import kill9
from tests.socket_readers import BareReader

SHOWN_AGAIN_S = 0.5


def test_forming_candles_come_beside_the_count(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with (
        world(tmp_path, strategies, published=bundled.url, redis_url=bundled.url) as made,
        made.connect(MARKET_PATH) as reader,
    ):
        seq = received(reader)["seq"]
        first = formed(made, reader)
        made.append(1)
        while (counted := received(reader))["forming"]:
            pass
        second = formed(made, reader)
    assert [message["forming"] for message in (first, counted, second)] == [True, False, True]
    assert [message["seq"] for message in (first, counted, second)] == [seq, seq + 1, seq + 1]


def test_sockets_find_the_bundled_redis_of_their_home_and_go_on_without_it(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with world(tmp_path, strategies, published=bundled.url) as made, made.connect(MARKET_PATH) as reader:
        seq = received(reader)["seq"]
        made.append(1)
        assert received(reader)["seq"] == seq + 1
        with announced(tmp_path, REDIS, bundled.url):
            assert formed(made, reader)["seq"] == seq + 1
        bundled.stop()
        made.append(1)
        while (counted := received(reader))["forming"]:
            pass
        assert counted["seq"] == seq + 2


def formed(made: World, reader: ClientConnection) -> Message:
    """The next message, of forming candles that are shown again until one finds the reader subscribed."""
    while True:
        made.mirror.show_forming({f"sim:{SYMBOL}": candle(9_999)})
        try:
            return received(reader, SHOWN_AGAIN_S)
        except TimeoutError:
            continue


def test_what_is_no_message_on_redis_is_passed_over(
    bundled: RedisServer, tmp_path: Path, strategies: Strategies
) -> None:
    with (
        world(tmp_path, strategies, published=bundled.url, redis_url=bundled.url) as made,
        made.connect(MARKET_PATH) as reader,
        closing(Redis.from_url(bundled.url)) as stranger,
    ):
        seq = received(reader)["seq"]
        made.append(1)
        assert received(reader)["seq"] == seq + 1
        for rubbish in ("no JSON", "[]", '{"seq":"1","type":"candle.v1"}'):
            assert stranger.publish(MARKET, rubbish) == 1
        made.mirror.show_forming({f"sim:{SYMBOL}": candle(9_999)})
        assert received(reader)["forming"], "which comes over Redis alone"


def test_a_count_that_was_set_back_is_told_by_a_snapshot(tmp_path: Path, strategies: Strategies) -> None:
    with world(tmp_path, strategies) as made:
        made.mirror.stop()
        with made.connect(f"{MARKET_PATH}?since=5") as reader:
            several(reader, made.last() - 5)
            turn = made.store.turn()
            made.store.write(turn, {MARKET: Snapshot(3)}, {}, [])
            assert received(reader) == {"type": "snapshot", "seq": 3, "messages": []}


def test_a_database_that_does_not_answer_is_told(home: Path, strategies: Strategies) -> None:
    url = "postgresql+psycopg2://tcpd@127.0.0.1:9/tcpd?connect_timeout=2"
    settings = replace(load_settings({"TCPD_HOME": str(home)}), database_url=url)
    with ExitStack() as stack:
        log = as_log([], home / "empty-log")
        stack.callback(log.close)
        api = serving(settings, log, database_at(url), strategies, stack)
        headers = {"Authorization": f"Bearer {api.token('read')}"}
        with opened(api.url, "/ws/system", additional_headers=headers) as reader:
            assert closed(reader) == 1013


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
                kill9(bundled)
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
            kill9(bundled)
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
