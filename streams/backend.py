"""The `Backend`: what is asked of every kind of log without opening it, on a page.

Who folds it, whether it is sound, and how Faust reaches it; `streams.backends.backend_of` gives the backend
of a URL.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from streams.log import Log


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
