"""Commands that run on, with their API and metrics, and what becomes of their children."""

import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.command_line import CommandLine
from tests.programs import COMMAND, Program


class Running(Program):
    """A command that was started; `line` is what it printed when it was ready."""

    def __init__(self, home: CommandLine, *words: str) -> None:
        super().__init__(COMMAND, *words, "--json", environment=home.environment)

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

    def finish(self, how: signal.Signals = signal.SIGTERM) -> str:
        """What it wrote to standard error; it must succeed, and have printed nothing but its line."""
        assert self.end(how) == 0, self.words()
        assert self.said.count("\n") == 1, self.said
        return self.errors


def children(pid: int) -> list[int]:
    """The processes that this one has started and that live; after its own end the numbers may be others'."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def all_end(handles: Iterable[int]) -> bool:
    """Whether these processes (of `os.pidfd_open`) end within a minute each; by then they have."""
    late = [handle for handle in handles if not select.select([handle], [], [], 60)[0]]
    for handle in late:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    return not late
