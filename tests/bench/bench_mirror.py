"""Publishes a second to Redis, events a second through the whole mirror, and the delay from a record
acknowledged by the log to its message at a subscriber.

Run by `python -m tests.bench.bench_mirror [REDIS_URL]`; without a URL on the bundled server.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import perf_counter, sleep
from typing import Any

import numpy as np
import redis

from infra.channels.messages import Snapshot, publications
from infra.channels.mirror import Mirror
from infra.channels.publisher import Batch, Publisher
from infra.db.schema import migrate
from infra.process.bundled_redis import RedisServer
from streams.causes import Cause
from streams.codec import encode
from streams.records import Entry, Output
from streams.topics import CANDLES
from tests.bench.bench_projections import candles, signals
from tests.bench.timing import load
from tests.derived import as_log, candle

MESSAGES = 200_000
EVENTS = 50_000
PROBES = 500
PROBE_S = 0.02
WARM_UP = 20
"""The first probes are not counted: connections are made."""


def publishing(url: str, messages_each: int) -> float:
    """Messages a second, of candles on 200 channels, so many of a channel at once."""
    (made,) = publications("sim:BTC/USDT", candle(1), Cause(0, 1, 0))
    channels = [(f"market_data:M{n}/USD", Snapshot()) for n in range(200)]
    rounds: list[list[Batch]] = []
    for _ in range(MESSAGES // (200 * messages_each)):
        batches: list[Batch] = []
        for name, snapshot in channels:
            texts = [snapshot.add(made) for _ in range(messages_each)]
            first = snapshot.seq - messages_each + 1
            batches.append(Batch(name, first, snapshot.seq, snapshot.encode(), texts))
        rounds.append(batches)
    client = redis.Redis.from_url(url)
    client.flushall()
    publisher = Publisher(url)
    began = perf_counter()
    for batches in rounds:
        publisher.publish(batches)
    took = perf_counter() - began
    publisher.close()
    client.close()
    return MESSAGES / took


def mirroring(url: str, folder: Path) -> float:
    """Events a second from the log to Redis: candles of 8 markets and signals of 100 bots."""
    redis.Redis.from_url(url).flushall()
    records = candles(EVENTS // 2) + signals(EVENTS // 2)
    log = as_log(records, folder / "log", partitions=1)
    database = f"sqlite:///{folder}/mirror.db"
    migrate(database)
    mirror = Mirror(log, database, url)
    ends = log.highwater(CANDLES, 0) + log.highwater("signals", 0)
    began = perf_counter()
    mirror.start()
    while sum(at + 1 for at in mirror.applied.values()) < ends:
        sleep(0.001)
    took = perf_counter() - began
    mirror.stop()
    log.close()
    return EVENTS / took


def delays_ms(url: str, folder: Path) -> Any:
    """From the end of an append to the message at a subscriber, in ms, by probe."""
    client = redis.Redis.from_url(url)
    client.flushall()
    log = as_log([], folder / "probe", partitions=4)
    database = f"sqlite:///{folder}/probe.db"
    migrate(database)
    arrived: list[float] = []
    ready, done = Event(), Event()

    def listen() -> None:
        heard = client.pubsub(ignore_subscribe_messages=True)
        heard.subscribe("market_data:BTC/USDT")
        heard.get_message(timeout=1)
        ready.set()
        while len(arrived) < PROBES:
            if heard.get_message(timeout=1):
                arrived.append(perf_counter())
        done.set()

    Thread(target=listen, daemon=True).start()
    ready.wait()
    mirror = Mirror(log, database, url)
    mirror.start()
    sent: list[float] = []
    for n in range(PROBES):
        output = Output(0, n, (0,), (candle(n),))
        log.append([Entry(CANDLES, b"sim:BTC/USDT", encode(output), n, 0)], sync=False)
        sent.append(perf_counter())
        sleep(PROBE_S)
    done.wait(30)
    mirror.stop()
    log.close()
    return ((np.array(arrived) - np.array(sent)) * 1e3)[WARM_UP:]


def main() -> None:
    server = None if len(sys.argv) > 1 else RedisServer()
    if server is not None:
        server.start()
    url = server.url if server is not None else sys.argv[1]
    print(f"load {load():.1f}")
    for each in (1, 5, 50):
        print(f"publishing, {each} of a channel at once: {publishing(url, each):,.0f} messages/s")
    with TemporaryDirectory() as folder:
        print(f"log → database → Redis: {mirroring(url, Path(folder)):,.0f} events/s")
        took = delays_ms(url, Path(folder))
    p50, p99 = np.percentile(took, (50, 99))
    print(f"acknowledged → subscriber: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    if server is not None:
        server.stop()


if __name__ == "__main__":
    main()
