"""Who wrote the derived records: what their headers may say.

A record holds the epoch of its worker and the hash of the code that folded, or neither where `replay` wrote
it into a fresh home, before any worker. Neither follows from the journal, but they bind each other: a worker
says in `system` that it starts, and where the streams end then, before it writes anything; and it has one
code.
"""

from collections.abc import Mapping

from streams.codec import UndecodableError, output_of
from streams.events import WorkerStarted
from streams.log import Log
from streams.records import Record
from streams.topics import SYSTEM

Headers = tuple[tuple[str, bytes], ...]

_STARTED = str(WorkerStarted.__struct_config__.tag).encode()


class Writers:
    """The workers of a log as its headers name them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: set[Headers] = set()
        self._codes: dict[bytes, bytes] = {}
        self._started: dict[int, int] = {}
        self._replayed: Mapping[str, int] | None = None
        """The ends of the streams when the first worker started."""
        self._ends = dict.fromkeys(range(log.partitions), 0)

    def fault(self, record: Record) -> str:
        """What is wrong with the headers of a record; empty where nothing is."""
        headers = record.headers
        if headers in self._seen:
            return ""
        if not headers:
            return "" if self._is_replayed(record) else "it has no headers, though a worker wrote it"
        if [name for name, _ in headers] != ["epoch", "code"]:
            return f"its headers are {', '.join(name for name, _ in headers)}, not epoch and code"
        epoch, code = (value for _, value in headers)
        if self._codes.setdefault(epoch, code) != code:
            return "its headers name another code than other records of the same worker's epoch"
        if not epoch.isdigit() or int(epoch) not in self.started():
            return "no worker of the epoch in its headers says in `system` by its name that it started"
        self._seen.add(headers)
        return ""

    def _is_replayed(self, record: Record) -> bool:
        """Whether it stood there before any worker started."""
        if self._replayed is None and not self.started():
            return True
        assert self._replayed is not None
        return record.offset < self._replayed.get(f"{record.topic}:{record.partition}", 0)

    def started(self) -> dict[int, int]:
        """When workers started by now, in ns UTC, by their epochs."""
        for partition, start in self._ends.items():
            for record in self._log.read(SYSTEM, partition, start):
                self._ends[partition] = record.offset + 1
                if _STARTED in record.value:
                    self._note(record)
        return self._started

    def _note(self, record: Record) -> None:
        try:
            events = output_of(record).events
        except UndecodableError:
            return
        for event in events:
            if isinstance(event, WorkerStarted) and _is_its_own(event, record):
                self._started[event.epoch] = event.at
                self._replayed = (event.ends or {}) if self._replayed is None else self._replayed


def _is_its_own(event: WorkerStarted, record: Record) -> bool:
    return record.key == event.worker.encode() and record.time_ms == event.at // 1_000_000
