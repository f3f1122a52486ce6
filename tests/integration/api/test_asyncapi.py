"""What a worker publishes and the sockets send, held against the AsyncAPI document of the server."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from websockets.sync.client import connect

from api.http import hub
from infra.channels.messages import snapshot_key
from infra.channels.store import ChannelStore
from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.db.schema import open_database
from infra.process.settings import Settings, load_settings
from infra.strategies.registry import Strategies
from infra.worker.root import Progress, work
from streams.backends import open_log
from streams.codec import encode
from streams.journal import JournalWriter
from streams.log import Log
from streams.records import Entry, Input, partition_of
from streams.topics import JOURNAL
from tests.asyncapi import Document
from tests.integration.api.conftest import Api, serving
from tests.journal import START, batch, spot
from tests.services.redis import bundled_redis

MARKET = spot("A/USDT")
HOURS = 26
CLIENTS = Path(__file__).resolve().parents[3] / "docs" / "channels.md"
END = "the end"
Texts = dict[str, list[Any]]


def prices(start: int, hours: int) -> list[tuple[float, int, int]]:
    return [(start + 300 * n + 7, 100 + (n * 7) % 23 - n % 11, 5) for n in range(hours * 12)]


def record(log: Log, strategies: Strategies) -> None:
    """More than a day of trades, two bots, orders that are replaced, bytes that are no event, and behind a
    hole trades of one id."""
    writer = JournalWriter(log, "feed", 0)
    manager = BotManager(log, strategies, "test:ann", now=lambda: START)
    writer.append(MARKET, key=MARKET.key)
    writer.append(batch(MARKET, prices(0, 1)), key=MARKET.key)
    spec = BotSpec(
        "macd_cross", "test", "A/USDT", "5m", "1000", {"fast": 2, "slow": 5, "signal": 2}, short=True
    )
    manager.create_bot(spec, start=True)
    manager.create_bot(spec, start=True)
    writer.append(batch(MARKET, prices(3600, HOURS - 2)), key=MARKET.key)
    for target in (1, -1, 0.5):  # each but the first replaces an order that waits
        manager.process_signal(2, target)
    manager.stop_bot(1)
    place = partition_of(MARKET.key.encode(), log.partitions)
    behind = batch(MARKET, prices((HOURS - 1) * 3600, 1), ids=[7] * 12)
    hole = encode(Input("other", 0, 7, behind))
    time_ms = START // 1_000_000
    log.append([Entry(JOURNAL, MARKET.key.encode(), value, time_ms, place) for value in (b"garbage", hole)])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with bundled_redis() as server:
        yield load_settings({"TCPD_HOME": str(tmp_path_factory.mktemp("run")), "TCPD_REDIS_URL": server.url})


@pytest.fixture(scope="module")
def published(settings: Settings, strategies: Strategies) -> Texts:
    """All that one run of a worker publishes, by channel, and under `…:snapshot` what is kept there."""
    log = open_log(settings.log_url)
    record(log, strategies)
    log.close()
    client = redis.Redis.from_url(settings.redis_url or "")
    heard = client.pubsub(ignore_subscribe_messages=True)
    heard.psubscribe("*")
    texts: Texts = {}

    def hear(timeout: float = 0) -> dict[str, Any] | None:
        try:
            got = heard.get_message(timeout=timeout)
        except redis.exceptions.TimeoutError:  # the rest of a message is on the way
            return None
        if got is not None and got["channel"].decode() != END:
            texts.setdefault(got["channel"].decode(), []).append(msgspec.json.decode(got["data"]))
        return got

    def enough(progress: Progress) -> bool:
        while hear() is not None:
            pass
        return progress.caught_up and any(one["forming"] for one in texts.get("market_data:A/USDT", []))

    work(settings, until=enough)
    client.publish(END, b"null")
    while (got := hear(1)) is None or got["channel"].decode() != END:
        pass
    for channel in list(texts):
        texts[snapshot_key(channel)] = [msgspec.json.decode(client.get(snapshot_key(channel)) or b"")]
    client.close()
    return texts


@pytest.fixture(scope="module")
def api(settings: Settings, published: Texts, strategies: Strategies) -> Iterator[Api]:
    with ExitStack() as stack:
        log = open_log(settings.log_url)
        stack.callback(log.close)
        database = open_database(settings.database_url)
        stack.callback(database.dispose)
        yield serving(settings, log, database, strategies, stack)


@pytest.fixture(scope="module")
def document(api: Api) -> Document:
    return Document(api.get("/api/asyncapi.json"))


def test_the_document_is_for_those_who_have_a_token(api: Api, document: Document) -> None:
    with api.client(None) as nobody:
        assert nobody.get("/api/asyncapi.json").status_code == 401
    assert f"http://{document['servers']['api']['host']}" == api.url
    assert str(api.services.settings.redis_url).startswith(f"redis://{document['servers']['redis']['host']}/")


def test_every_message_of_a_run_is_one_of_its_channels_in_the_document(
    published: Texts, document: Document
) -> None:
    seen: dict[str, set[str]] = {}
    for address, messages in published.items():
        if not address.endswith(":snapshot"):
            channel = document.channel(address)
            for one in messages:
                (kind,) = document.kinds(channel, one)
                seen.setdefault(channel, set()).add(kind)
    described = {
        name: {kind for kind in channel["messages"] if kind not in ("gap", "lost")}
        for name, channel in document["channels"].items()
        if not channel["address"].startswith("/")
    }
    assert seen == described
    candles = published["market_data:A/USDT"]
    assert {one["timeframe"] for one in candles} == {"1m", "5m", "15m", "1h", "4h", "1d"}


def test_what_is_kept_under_a_snapshot_key_is_as_the_document_says(
    published: Texts, document: Document
) -> None:
    keys = [name for name in published if name.endswith(":snapshot")]
    assert len(keys) == 10  # one market, two bots with four channels each, one for the system
    for key in keys:
        kept = document["channels"][document.channel(key.removesuffix(":snapshot"))]["x-snapshot"]
        document.validator(kept["schema"]).validate(published[key][0])


def frames(api: Api, path: str, until: Callable[[Any], bool]) -> list[Any]:
    found: list[Any] = []
    headers = {"Authorization": f"Bearer {api.token('read')}"}
    with connect(api.url.replace("http", "ws") + path, additional_headers=headers) as socket:
        while not found or not until(found[-1]):
            found.append(msgspec.json.decode(socket.recv(timeout=30)))
    return found


@pytest.mark.parametrize("path", ["/ws/market/A/USDT", "/ws/bot/2/status", "/ws/portfolio/2", "/ws/system"])
def test_every_frame_of_a_socket_is_one_of_its_messages_in_the_document(
    api: Api, document: Document, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HEARTBEAT_S", 0.05)
    channel = document.channel(path)
    beginning = frames(api, path, lambda one: one["type"] == "heartbeat")
    seen = {kind for one in beginning for kind in document.kinds(channel, one)}
    snapshot = beginning[0]
    for one in frames(api, f"{path}?since=0", lambda one: one["seq"] == snapshot["seq"]):
        (kind,) = document.kinds(channel, one)
        seen.add(kind)
    outside = {"gap", "lost", "candle.v1.forming"}  # of which this run has none left
    assert seen == set(document["channels"][channel]["messages"]) - outside


@pytest.mark.parametrize("number", range(3))
def test_the_clients_of_the_documentation_begin_with_a_snapshot_of_the_market(
    api: Api, published: Texts, number: int, node: str
) -> None:
    blocks = re.findall(r"```(python|js)\n(.*?)```", CLIENTS.read_text(encoding="utf-8"), re.S)
    language, text = blocks[number]
    runs = [sys.executable, "-c"] if language == "python" else [node, "-e"]
    url = api.url.replace("http", "ws")
    where = [api.services.settings.redis_url, "market_data:A/USDT"]
    if "redis" not in text:
        where = [url, api.token("read"), "A/USDT"]
    with subprocess.Popen([*runs, text, *map(str, where)], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        first = client.stdout.readline()
        client.kill()
    kept = published["market_data:A/USDT:snapshot"][0]
    assert {name: msgspec.json.decode(first)[name] for name in kept} == kept


def test_a_gap_where_the_log_is_another_is_in_the_document(
    api: Api, settings: Settings, document: Document
) -> None:
    store = ChannelStore(settings.database_url)
    store.forget_log(store.load().turn)
    store.close()
    (gap,) = frames(api, "/ws/market/A/USDT?since=3", lambda one: one["type"] == "gap")
    assert document.kinds("market_socket", gap) == ["gap"]
    assert (gap["first"], gap["last"]) == (4, gap["seq"])
