"""Frames as they were received, in files of the home: `raw/SOURCE/DATE.gz`, a day of UTC each.

A line is the receive time in ns, a blank, and the frame. A thread of its own writes, so that the feed never
waits; what comes while the queue is full is dropped and counted. Each write is a gzip member of its own, so a
killed process leaves a whole file.
"""

import gzip
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.exchange.status import RawStatus

logger = logging.getLogger(__name__)

FOLDER = "raw"
BYTES_MAX = 10_000_000_000
"""Of a source's files together; the oldest are deleted."""
WAITING_MAX = 32_000_000
"""Characters that may wait to be written."""
WRITE_S = 1.0
LEVEL = 1


class RawFrames:
    """Writes between `with` and its end. `wall_ns` is the time of day."""

    def __init__(
        self,
        home: Path,
        source: str,
        *,
        bytes_max: int = BYTES_MAX,
        waiting_max: int = WAITING_MAX,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder = home / FOLDER / source
        self._source, self._bytes_max, self._waiting_max = source, bytes_max, waiting_max
        self._wall = wall_ns
        self._waiting: deque[tuple[int, str]] = deque()
        self._put = self._taken = 0
        """Characters so far: each is counted by one thread alone."""
        self.dropped = 0
        """Frames that there was no room for, or that came when nothing was written any more."""
        self.failed = ""
        """Why nothing is written any more."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"raw {source}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    def put(self, frame: str) -> None:
        """A frame came. Never waits."""
        if self.failed or self._put - self._taken + len(frame) > self._waiting_max:
            self.dropped += 1
            return
        self._put += len(frame)
        self._waiting.append((self._wall(), frame))

    def status(self) -> RawStatus:
        """From any thread."""
        return RawStatus(self.dropped, self.failed)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        told = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                is_last = self._ending.wait(WRITE_S)
                self._write()
                if self.dropped > told:
                    logger.warning("%s: %d raw frames were dropped", self._source, self.dropped - told)
                    told = self.dropped
                if is_last:
                    return
        except OSError as error:
            self.failed = str(error)
            self._waiting.clear()
            logger.warning("%s: no raw frames are written any more: %s", self._source, error)

    def _write(self) -> None:
        """All that waits, each day into its file. Raises `OSError`."""
        days: dict[str, list[str]] = {}
        for _ in range(len(self._waiting)):
            at, frame = self._waiting.popleft()
            self._taken += len(frame)
            day = datetime.fromtimestamp(at // 1_000_000_000, UTC).strftime("%Y-%m-%d")
            line = frame.replace("\r", " ").replace(
                "\n", " "
            )  # between JSON's parts; in a text it is escaped
            days.setdefault(day, []).append(f"{at} {line}\n")
        for day, lines in days.items():
            member = gzip.compress("".join(lines).encode(errors="backslashreplace"), LEVEL)
            self._make_room(len(member), day)
            _append(self.folder / f"{day}.gz", member)

    def _make_room(self, size: int, day: str) -> None:
        """Delete the oldest days. Raises `OSError` where today's alone is too large."""
        sizes = {path: path.stat().st_size for path in sorted(self.folder.glob("*.gz"))}
        while sum(sizes.values()) + size > self._bytes_max:
            oldest = min(sizes, default=None)
            if oldest is None or oldest.stem == day:
                raise OSError(f"a day of them is more than {self._bytes_max:,} bytes")
            oldest.unlink()
            del sizes[oldest]
            logger.warning("%s: %s was deleted for newer frames", self._source, oldest)


def _append(path: Path, member: bytes) -> None:
    """All of it, or nothing."""
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            while member:
                member = member[file.write(member) or 0 :]
        except OSError:
            with suppress(OSError):  # the first error says why
                file.truncate(before)
            raise
