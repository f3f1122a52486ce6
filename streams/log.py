"""The `Log`: what every kind of log can do once it is open, on a page.

Readers that are not agents (replay, audit, backtest, the command line) and writers outside Faust use this
interface; `streams.backends.open_log` opens the log that a URL names.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from streams.records import Entry, Position, Record


class LogError(Exception):
    """The log could not do it; the message names the log, the thing and what to do."""


class Log(Protocol):
    """Ordered, durable, append-only records by topic and partition. Safe to use from several threads."""

    url: str
    partitions: int
    """The same for every topic; recorded at creation."""

    def append(self, entries: Iterable[Entry], *, sync: bool = True) -> list[Position]:
        """Append all or nothing, in order; returns when durable. On Kafka that is said of each partition for
        itself, and of `RECORD_BYTES_MAX` there.

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
