"""Who wrote the derived records: what their headers may say.

A record holds the epoch of its worker and the hash of the code that folded, or neither where `replay` wrote
it into a fresh home. Neither follows from the journal, but they bind each other: a worker says in `system`
that it starts, before it writes anything, and it has one code.
"""

from streams.codec import UndecodableError, decode_output
from streams.events import WorkerStarted
from streams.log import Log
from streams.topics import SYSTEM

Headers = tuple[tuple[str, bytes], ...]

_STARTED = str(WorkerStarted.__struct_config__.tag).encode()


class Writers:
    """The workers of a log as its headers name them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._seen: set[Headers] = {()}
        self._codes: dict[bytes, bytes] = {}
        self._started: dict[int, int] = {}
        self._ends = dict.fromkeys(range(log.partitions), 0)

    def fault(self, headers: Headers) -> str:
        """What is wrong with the headers of a record; empty where nothing is."""
        if headers in self._seen:
            return ""
        if [name for name, _ in headers] != ["epoch", "code"]:
            return f"its headers are {', '.join(name for name, _ in headers)}, not epoch and code"
        epoch, code = (value for _, value in headers)
        if self._codes.setdefault(epoch, code) != code:
            return "its headers name another code than other records of the same worker's epoch"
        if not epoch.isdigit() or int(epoch) not in self.started():
            return "no worker of the epoch in its headers says in `system` that it started"
        self._seen.add(headers)
        return ""

    def started(self) -> dict[int, int]:
        """When workers started by now, in ns UTC, by their epochs."""
        for partition, start in self._ends.items():
            for record in self._log.read(SYSTEM, partition, start):
                self._ends[partition] = record.offset + 1
                if _STARTED in record.value:
                    self._started.update(_starts(record.value))
        return self._started


def _starts(value: bytes) -> dict[int, int]:
    try:
        events = decode_output(value).events
    except UndecodableError:
        return {}
    return {event.epoch: event.at for event in events if isinstance(event, WorkerStarted)}
