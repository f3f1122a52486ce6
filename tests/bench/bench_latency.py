"""From a provider's message to the subscriber: forming candles, closed candles and signals, on both homes.

Run by `python -m tests.bench.bench_latency [embedded|kafka]`. A `DataCollector` with a provider of its own
hands over a message about every 0.15 s, each a trade; every fifth closes a minute, which a bot answers with a
signal. The clock runs from the provider's message to its text at a subscriber of Redis, and at a reader of a
WebSocket. Collector, worker, API and subscribers are processes of their own, Redis is the bundled one. A
market's forming candle is published at most ten times a second; the messages are further apart, so that none
waits for its turn.
"""

import asyncio
import logging
import multiprocessing as mp
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import redis
from websockets.sync.client import connect

from infra.commands import BotManager
from infra.commands.manager import BotSpec
from infra.db.schema import migrate
from infra.exchange import simulated
from infra.exchange.collector import DataCollector
from infra.exchange.provider import DataProvider, Delivery
from infra.present.values import iso
from infra.process.bundled_redis import RedisServer
from infra.process.settings import Settings, load_settings
from infra.worker.root import work
from streams.backends import open_log
from streams.events import MINUTE_NS, Market, RowKind
from streams.journal import JournalWriter, Reached, scan
from streams.ticks import Ticks
from tests.bench import journals
from tests.bench.timing import load
from tests.integration.command_line import COMMAND
from tests.services.kafka import Kafka, KafkaMissingError

SYMBOL = simulated.symbols(1)[0]
MARKET = simulated.market(SYMBOL)
START_NS = simulated.START_NS
MINUTES, WARM_UP = 64, 4
"""The first minutes are not counted: connections are made."""
TRADES = 5
"""A minute; the first of them closes the minute before."""
GAP_S = (0.12, 0.19)
PRICE = 60_000_00
READY_S = 60
FORK = mp.get_context("spawn")

Probe = tuple[int, int]
"""Minute, and which of its trades."""


class Prober(DataProvider):
    """A `DataProvider` that notes when it hands over each message."""

    def __init__(self) -> None:
        self.sent: dict[Probe, float] = {}

    async def markets(self, symbols: Sequence[str], known: Mapping[str, Market]) -> Sequence[Market]:
        return [MARKET]

    async def messages(
        self, markets: Sequence[Market], reached: Mapping[str, Reached]
    ) -> AsyncGenerator[Probe, None]:
        chance = random.Random(1)
        for probe in ((minute, trade) for minute in range(MINUTES) for trade in range(TRADES)):
            await asyncio.sleep(chance.uniform(*GAP_S))
            self.sent[probe] = time.monotonic()
            yield probe

    def parse(self, raw: Probe) -> Delivery:
        minute, trade = raw
        at = START_NS + minute * MINUTE_NS + (trade + 1) * MINUTE_NS // (TRADES + 1)
        price = PRICE + (100 if minute % 2 else -100) + trade
        columns = [np.array([value], np.int64) for value in (at, price, 1_000, minute * TRADES + trade + 1)]
        row = Ticks(np.zeros(1, np.uint16), np.full(1, RowKind.BUY, np.uint8), *columns)
        return Delivery((MARKET.key,), row, clock=at)


def collect(settings: Settings, told: Any) -> None:
    """Send all messages; tells when each was handed over."""
    log = open_log(settings.log_url)
    prober = Prober()
    collector = DataCollector(log, scan(log, range(log.partitions)))
    collector.register_provider("prober", prober)
    asyncio.run(collector.start_collection([SYMBOL]))
    told.send(prober.sent)
    log.close()


def fold(settings: Settings) -> None:
    logging.basicConfig(level=logging.WARNING)
    work(settings)


class SocketListener:
    """What came over a WebSocket, with the time of its arrival."""

    def __init__(self, url: str, token: str, path: str) -> None:
        self.heard: list[tuple[float, bytes]] = []
        headers = {"Authorization": f"Bearer {token}"}
        self._socket = connect(
            url.replace("http", "ws", 1) + path, additional_headers=headers, proxy=None, max_queue=None
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for text in self._socket:
            self.heard.append((time.monotonic(), text.encode() if isinstance(text, str) else text))

    def close(self) -> None:
        self._socket.close()
        self._thread.join()


class Listener:
    """What came of a channel of Redis, with the time of its arrival."""

    def __init__(self, url: str, channel: str) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self._ended = False
        self._pubsub = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(channel)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            if message := self._pubsub.get_message(timeout=0.5):
                self.heard.append((time.monotonic(), message["data"]))

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        self._pubsub.close()


def prepared(settings: Settings) -> None:
    """A log with the market and a bot that gives a signal at every candle."""
    settings.home.mkdir(exist_ok=True)
    migrate(settings.database_url)
    log, code = open_log(settings.log_url), journals.strategies()
    JournalWriter(log, "specification", 1).append(MARKET, key=MARKET.key)
    spec = BotSpec("sma_cross", MARKET.venue, SYMBOL, "1m", "10000000", {"fast": 1, "slow": 2}, short=True)
    BotManager(log, code, "bench").create_bot(spec, start=True)
    log.close()


def measure(settings: Settings, url: str) -> dict[str, np.ndarray]:
    """Delays in ms by kind."""
    prepared(settings)
    listeners = {
        "candles": Listener(url, f"market_data:{SYMBOL}"),
        "signals": Listener(url, "bot_signals:1"),
        "system": Listener(url, "system_events"),
    }
    worker = FORK.Process(target=fold, args=(settings,))
    worker.start()
    _until(lambda: listeners["system"].heard, "the worker")
    server = subprocess.Popen(
        [str(COMMAND), "serve", "--json", "--port", "0"], env=environment(settings), stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    api = msgspec.json.decode(server.stdout.readline())
    token = Path(api["token_file"]).read_text().strip()
    sockets = {
        "candles": SocketListener(api["api"], token, f"/ws/market/{SYMBOL}"),
        "signals": SocketListener(api["api"], token, "/ws/bot/1/status"),
    }
    near, far = FORK.Pipe(duplex=False)
    collector = FORK.Process(target=collect, args=(settings, far))
    collector.start()
    sent: dict[Probe, float] = near.recv()
    _until(lambda: len(listeners["signals"].heard) >= MINUTES - 2, "the last signal")
    for process in (collector, worker):
        process.terminate()
        process.join()
    for listener in (*listeners.values(), *sockets.values()):
        listener.close()
    server.terminate()
    server.wait()
    return {
        f"{kind} → {name}": ms
        for name, heard in (("Redis", listeners), ("socket", sockets))
        for kind, ms in delays(sent, heard["candles"].heard, heard["signals"].heard).items()
    }


def environment(settings: Settings) -> dict[str, str]:
    """For a process with these settings."""
    names = ("home", "log_url", "database_url", "redis_url", "kernels")
    return os.environ | {f"TCPD_{name.upper()}": str(getattr(settings, name)) for name in names}


def _until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {READY_S} s")
        time.sleep(0.01)


def delays(
    sent: dict[Probe, float], candles: list[tuple[float, bytes]], signals: list[tuple[float, bytes]]
) -> dict[str, np.ndarray]:
    """In ms: of each trade to the first forming candle that has it, of each closing one to what it closed."""
    forming: dict[Probe, float] = {}
    closed: dict[str, float] = {}
    signalled: dict[str, float] = {}
    for at, text in candles:
        message = msgspec.json.decode(text)
        if message.get("forming"):
            for trade in range(message["trades"]):
                forming.setdefault((_minute(message["timestamp"]), trade), at)
        elif message.get("timeframe") == "1m":
            closed[message["timestamp"]] = at
    for at, text in signals:
        message = msgspec.json.decode(text)
        if message["type"] == "signal.v1":
            signalled.setdefault(message["timestamp"], at)
    inner = [(p, at) for p, at in sent.items() if p[0] >= WARM_UP and p[1] > 0]
    closing = [(_end(p[0] - 1), at) for p, at in sent.items() if p[0] > WARM_UP and p[1] == 0]
    found = {
        "forming candle": [forming[p] - at for p, at in inner if p in forming],
        "closed candle": [closed[end] - at for end, at in closing if end in closed],
        "signal": [signalled[end] - at for end, at in closing if end in signalled],
    }
    return {kind: np.array(times) * 1e3 for kind, times in found.items()}


def _end(minute: int) -> str:
    return iso(START_NS + (minute + 1) * MINUTE_NS)


_MINUTES = {_end(minute): minute for minute in range(MINUTES)}


def _minute(end: str) -> int:
    return _MINUTES[end]


def show(home: str, found: dict[str, np.ndarray], before: float) -> None:
    for kind, ms in found.items():
        p50, p99 = np.percentile(ms, (50, 99)) if len(ms) else (np.nan, np.nan)
        print(
            f"{home:9s} {kind:25s} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   max {ms.max(initial=0):7.1f} ms"
            f"   ({len(ms)} messages, load {before:.1f})",
            flush=True,
        )


def main() -> None:
    homes = sys.argv[1:] or ["embedded", "kafka"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        urls: dict[str, str | None] = {"embedded": None}
        if "kafka" in homes:
            try:
                broker = Kafka(folder / "broker").start()
            except KafkaMissingError as error:
                print(f"Kafka is left out: {error}")
                homes = ["embedded"]
            else:
                stack.callback(broker.stop)
                urls["kafka"] = f"kafka://{broker.bootstrap}/latency"
        for home in homes:
            server = RedisServer()
            server.start()
            stack.callback(server.stop)
            given = {"TCPD_HOME": str(folder / home), "TCPD_KERNELS": str(journals.KERNELS)}
            given |= {"TCPD_REDIS_URL": server.url} | ({"TCPD_LOG_URL": url} if (url := urls[home]) else {})
            before = load()
            show(home, measure(load_settings(given), server.url), before)


if __name__ == "__main__":
    main()
