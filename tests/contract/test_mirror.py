"""What the mirror promises on every Redis: each durable event once, in order, with a dense `seq`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import redis
from prometheus_client import REGISTRY

from infra.channels.messages import forming_body, snapshot_key
from infra.channels.publisher import Publisher
from infra.channels.reader import messages_since
from infra.channels.store import ChannelStore
from infra.db.schema import migrate
from infra.present.fields import per_row
from infra.present.values import event_to_json
from infra.process.bundled_redis import RedisServer
from infra.upkeep.rebuild import rebuild
from infra.worker.root import come_to
from streams.codec import UndecodableError, decode_output
from streams.embedded.log import EmbeddedLog
from streams.events import (
    BotChanged,
    Candle,
    DerivedEvent,
    Equity,
    Fill,
    IdsReused,
    Order,
    OrderClosed,
    Signal,
    SourceHole,
    WorkerStarted,
)
from streams.records import Entry, Output, Record
from streams.topics import CANDLES, PROJECTED
from tests.contract.conftest import NewDatabase
from tests.derived import as_log, candle, record, recorded
from tests.mirroring import mirroring
from tests.services.redis import Redis, bundled_redis
from tests.subscriber import Subscriber

MARKET = "market_data:M00/USD:X"
END = "the end"


@pytest.fixture
def server(request: pytest.FixtureRequest, database: str) -> Iterator[RedisServer | Redis]:
    """The bundled one beside SQLite, as on one machine; a real one beside PostgreSQL, as in production."""
    if database.startswith("postgresql"):
        yield request.getfixturevalue("redis_server")
        return
    with bundled_redis() as bundled:
        yield bundled


@pytest.fixture
def client(server: RedisServer | Redis) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


@pytest.fixture
def database(new_database: NewDatabase) -> str:
    url = new_database()
    migrate(url)
    return url


class Ear:
    """Hears every channel of a Redis."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._heard = client.pubsub()
        self._heard.psubscribe("*")
        assert self._heard.get_message(timeout=60)["type"] == "psubscribe"

    def messages(self) -> dict[str, list[dict[str, Any]]]:
        """What was published since the last call, by channel."""
        self._client.publish(END, b"null")
        heard: dict[str, list[dict[str, Any]]] = {}
        while (got := self._heard.get_message(timeout=60))["channel"].decode() != END:
            heard.setdefault(got["channel"].decode(), []).append(msgspec.json.decode(got["data"]))
        return heard


def append(log: EmbeddedLog, records: list[Record]) -> None:
    log.append([Entry(r.topic, r.key, r.value, r.time_ms, r.partition) for r in records], sync=False)


def mirrored(log: EmbeddedLog, database: str, url: str) -> None:
    """A mirror from where the last one ended to the end of the log."""
    with mirroring(log, database, url) as mirror:
        assert come_to(ends(log), lambda: mirror.applied, 120)


def expected(records: list[Record]) -> dict[str, list[dict[str, Any]]]:
    """Each event of a channel once, as a door shows it, stream by stream and partition by partition."""
    seen: set[tuple[str, str]] = set()
    found: dict[str, list[dict[str, Any]]] = {}
    for one in records:
        market = one.key.decode() if one.key else ""
        try:
            output = decode_output(one.value)
        except UndecodableError:
            found.setdefault("system_events", []).append({"offset": one.offset, "topic": one.topic})
            continue
        for event, cause in zip(output.events, output.causes(), strict=True):
            if output.offset >= 0:
                if (one.topic, str(cause)) in seen:
                    continue
                seen.add((one.topic, str(cause)))
            for channel in channels_of(market, event):
                shown = event_to_json(event)
                if isinstance(event, Equity):
                    shown |= {name: shown[name][0] for name in per_row(Equity)}
                found.setdefault(channel, []).append(shown)
    return found


def channels_of(market: str, event: DerivedEvent) -> list[str]:
    match event:
        case Candle():
            return [f"market_data:{market.split(':', 1)[1]}"]
        case Signal():
            return [f"bot_signals:{event.bot_id}", f"bot_status:{event.bot_id}"]
        case Fill():
            names = ("trade_updates", "bot_status", "portfolio")
            return [f"{name}:{event.bot_id}" for name in names]
        case Order() | OrderClosed():
            return [f"trade_updates:{event.bot_id}", f"bot_status:{event.bot_id}"]
        case Equity():
            return [f"portfolio:{event.bot_id[0]}"]
        case BotChanged():
            return ["system_events", f"bot_status:{event.bot_id}"]
        case SourceHole() | IdsReused() | WorkerStarted():
            return ["system_events"]
        case _:
            return []


ACROSS = ("system_events", "bot_status:", "portfolio:")
"""Channels of several partitions or streams, which are read in any order between them."""


def assert_same(heard: dict[str, list[dict[str, Any]]], records: list[Record]) -> None:
    """`heard` is the whole of `records`, numbered from 1."""
    wanted = expected(records)
    assert {c: len(m) for c, m in heard.items()} == {c: len(m) for c, m in wanted.items()}
    for channel, messages in heard.items():
        assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1)), channel
        if not channel.startswith(ACROSS):
            shown = [{name: m[name] for name in w} for m, w in zip(messages, wanted[channel], strict=True)]
            assert shown == wanted[channel], channel
        elif channel != "system_events":
            times = sorted(m["timestamp"] for m in messages)
            assert times == sorted(w["timestamp"] for w in wanted[channel]), channel


@pytest.fixture
def run(tmp_path: Path, database: str, server: RedisServer | Redis) -> Callable[[EmbeddedLog], None]:
    return lambda log: mirrored(log, database, server.url)


Run = Callable[[EmbeddedLog], None]


@pytest.mark.parametrize("seed", range(3))
def test_each_event_is_published_once_with_a_dense_seq_though_the_engine_crashed(
    tmp_path: Path, run: Run, client: Any, seed: int
) -> None:
    records = recorded(seed)
    ear = Ear(client)
    run(as_log(records, tmp_path / "log"))
    assert_same(ear.messages(), records)


def test_a_mirror_that_is_started_again_goes_on_with_the_count(tmp_path: Path, run: Run, client: Any) -> None:
    records, rng = recorded(3), Random(3)
    log = as_log([], tmp_path / "log")
    ear, heard = Ear(client), dict[str, list[dict[str, Any]]]()
    order = sorted(records, key=lambda record: record.offset)
    while order:
        count = rng.randint(1, 30)
        append(log, order[:count])
        del order[:count]
        run(log)
        for channel, messages in ear.messages().items():
            heard.setdefault(channel, []).extend(messages)
    for channel, messages in heard.items():
        assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1)), channel
    assert {c: len(m) for c, m in heard.items()} == {c: len(m) for c, m in expected(records).items()}


def test_the_snapshot_has_the_last_seq_and_the_newest_candle_of_each_venue_and_timeframe(
    tmp_path: Path, run: Run, client: Any
) -> None:
    records = recorded(4)
    ear = Ear(client)
    run(as_log(records, tmp_path / "log"))
    heard = ear.messages()[MARKET]
    snapshot = msgspec.json.decode(client.get(snapshot_key(MARKET)))
    assert snapshot["seq"] == heard[-1]["seq"]
    newest = max(heard, key=lambda message: (message["timestamp"], message["seq"]))
    assert snapshot["messages"] == [newest]
    assert (newest["venue"], newest["symbol"], newest["forming"]) == ("sim", "M00/USD:X", False)
    assert isinstance(newest["close"], str)
    assert newest["timestamp"].endswith("Z")


def test_an_empty_redis_gets_all_snapshots_back_from_the_database(
    tmp_path: Path, run: Run, client: Any
) -> None:
    log = as_log(recorded(5), tmp_path / "log")
    run(log)
    before = {key: client.get(key) for key in client.keys("*")}
    client.flushall()
    ear = Ear(client)
    run(log)
    assert {key: client.get(key) for key in client.keys("*")} == before
    assert ear.messages() == {}


def test_what_was_counted_while_redis_was_gone_is_published_from_the_log(
    tmp_path: Path, run: Run, database: str, client: Any
) -> None:
    records = recorded(6, journal_records=30)
    log = as_log(records[: len(records) // 3], tmp_path / "log")
    ear, heard = Ear(client), dict[str, list[dict[str, Any]]]()
    run(log)
    heard |= ear.messages()
    append(log, records[len(records) // 3 :])
    mirrored(log, database, "redis://127.0.0.1:1/0")  # nobody listens there
    assert ear.messages() == {}
    run(log)
    for channel, messages in ear.messages().items():
        heard.setdefault(channel, []).extend(messages)
    assert_same(heard, records)
    assert not any(m["type"] == "gap" for messages in heard.values() for m in messages)


def test_the_publish_delay_is_measured_of_what_was_published_alone(
    tmp_path: Path, database: str, server: RedisServer | Redis
) -> None:
    def measured() -> float:
        return REGISTRY.get_sample_value("tcpd_publish_delay_seconds_count") or 0.0

    records = recorded(6, journal_records=30)
    log, before = as_log(records[: len(records) // 3], tmp_path / "log"), measured()
    with mirroring(log, database, server.url) as mirror:
        assert come_to(ends(log), lambda: mirror.applied, 120)
        assert come_to(
            {("observed", 0): len(records) // 3}, lambda: {("observed", 0): int(measured() - before) - 1}, 120
        )
        server.stop()
        append(log, records[len(records) // 3 :])
        assert come_to(ends(log), lambda: mirror.applied, 120)
    assert measured() - before == len(records) // 3


def ends(log: EmbeddedLog) -> dict[tuple[str, int], int]:
    return {(topic, p): log.highwater(topic, p) for topic in PROJECTED for p in range(log.partitions)}


@pytest.mark.parametrize("foreign", ['{"seq":x', '{"seq":3,"messages":[{', ["a", "list"]])
def test_what_somebody_else_put_in_the_place_of_a_snapshot_is_overwritten(
    tmp_path: Path, run: Run, client: Any, foreign: str | list[str]
) -> None:
    log = as_log(recorded(5), tmp_path / "log")
    run(log)
    before = client.get(snapshot_key(MARKET))
    put(client, foreign)
    run(log)
    assert client.get(snapshot_key(MARKET)) == before


def test_a_snapshot_that_is_given_another_type_beside_a_running_mirror_costs_nothing(
    tmp_path: Path, run: Run, database: str, server: RedisServer | Redis, client: Any
) -> None:
    log = as_log(recorded(5), tmp_path / "log")
    run(log)
    last = msgspec.json.decode(client.get(snapshot_key(MARKET)))["seq"]
    other = "market_data:NEW/USD:X"
    with mirroring(log, database, server.url), Subscriber(server.url, other) as subscriber:
        append(log, [record(CANDLES, "sim:NEW/USD:X", 0, several_candles(100))])
        subscriber.wait_for(lambda: len(subscriber.counted) == 3)
        put(client, ["a", "list"])
        ear = Ear(client)
        append(log, [record(CANDLES, "sim:M00/USD:X", 0, several_candles(101))])
        append(log, [record(CANDLES, "sim:NEW/USD:X", 0, several_candles(102))])
    heard = ear.messages()
    assert [m["seq"] for m in heard[MARKET]] == [last + 1, last + 2, last + 3]
    assert [m["seq"] for m in heard[other]] == [4, 5, 6]
    assert msgspec.json.decode(client.get(snapshot_key(MARKET)))["seq"] == last + 3


def test_a_forming_candle_beside_a_key_of_another_type_is_not_published(
    server: RedisServer | Redis, client: Any
) -> None:
    put(client, ["a", "list"])
    ear, publisher = Ear(client), Publisher(server.url)
    publisher.publish_uncounted([(MARKET, forming_body("sim:M00/USD:X", candle(3)))])
    publisher.close()
    assert ear.messages() == {}


def put(client: Any, foreign: str | list[str]) -> None:
    """Put something that is not ours in the place of a snapshot."""
    client.delete(snapshot_key(MARKET))
    if isinstance(foreign, list):
        client.rpush(snapshot_key(MARKET), *foreign)
    else:
        client.set(snapshot_key(MARKET), foreign)


def test_a_redis_that_is_emptied_beside_a_running_mirror_is_filled_again(
    tmp_path: Path, database: str, server: RedisServer | Redis, client: Any
) -> None:
    records = recorded(7)
    log = as_log(records[: len(records) // 2], tmp_path / "log")
    with Subscriber(server.url, MARKET) as subscriber:
        with mirroring(log, database, server.url):
            subscriber.wait_for(lambda: len(subscriber.counted) >= 5)
            client.flushall()
            append(log, records[len(records) // 2 :])
        store = ChannelStore(database)
        subscriber.wait_for(lambda: subscriber.last == store.snapshot(MARKET).seq)
        store.close()
        assert len(subscriber.sessions) == 1
        assert subscriber.sessions[0].is_dense()


def test_of_two_mirrors_one_counts_and_nothing_is_published_twice(
    tmp_path: Path, database: str, server: RedisServer | Redis, client: Any
) -> None:
    records = recorded(8, journal_records=40)
    log = as_log([], tmp_path / "log")
    ear = Ear(client)
    with mirroring(log, database, server.url), mirroring(log, database, server.url):
        for start in range(0, len(records), 10):
            append(log, records[start : start + 10])
    mirrored(log, database, server.url)
    assert_same(ear.messages(), records)


def test_a_reader_that_comes_back_gets_the_same_messages_from_the_log(
    tmp_path: Path, run: Run, database: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.channels.mirror.RUN_MESSAGES", 4)
    monkeypatch.setattr("infra.channels.mirror.RUN_RECORDS", 11)
    log = as_log(recorded(9, journal_records=25), tmp_path / "log")
    many = [record(CANDLES, "sim:M00/USD:X", 0, several_candles(n)) for n in range(100, 120)]
    append(log, many)
    ear = Ear(client)
    run(log)
    store = ChannelStore(database)
    for channel, heard in ear.messages().items():
        for since in range(len(heard) + 1):
            again = [msgspec.json.decode(m.text) for m in messages_since(log, store, channel, since)]
            assert again == heard[since:], (channel, since)
    store.close()


def test_a_forming_candle_that_has_closed_meanwhile_is_not_published(
    tmp_path: Path, run: Run, server: RedisServer | Redis, client: Any
) -> None:
    run(as_log(recorded(17), tmp_path / "log"))
    ear, publisher = Ear(client), Publisher(server.url)
    for minute in (18, 19, 20):
        publisher.publish_uncounted([(MARKET, forming_body("sim:M00/USD:X", candle(minute)))])
    publisher.publish_uncounted([(MARKET, forming_body("other:M00/USD:X", candle(3)))])
    publisher.close()
    shown = [(m["venue"], m["timestamp"]) for m in ear.messages()[MARKET]]
    assert shown == [("sim", "2018-01-01T00:21:00Z"), ("other", "2018-01-01T00:04:00Z")]


def several_candles(minute: int) -> Output:
    """Of one journal record, as when several timeframes close."""
    candles = tuple(candle(minute, revision=revision) for revision in range(3))
    return Output(0, minute, (0, 1, 2), candles)


def test_a_rebuild_of_the_projections_leaves_the_count_alone(
    tmp_path: Path, run: Run, database: str, client: Any
) -> None:
    log = as_log(recorded(10), tmp_path / "log")
    run(log)
    before = client.get(snapshot_key(MARKET))
    rebuild(log, database)
    ear = Ear(client)
    run(log)
    assert client.get(snapshot_key(MARKET)) == before
    assert ear.messages() == {}


def test_a_gap_says_what_the_log_no_longer_holds(
    tmp_path: Path, run: Run, database: str, client: Any
) -> None:
    log = as_log(recorded(11), tmp_path / "log")
    run(log)
    last = msgspec.json.decode(client.get(snapshot_key(MARKET)))["seq"]
    client.set(snapshot_key(MARKET), b'{"seq":3,"messages":[]}')
    cut(log, "candles", 0, 20)
    ear = Ear(client)
    run(log)
    gap, *rest = ear.messages()[MARKET]
    assert (gap["type"], gap["first"], gap["last"], gap["seq"]) == ("gap", 4, last, last)
    assert rest == []
    assert msgspec.json.decode(client.get(snapshot_key(MARKET)))["seq"] == last


def test_records_that_went_before_they_were_counted_are_told_and_the_rest_is_counted(
    tmp_path: Path, run: Run, client: Any
) -> None:
    log = as_log(recorded(12), tmp_path / "log")
    cut(log, "candles", 0, 5)
    ear = Ear(client)
    run(log)
    heard = ear.messages()
    gap = next(m for m in heard["system_events"] if m["type"] == "gap")
    assert (gap["topic"], gap["partition"], gap["first_offset"], gap["last_offset"]) == ("candles", 0, 0, 4)
    assert [m["seq"] for m in heard[MARKET]] == list(range(1, len(heard[MARKET]) + 1))


def test_another_log_goes_on_with_each_seq(tmp_path: Path, run: Run, client: Any) -> None:
    run(as_log(recorded(13, journal_records=30), tmp_path / "log"))
    last = msgspec.json.decode(client.get(snapshot_key(MARKET)))["seq"]
    ear = Ear(client)
    run(as_log(recorded(14, journal_records=3), tmp_path / "other"))
    heard = ear.messages()[MARKET]
    assert [m["seq"] for m in heard] == list(range(last + 1, last + 1 + len(heard)))


def test_a_forming_candle_carries_the_last_seq_and_is_not_counted(
    tmp_path: Path, database: str, server: RedisServer | Redis
) -> None:
    log = as_log(recorded(15), tmp_path / "log")
    with Subscriber(server.url, MARKET) as subscriber:
        store = ChannelStore(database)
        with mirroring(log, database, server.url) as mirror:
            subscriber.wait_for(lambda: 0 < subscriber.last == store.snapshot(MARKET).seq)
            mirror.show_forming({"sim:M00/USD:X": candle(99)})
            session = subscriber.sessions[0]
            subscriber.wait_for(
                lambda: any(m["timestamp"] == "2018-01-01T01:40:00Z" for m in session.forming)
            )
        forming = session.forming[-1]
        assert forming["seq"] == store.snapshot(MARKET).seq == subscriber.last
        store.close()


def test_of_a_burst_of_forming_candles_a_few_are_published_and_the_last(
    tmp_path: Path, database: str, redis_server: Redis
) -> None:
    log = as_log(recorded(15), tmp_path / "log")
    with (
        mirroring(log, database, redis_server.url) as mirror,
        Subscriber(redis_server.url, MARKET) as subscriber,
    ):
        subscriber.wait_for(lambda: subscriber.last > 0)
        for close in range(1_000):
            mirror.show_forming({"sim:M00/USD:X": candle(99, close=130_000 + close)})
        forming = subscriber.sessions[0].forming
        subscriber.wait_for(lambda: any(m["close"] == "13099.9" for m in forming))
    assert len(forming) < 100


def test_redis_cli_receives_all_channels(
    tmp_path: Path, new_database: NewDatabase, redis_server: Redis
) -> None:
    database = new_database()
    migrate(database)
    wanted = {"market_data", "bot_signals", "trade_updates", "bot_status", "portfolio", "system_events"}
    with redis_server.cli("PSUBSCRIBE", "*") as cli:
        cli.until(lambda: "psubscribe" in cli.said, "a subscription")
        mirrored(as_log(recorded(16), tmp_path / "log"), database, redis_server.url)
        cli.until(lambda: wanted <= {line.split(":")[0] for line in cli.said.splitlines()}, "all channels")


def cut(log: EmbeddedLog, topic: str, partition: int, offset: int) -> None:
    """Take the first records away, as a retention would."""
    with log._through_gate():
        log._writer.execute(
            'DELETE FROM records WHERE topic = ? AND partition = ? AND "offset" < ?',
            (topic, partition, offset),
        )
