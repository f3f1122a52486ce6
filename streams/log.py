"""The `Log` and its `Backend`: what can be done with every kind of log, on a page.

Readers that are not agents (replay, audit, backtest, the command line) and writers outside Faust use the
`Log`; `streams.backends.open_log` opens the one that a URL names. What can be asked without opening it (who
folds it, whether it is sound) is asked of its `Backend`, which `streams.backends.backend_of` gives.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from streams.records import Entry, Position, Record


class LogError(Exception):
    """The log could not do it; the message names the log, the thing and the way out."""


class Log(Protocol):
    """Ordered, durable, append-only records by topic and partition. Safe to use from several threads."""

    url: str
    partitions: int
    """The same for every topic; recorded at creation."""

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        """Append all or (embedded) nothing, in order; returns when durable.

        `sync=False` may leave the last milliseconds to the operating system (embedded); on Kafka it is the
        same as True. Raises `LogError`, for a record over `RECORD_BYTES_MAX` too.
        """
        ...

    def read(self, topic: str, partition: int, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        """Records with start ≤ offset < stop (None: the highwater at the time of the call), in order."""
        ...

    def earliest(self, topic: str, partition: int) -> int:
        """The first offset that the log still holds."""
        ...

    def highwater(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        ...

    def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The highwaters of many (topic, partition), asked at once."""
        ...

    def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first offset whose record time is ≥ `time_ms`; the highwater when there is none."""
        ...

    def committed(self, consumer: str) -> dict[tuple[str, int], int]:
        """The next offsets that a consumer wants, by (topic, partition), as far as it ever committed."""
        ...

    def wait(self, after: Mapping[tuple[str, int], int], timeout_s: float) -> bool:
        """Wait until some (topic, partition) has a highwater above the given; False on timeout."""
        ...

    def tail(self, after: Mapping[tuple[str, int], int]) -> "Tail":
        """Follow partitions, each from the given offset on."""
        ...

    def close(self) -> None: ...


class Tail(Protocol):
    """Reads on, in one thread."""

    def read(self, timeout_s: float) -> list[Record]:
        """What follows, as soon as there is something; of a partition in order, without a hole.

        Empty after the timeout, also while the log does not answer. Raises `LogError` for records that the
        log no longer holds.
        """
        ...

    def close(self) -> None: ...


class Finding(NamedTuple):
    """How a log is, in one sentence; `hint` says what to do, where something is to be done."""

    state: Literal["ok", "warning", "failed"]
    message: str
    hint: str = ""


class Broker(NamedTuple):
    """How a Faust app reaches the log."""

    urls: list[str]
    prefix: str
    """Stands before the name of each stream and of the workers' group."""
    transport: Callable[..., Any]
    """The class of Faust's transport."""


class Backend(Protocol):
    """The log that a URL names, not opened. Nothing here but `open` and `folding` makes a file or a topic.

    `answer_s`: silence that is an error, or, of a search, its end; None: the backend's own limit.
    """

    url: str
    shared: bool
    """Whether workers share the partitions, each under a name of its own; otherwise one process at a time
    folds all of them."""

    def open(self, *, partitions: int | None = None, answer_s: float | None = None) -> Log:
        """See `streams.backends.open_log`."""
        ...

    def examine(self, *, partitions: int | None = None, answer_s: float | None = None) -> Finding:
        """Whether the log is there and as `open` needs it. Not for use within an event loop."""
        ...

    def folded_by(self, *, answer_s: float | None = None) -> list[str] | None:
        """Who folds the log now; None where it does not tell. Raises `LogError`. Not within an event loop."""
        ...

    def folding(self, worker: str, locks: Path) -> AbstractContextManager[None]:
        """Hold the right to fold, under this worker's name.

        `locks`: a folder of this home, for a backend that has no place of its own for a lock. Raises
        `LogError`, naming who folds, where another process folds the log or is this worker.
        """
        ...

    def check_folding(self, worker: str, locks: Path) -> None:
        """Raises the `LogError` that `folding` would raise now."""
        ...

    def broker(self) -> Broker: ...
