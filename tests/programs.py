"""Programs that tests start: what they say is kept for when they fail, and they are ended by their pid.

A signal goes to a process that is not waited for yet, so its pid cannot be another's by then.
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).parent / "tcpdashboard"
ABSENT = ROOT / "tests" / "absent"
"""Modules in the way of those that only tests need: a command without them starts as it does elsewhere."""
PATIENCE_S = 90.0
LOOK_S = 0.05
SHOWN = 3_000
"""Characters of a program's last words."""

KERNELS = Path(tempfile.mkdtemp(prefix="tcpd-kernels-"))
"""Compiled strategies, which every home here shares: to compile them takes seconds in each."""
atexit.register(shutil.rmtree, KERNELS, ignore_errors=True)


def environment(home: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """That of a command of ours in a home; nothing that whoever runs the tests has set is seen."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TCPD_")}
    ours = {"TCPD_KERNELS": str(KERNELS), "PYTHONPATH": str(ABSENT)}
    return {**clean, **ours, **(settings or {}), "TCPD_HOME": str(home)}


def run(
    *words: object, environment: Mapping[str, str], timeout_s: float = 240
) -> "subprocess.CompletedProcess[str]":
    """A command of ours, to its end."""
    command = [str(COMMAND), *map(str, words)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


class Program:
    """A process. As a context manager it is killed in the end, where it still runs.

    What it says goes to files: a pipe that nobody reads would stop it once it is full.
    """

    def __init__(
        self,
        *command: object,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        cwd: Path = ROOT,
    ) -> None:
        """`log` takes both streams, behind what stands there; without it each has a file of its own."""
        self._out = tempfile.TemporaryFile() if log is None else log.open("a+b")  # noqa: SIM115 - it lives as long as this
        self._errors = tempfile.TemporaryFile() if log is None else self._out  # noqa: SIM115 - as above
        self._begins = self._out.seek(0, os.SEEK_END)
        self._process = subprocess.Popen(
            [*tied_to_parent(), *map(str, command)],
            cwd=cwd,
            env=environment,
            stdout=self._out,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for the tests; they end it
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        """What it has printed."""
        return _read(self._out.fileno(), self._begins)

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        return _read(self._errors.fileno(), self._begins)

    @property
    def line(self) -> dict[str, Any]:
        """The first line that it prints, as JSON."""
        self.until(lambda: "\n" in self.said, "its first line")
        return json.loads(self.said.partition("\n")[0])

    def until(self, found: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        """What `found` gives as soon as it is true, while this runs; what cannot be reached is not yet."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError, FileNotFoundError):
                if result := found():
                    return result
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_S)
                raise AssertionError(f"it ended before {what}: {self.words()}")
        raise AssertionError(f"in vain for {seconds:.0f} s: {what}: {self.words()}")

    def wait(self, seconds: float | None = PATIENCE_S) -> int:
        """Wait until it ends by itself; its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {seconds:.0f} s: {self.words()}") from None

    def send(self, what: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        self._process.send_signal(what)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it in order, if it still runs; its exit code."""
        self.send(how)
        return self.wait()

    def kill(self) -> None:
        """End it at once, if it still runs. Children of its own may go on."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def words(self) -> str:
        """How it is, for a failure."""
        last = self.said if self._errors is self._out else f"{self.said[-SHOWN:]}\n{self.errors}"
        return f"{self._process.args} (exit code {self.code}): {last[-SHOWN:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._out.close()
        self._errors.close()


@contextmanager
def piped(*command: object) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that is spoken with line by line; it is killed in the end, where it still runs."""
    words = [*tied_to_parent(), *map(str, command)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def tied_to_parent() -> list[str]:
    """On Linux what follows dies with the thread that started it, however that ends."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv and sys.platform == "linux" else []


def _read(handle: int, start: int) -> str:
    """By position, since the process writes where its own, which is shared, stands."""
    return os.pread(handle, os.fstat(handle).st_size - start, start).decode(errors="replace")
