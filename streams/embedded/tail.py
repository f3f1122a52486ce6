"""Following the embedded log: what is new in many partitions, soon after its commit."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from streams.log import LogError
from streams.records import Record

POLL_S = 0.001
RECORDS_MAX = 500
"""Of one partition at once."""


class Followed(Protocol):
    """What a tail uses of the log."""

    url: str

    def version(self) -> int: ...
    def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]: ...
    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Record]: ...


class EmbeddedTail:
    """A `streams.log.Tail`."""

    def __init__(self, log: Followed, after: Mapping[tuple[str, int], int]) -> None:
        self._log = log
        self._next = dict(after)
        self._seen = -1
        """The version at which nothing was new."""

    def read(self, timeout_s: float) -> list[Record]:
        deadline_s = time.monotonic() + timeout_s
        while True:
            version = self._log.version()
            if version != self._seen:
                if records := self._new():
                    return records
                self._seen = version
            if time.monotonic() >= deadline_s:
                return []
            time.sleep(POLL_S)

    def _new(self) -> list[Record]:
        records: list[Record] = []
        for place, end in self._log.ends(self._next).items():
            due = self._next[place]
            if end <= due:
                continue
            some = list(self._log.read(*place, due, min(end, due + RECORDS_MAX)))
            if not some or some[0].offset != due:
                raise LogError(f"log {self._log.url}: {place[0]}:{place[1]}: offset {due} is gone")
            self._next[place] = some[-1].offset + 1
            records += some
        return records

    def close(self) -> None:
        pass
