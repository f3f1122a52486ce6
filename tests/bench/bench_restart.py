"""From kill -9 of a worker with 10,000 bots on one market to its first new output.

Run by `python -m tests.bench.bench_restart`. A whole worker with its database, in a process of its own, folds
a journal in which each record closes a candle, which steps every bot. *idle*: it is killed when everything is
folded and its snapshot written, and one more record waits. *at work*: it is killed in the middle of a
backlog, so what followed its last snapshot is folded again too. The clock runs from the kill, with the start
of the next process right behind it, to the first candle in the log that was not there: with the start of
Python, imports, compiled strategies, the database, Faust, loading the snapshot, and folding.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from infra.db.schema import migrate
from infra.process.settings import load_settings
from infra.worker.root import journal_ends, wait_caught_up
from projections.audit.recorded import head_of
from streams.backends import open_log
from streams.events import MINUTE_NS, Market
from streams.snapshots import latest
from streams.ticks import Ticks
from streams.topics import CANDLES, JOURNAL
from tests.bench import journals
from tests.bench.timing import load

BOTS = 10_000
MINUTE_ROWS = 12
HISTORY_MINUTES = 60
BACKLOG_MINUTES = 150
ROUNDS = 2
WAIT_S = 120.0
KILLED_AT = 120


def minutes(market: Market) -> list[journals.Row]:
    """A random walk, a record a minute."""
    rows = (HISTORY_MINUTES + ROUNDS * (BACKLOG_MINUTES + 1)) * MINUTE_ROWS
    random = np.random.default_rng(5)
    ticks = Ticks(
        np.zeros(rows, np.uint16),
        np.ones(rows, np.uint8),
        1_514_764_800_000_000_000 + np.arange(1, rows + 1) * (MINUTE_NS // MINUTE_ROWS) + 1,
        100_000 + 5 * np.cumsum(random.integers(-3, 4, rows)),
        random.integers(1, 1_000, rows),
        None,
    )
    return list(journals.batches(market, ticks, MINUTE_ROWS))


def bots(market: Market) -> list[journals.Row]:
    code = journals.strategies()
    return [
        journals.create(market, n, "sma_cross", {"fast": 1 + n % 50, "slow": 60 + n % 40}, code)
        for n in range(1, BOTS + 1)
    ]


class Platform:
    """A home and its worker process."""

    def __init__(self, home: Path) -> None:
        self.environ = {"TCPD_HOME": str(home), "TCPD_KERNELS": str(journals.KERNELS)}
        self.settings = load_settings(self.environ)
        self.log = open_log(self.settings.log_url, partitions=1)
        migrate(self.settings.database_url)
        self.minutes = minutes(journals.BITMEX)
        self.passed = 0
        journals.append(self.log, [(journals.BITMEX.key, journals.BITMEX), *bots(journals.BITMEX)])

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.crash.platform", "work"]
        self.worker = subprocess.Popen(command, env=os.environ | self.environ, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.worker.kill()
        self.worker.wait()

    def pass_minutes(self, count: int) -> None:
        rows = self.minutes[self.passed : self.passed + count]
        journals.append(self.log, rows, sequence=1 + self.passed)
        self.passed += count

    def wait_caught_up(self) -> None:
        if not wait_caught_up(self.settings, self.log, WAIT_S, journal_ends(self.log)):
            raise TimeoutError(f"the worker did not catch up within {WAIT_S:.0f} s")

    def newest(self) -> int:
        """The journal offset that the newest candle came from."""
        end = self.log.highwater(CANDLES, 0)
        heads = [head_of(record.value) for record in self.log.read(CANDLES, 0, max(end - 1, 0))]
        return max((head.offset for head in heads if head), default=-1)

    def wait_beyond(self, offset: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.newest() <= offset:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no candle of a record beyond {offset} within {WAIT_S:.0f} s")
            self.log.wait({(CANDLES, 0): self.log.highwater(CANDLES, 0)}, 0.01)

    def restarted_s(self) -> float:
        self.kill()
        began, newest = time.perf_counter(), self.newest()
        self.start()
        self.wait_beyond(newest)
        return time.perf_counter() - began

    def idle(self) -> float:
        """The record is there before the kill, but its candle is not."""
        self.wait_caught_up()
        self.worker.send_signal(signal.SIGSTOP)
        self.pass_minutes(1)
        return self.restarted_s()

    def at_work(self) -> float:
        self.wait_caught_up()
        middle = self.log.highwater(JOURNAL, 0) + KILLED_AT
        self.pass_minutes(BACKLOG_MINUTES)
        self.wait_beyond(middle)
        return self.restarted_s()


def main() -> None:
    with TemporaryDirectory() as home:
        platform = Platform(Path(home))
        platform.pass_minutes(HISTORY_MINUTES)
        platform.start()
        try:
            for name, run in (("idle", platform.idle), ("at work", platform.at_work)):
                show(name, run)
            platform.wait_caught_up()
            snapshot = latest(platform.log, 0, print)
            assert snapshot is not None and snapshot.state is not None
            print(f"snapshot {len(snapshot.state) / 1e6:.1f} MB, {len(snapshot.state) // BOTS} bytes a bot")
        finally:
            platform.kill()


def show(name: str, run: Callable[[], float]) -> None:
    rounds = [(run(), load()) for _ in range(ROUNDS)]
    seconds = ", ".join(f"{taken:.2f} s (load {waiting:.1f})" for taken, waiting in rounds)
    print(f"{BOTS:,} bots, killed {name}: first new output after {seconds}", flush=True)


if __name__ == "__main__":
    main()
