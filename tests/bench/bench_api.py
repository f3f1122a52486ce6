"""Requests a second of the API, and how long each takes: candles (500 rows) and bots (50 of 500).

Run by `python -m tests.bench.bench_api`. A real `serve` over SQLite; this process asks over some connections
that stay open, each for the next answer as soon as it has one. Both share the cores of the machine.
"""

import os
import subprocess
import threading
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec
import numpy as np

from infra.process.settings import Settings, load_settings
from infra.upkeep.rebuild import rebuild
from streams.events import MINUTE_NS
from streams.records import Output
from tests.bench.journals import KERNELS
from tests.bench.timing import load
from tests.derived import CASH, START_NS, as_log, bot_changed, candle, equity, record
from tests.integration.command_line import COMMAND

MARKET = "sim:BTC/USDT"
CANDLES, BOTS, MARKS = 50_000, 500, 40
CONNECTIONS = (1, 4, 16)
SECONDS = 4.0
ROUNDS = 2
PATHS = {
    "candles, 500 rows": "/api/candles/sim/BTC/USDT?limit=500&from=2018-01-10T00:00:00Z",
    "candles, the newest 500": "/api/candles/sim/BTC/USDT?limit=500&order=newest",
    "bots, 50 of 500": "/api/bots?limit=50",
    "one bot": "/api/bots/77",
}


def recorded(folder: Path) -> Settings:
    """A home whose database holds candles of a market, bots and their marks."""
    settings = load_settings({"TCPD_HOME": str(folder), "TCPD_KERNELS": str(KERNELS)})
    candles = [
        record("candles", MARKET, n, Output(0, n, (0,), (candle(n, offset=n),))) for n in range(CANDLES)
    ]
    ids = tuple(range(1, BOTS + 1))
    bots = [record("bots", MARKET, n, Output(0, n, (0,), (bot_changed(n + 1, MARKET),))) for n in range(BOTS)]
    for n in range(MARKS):
        mark = equity(*ids, timestamp=START_NS + n * MINUTE_NS, position=5, equity=CASH + n)
        bots.append(record("bots", MARKET, BOTS + n, Output(0, BOTS + n, (0,), (mark,))))
    log = as_log(candles + bots, folder / "log", partitions=1)
    rebuild(log, settings.database_url)
    log.close()
    return settings


def asking(url: str, token: str, path: str, connections: int) -> tuple[float, np.ndarray]:
    """Requests a second, and their times in ms."""
    host, headers = url.removeprefix("http://"), {"Authorization": f"Bearer {token}"}
    times: list[float] = []
    ends = perf_counter() + SECONDS

    def ask() -> None:
        connection = HTTPConnection(host)
        while (began := perf_counter()) < ends:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            times.append(perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(times) / SECONDS, np.array(times) * 1e3


def main() -> None:
    with TemporaryDirectory() as folder:
        settings = recorded(Path(folder))
        environment = os.environ | {"TCPD_HOME": folder, "TCPD_KERNELS": str(settings.kernels)}
        command = [str(COMMAND), "serve", "--port", "0", "--json"]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            ready = msgspec.json.decode(server.stdout.readline())
            token = Path(ready["token_file"]).read_text().strip()
            for name, path in PATHS.items():
                for connections in CONNECTIONS:
                    before = load()
                    rounds = [asking(ready["api"], token, path, connections) for _ in range(ROUNDS)]
                    rate, ms = max(rounds, key=lambda one: one[0])
                    p50, p99 = np.percentile(ms, (50, 99))
                    print(
                        f"{name:24s} {connections:3d} connections  {rate:7.0f} requests/s"
                        f"   p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   load {before:.1f}",
                        flush=True,
                    )
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
