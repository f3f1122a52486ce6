"""A function in a thread of its own, beside what the process is for."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)


class Background:
    """Calls `run` in a daemon thread; it is to look at `stopping`, and to return soon after that is set.

    What it raises is logged under `name`. As a context manager it is started, and at the end stopped.
    """

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self.stopping = threading.Event()
        self._run = run
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float | None = None) -> bool:
        """Tell it to end, and `join` it."""
        self.stopping.set()
        return self.join(within_s)

    def join(self, within_s: float | None = None) -> bool:
        """Wait until it has ended, at most so long; whether it has."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._run()
        except Exception as error:
            logger.critical("%s failed: %r", self._thread.name, error, exc_info=error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
