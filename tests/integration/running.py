"""Commands that run on, as processes: their ready line, their API and metrics, and how they end."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.command_line import COMMAND, CommandLine

PATIENCE_S = 90.0
LOOK_S = 0.05


class Running:
    """A command that was started; `line` is what it printed when it was ready."""

    def __init__(self, home: CommandLine, *words: str) -> None:
        self.process = subprocess.Popen(
            [str(COMMAND), *words, "--json"], env=home.environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._line: dict[str, Any] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def line(self) -> dict[str, Any]:
        if self._line is None:
            assert self.process.stdout is not None
            text = self.process.stdout.readline()
            assert text, f"it ended: {self.process.communicate()[1]}"
            self._line = json.loads(text)
        return self._line

    def get(self, path: str, place: str = "api", **params: Any) -> httpx.Response:
        """Ask it, with the first token."""
        url, token = self.line[place], Path(self.line["token_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{url}{path}", headers=headers, params=params, timeout=60)

    def items(self, path: str, **params: Any) -> list[dict[str, Any]]:
        return self.get(path, **params).json()["items"]

    def metrics(self, place: str = "probe") -> dict[tuple[str, ...], float]:
        """By the sample's name and the values of its labels."""
        answer = self.get("/metrics", place)
        assert answer.status_code == 200
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def until(self, seen: Callable[[], Any], what: str) -> Any:
        """What `seen` gives as soon as it is true, while this runs; a refused connection is not yet."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                found = seen()
            except httpx.TransportError:
                found = None
            if found:
                return found
            try:
                self.process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"it ended before {what}: {self.process.communicate()[1]}")
        raise AssertionError(f"in vain: {what}")

    def end(self, how: signal.Signals = signal.SIGTERM) -> str:
        """What it wrote to standard error; it must succeed, and have printed nothing but its line."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        out, words = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, words
        assert out == ""
        return words

    def kill(self) -> None:
        """End it at once. Its pipes are closed, not read to their end: children may hold them."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


def children(pid: int) -> list[int]:
    """The processes that this one has started and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def ended(pids: Iterable[int]) -> bool:
    """Whether these processes end within ten seconds each."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([handle], [], [], 10)[0]:
                return False
        finally:
            os.close(handle)
    return True
