"""Workers as processes that are killed, frozen and started again; waiting is always for something."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from streams.app import FAILED
from streams.log import Log
from streams.topics import CANDLES

ROOT = Path(__file__).resolve().parents[2]


class Workers:
    """Workers by name, each start with a new epoch. `ended`: how often one ended itself."""

    def __init__(self, log: Log, folder: Path, fold: str, sink: Path | None) -> None:
        self.log = log
        self.epoch = 0
        self.ended = 0
        self._folder = folder
        self._fold = fold
        self._sink = sink
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}

    def run(self, fold: str | None = None) -> int:
        """One worker until everything is folded and projected; its exit code."""
        self._fold = fold or self._fold
        self.start("w1", "--until-caught-up")
        return self.wait("w1")

    def start(self, name: str, *options: str) -> None:
        self.epoch += 1
        command = [sys.executable, "-m", "tests.crash.worker", "--url", self.log.url]
        command += ["--worker", name, "--epoch", str(self.epoch), "--fold", self._fold]
        command += ["--dir", str(self._folder / name)]
        command += ["--sink", str(self._sink)] if self._sink else []
        command += options
        with (self._folder / f"{name}.log").open("ab") as output:
            self._starts[name] = output.tell()
            self._running[name] = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def freeze(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGCONT)

    def wait(self, name: str) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._running.pop(name).wait(60)

    def stop(self) -> list[int]:
        """End all of them in order; their exit codes."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in self._running.values()]
        self._running.clear()
        return codes

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def wait_until(self, condition: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Wait for a condition on the log; a worker that ends itself is started again."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            self._start_ended()
            ends = {(CANDLES, p): self.log.highwater(CANDLES, p) for p in range(self.log.partitions)}
            if not condition() and not self.log.wait(ends, 0.2) and time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {deadline_s} s; {self.tails()}")

    def wait_for_outputs(self, count: int, deadline_s: float = 60) -> None:
        """Until the log holds so many candles, repeats included."""
        self.wait_until(lambda: self.outputs() >= count, deadline_s, f"{count} candles")

    def are_ready(self) -> bool:
        """Whether each running worker has taken its partitions; it says so in its log."""
        logs = {name: (self._folder / f"{name}.log").read_bytes() for name in self._running}
        return all(b"Worker ready" in log[self._starts[name] :] for name, log in logs.items())

    def outputs(self) -> int:
        return sum(self.log.highwater(CANDLES, p) for p in range(self.log.partitions))

    def tails(self) -> str:
        logs = self._folder.glob("*.log")
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)

    def _start_ended(self) -> None:
        for name, process in list(self._running.items()):
            code = process.poll()
            if code is not None:
                assert code == FAILED, f"worker {name} ended with {code}: {self.tails()}"
                self.ended += 1
                self.start(name)


def env_int(name: str, default: int) -> int:
    """A size of a test that a longer run may raise."""
    return int(os.environ.get(name, default))
