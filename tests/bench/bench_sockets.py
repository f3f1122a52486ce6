"""Delay from a record acknowledged by the log to its message at the readers of a WebSocket: of 10, and of 200
of which 20 do not read; and the server's memory meanwhile.

Run by `python -m tests.bench.bench_sockets`: log, mirror and readers in this process, the bundled Redis and
the API as processes of their own.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter, sleep

import msgspec
import numpy as np

from infra.channels.mirror import Mirror
from infra.channels.store import ChannelStore
from infra.db.schema import migrate
from infra.process.bundled_redis import RedisServer
from infra.process.settings import load_settings
from infra.process.tokens import TokenFile
from streams.codec import encode
from streams.embedded.log import EmbeddedLog
from streams.records import Entry, Output
from streams.topics import CANDLES
from tests.bench.timing import load
from tests.derived import as_log, candle
from tests.socket_readers import BareReader, read_all

CHANNEL, PATH = "market_data:BTC/USDT", "/ws/market/BTC/USDT"
PROBES = 500
PROBE_S = 0.02
WARM_UP = 20
"""The first probes are not counted."""
ROUNDS = 3


class Probes:
    """Candles of one market, with the time at which the log had each, by seq."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self.sent: dict[int, float] = {}

    def send(self, count: int) -> None:
        for _ in range(count):
            n = len(self.sent) + 1
            value = encode(Output(0, n, (0,), (candle(n),)))
            self._log.append([Entry(CANDLES, b"sim:BTC/USDT", value, n, 0)], sync=False)
            self.sent[n] = perf_counter()
            sleep(PROBE_S)


def delays_ms(probes: Probes, url: str, token: str, reading: int, stuck: int) -> list[float]:
    """Of each message at each reader that reads."""
    since = len(probes.sent)
    path = f"{PATH}?since={since}"
    readers = [BareReader(url, path, token) for _ in range(reading)]
    silent = [BareReader(url, path, token, room=4_096) for _ in range(stuck)]
    arrived: list[tuple[int, float]] = []
    last = since + PROBES

    def take(_: BareReader, text: bytes) -> bool:
        now, seq = perf_counter(), int(text[7 : text.index(b",")]) if text.startswith(b'{"seq":') else 0
        if seq:
            arrived.append((seq, now))
        return seq == last

    writer = Thread(target=probes.send, args=(PROBES,))
    writer.start()
    read_all(readers, take)
    writer.join()
    for reader in readers + silent:
        reader.close()
    assert len(arrived) == PROBES * reading
    return [(at - probes.sent[seq]) * 1e3 for seq, at in arrived if seq > since + WARM_UP]


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    redis = RedisServer()
    redis.start()
    with TemporaryDirectory() as folder:
        home = Path(folder)
        settings = load_settings({"TCPD_HOME": folder})
        log = as_log([], home / "log", partitions=4)
        migrate(settings.database_url)
        mirror = Mirror(log, settings.database_url, redis.url)
        mirror.start()
        store, probes = ChannelStore(settings.database_url), Probes(log)
        probes.send(1)
        while store.snapshot(CHANNEL).seq < 1:
            sleep(0.01)
        server = subprocess.Popen(
            [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", "0", "--json"],
            env=os.environ | {"TCPD_HOME": folder, "TCPD_REDIS_URL": redis.url}, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert server.stdout is not None
        url = msgspec.json.decode(server.stdout.readline())["api"]
        token = TokenFile(home).create("bench", "read")
        print(f"load {load():.1f}")
        for _ in range(ROUNDS):
            for reading, stuck in ((10, 0), (180, 20)):
                p50, p99 = np.percentile(delays_ms(probes, url, token, reading, stuck), (50, 99))
                print(
                    f"{reading} readers, {stuck} beside them that do not read: p50 {p50:.2f} ms,"
                    f" p99 {p99:.2f} ms; server {resident_mb(server.pid):.0f} MB"
                )
        server.terminate()
        server.wait()
        mirror.stop()
        store.close()
        log.close()
    redis.stop()


if __name__ == "__main__":
    main()
