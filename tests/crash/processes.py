"""Programs that are killed, frozen and started again by name; waiting is always for something."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.process.settings import Settings, load_settings
from streams.agents.app import FAILED
from streams.backends import open_log
from streams.log import Log
from streams.snapshots import latest
from streams.topics import CANDLES, DERIVED, JOURNAL
from tests.programs import Program, environment


class Processes:
    """Programs on one log; each has a file `NAME.log` in the folder, which goes on when it is started again.

    `ended`: how often one ended itself.
    """

    def __init__(self, log: Log, folder: Path) -> None:
        self.log, self.folder = log, folder
        self.ended = 0
        self._running: dict[str, Program] = {}
        self._commands: dict[str, tuple[str, ...]] = {}

    def command(self, name: str, *words: str) -> tuple[list[str], Mapping[str, str] | None]:
        """What to run under this name, and its environment."""
        raise NotImplementedError

    def start(self, name: str, *words: str) -> None:
        self._commands[name] = words
        command, environment = self.command(name, *words)
        self._running[name] = Program(*command, environment=environment, log=self.folder / f"{name}.log")

    def kill(self, name: str) -> None:
        """End it at once, if it runs."""
        if name in self._running:
            self._running.pop(name).kill()

    def freeze(self, name: str) -> None:
        self._running[name].freeze()

    def thaw(self, name: str) -> None:
        self._running[name].thaw()

    def wait(self, name: str) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._running.pop(name).wait(240)

    def stop(self, name: str) -> int:
        """End it in order; its exit code."""
        return self._running.pop(name).end()

    def stop_all(self) -> list[int]:
        """End them in order, all at once; their exit codes."""
        for program in self._running.values():
            program.send(signal.SIGTERM)
        return [self.wait(name) for name in list(self._running)]

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def until(self, condition: Callable[[], bool], what: str, deadline_s: float = 120) -> None:
        """Wait for a condition on the log; a worker that ended itself is started again."""
        deadline = time.monotonic() + deadline_s
        places = [(t, p) for t in (JOURNAL, *DERIVED) for p in range(self.log.partitions)]
        while True:
            self._start_ended()
            ends = {place: self.log.highwater(*place) for place in places}
            if condition():
                return
            self.log.wait(ends, 0.2)
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {deadline_s} s; {self.tails()}")

    def are_ready(self) -> bool:
        """Whether each running worker has taken its partitions; it says so in its log."""
        return all("Worker ready" in worker.said for worker in self._running.values())

    def outputs(self) -> int:
        """How many derived records there are, repeats included."""
        return sum(self.log.highwater(t, p) for t in DERIVED for p in range(self.log.partitions))

    def tails(self) -> str:
        logs = self.folder.glob("*.log")
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3000:]}" for log in logs)

    def _start_ended(self) -> None:
        for name, program in list(self._running.items()):
            if program.code is not None:
                assert program.code == FAILED, f"{name} ended with {program.code}: {self.tails()}"
                self.ended += 1
                self.start(name, *self._commands[name])


class Workers(Processes):
    """Workers with a toy fold, each start with a new epoch."""

    def __init__(self, log: Log, folder: Path, fold: str, sink: Path | None) -> None:
        super().__init__(log, folder)
        self.epoch = 0
        self._fold = fold
        self._sink = sink

    def command(self, name: str, *words: str) -> tuple[list[str], None]:
        self.epoch += 1
        command = [sys.executable, "-m", "tests.crash.worker", "--url", self.log.url]
        command += ["--worker", name, "--epoch", str(self.epoch), "--fold", self._fold]
        command += ["--dir", str(self.folder / name)]
        command += ["--sink", str(self._sink)] if self._sink else []
        return [*command, *words], None

    def run(self, fold: str | None = None) -> int:
        """One worker until everything is folded and projected; its exit code."""
        self._fold = fold or self._fold
        self.start("w1", "--until-caught-up")
        return self.wait("w1")

    def wait_for_candles(self, count: int) -> None:
        """Until the log holds so many, repeats included."""
        self.until(lambda: self.candles() >= count, f"{count} candles", 60)

    def candles(self) -> int:
        return sum(self.log.highwater(CANDLES, p) for p in range(self.log.partitions))


class Platform(Processes):
    """Real processes on one log and one database."""

    def __init__(self, folder: Path, **settings: str) -> None:
        chosen = {f"TCPD_{name.upper()}": value for name, value in settings.items()}
        self.environment = environment(folder, chosen)
        self.settings: Settings = load_settings(self.environment)
        super().__init__(open_log(self.settings.log_url, partitions=self.settings.partitions), folder)

    def command(self, name: str, *words: str) -> tuple[list[str], Mapping[str, str]]:
        command = [sys.executable, "-m", "tests.crash.platform", *words]
        return command, self.environment | {"TCPD_WORKER": name}

    def journal(self) -> int:
        return sum(self.log.highwater(JOURNAL, p) for p in range(self.log.partitions))

    def is_folded(self) -> bool:
        """Whether the snapshots of all partitions stand at their journals' ends."""
        for p in range(self.log.partitions):
            snapshot = latest(self.log, p, print)
            if self.log.highwater(JOURNAL, p) - 1 > (snapshot.applied if snapshot else -1):
                return False
        return True

    def close(self) -> None:
        self.kill_all()
        self.log.close()


def env_int(name: str, default: int) -> int:
    """A size of a test that a longer run may raise."""
    return int(os.environ.get(name, default))
