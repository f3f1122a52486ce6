"""WebSockets of the API: what comes over them, and who may read."""

import threading
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from api.http import hub, wire
from api.http.security import COOKIE
from infra.strategies.registry import Strategies
from streams.journal import JournalWriter
from tests.integration.api.socket_world import (
    MARKET,
    MARKET_PATH,
    WAIT_S,
    World,
    closed,
    opened,
    received,
    several,
    world,
)
from tests.journal import spot
from tests.services.redis import bundled_redis
from tests.socket_readers import BareReader


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
        bundled_redis() as server,
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
    for n in range(1, 11):  # the last one reads all: no other test hears what is still counted
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
        assert beats[0]["timestamp"] < beats[1]["timestamp"]


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


def test_a_reader_that_does_not_answer_a_close_is_cut_off(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "CLOSE_S", 0.1)
    reader = BareReader(shared.api.url, "/ws/bot/99/status", shared.api.token("read"))
    while not reader.ended:
        reader.texts()
    assert reader.code == 4404
    reader.close()
