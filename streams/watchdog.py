"""Ends a worker that does not get on: records wait, and for a bounded time nothing has moved.

It looks from a thread of its own, since what holds the worker up may be its event loop: a strategy that never
returns. It keeps still while there is nothing to do, while the log does not say how far it goes, and while
one record, however long its fold takes, goes on step by step.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol

from streams.log import Log, LogError
from streams.topics import JOURNAL

logger = logging.getLogger(__name__)

STANDSTILL_S = 60.0
LOOK_S = 1.0

Place = tuple[str, int]


class Watched(Protocol):
    """What is looked at, from another thread."""

    def positions(self) -> dict[Place, int]:
        """Last offset done by (topic, partition); without those that may stand still."""
        ...


class Doing(NamedTuple):
    """What a fold is at: `progress` is another value with each step, `words` go into the error, `bound` into
    its log line."""

    progress: object = None
    words: str = ""
    bound: Mapping[str, object] | None = None


class Watchdog:
    """Calls `end` with the reason, and what to bind to it, when a place stands still. A context manager.

    `doing` says what the fold of the journal is at. Time in which the watchdog itself did not run, as in a
    process that was stopped, does not count.
    """

    def __init__(
        self,
        log: Log,
        watched: Sequence[Watched],
        doing: Callable[[], Doing],
        end: Callable[[str, Mapping[str, object] | None], None],
        *,
        standstill_s: float = STANDSTILL_S,
    ) -> None:
        self._log, self._watched, self._doing, self._end = log, watched, doing, end
        self._standstill_s = standstill_s
        self._look_s = min(LOOK_S, standstill_s / 4)
        self._now = 0.0
        """Seconds watched."""
        self._moved: dict[Place, tuple[int, float]] = {}
        """By place: where it stood, and when it last moved or nothing waited."""
        self._progressed: tuple[object, float] = (None, 0.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(self._look_s):
            now = time.monotonic()
            self._now += min(now - before, 2 * self._look_s)
            before = now
            try:
                self._look()
            except LogError as error:
                logger.warning("cannot ask for the ends of the streams: %s", error)
                self._moved.clear()
            except Exception as error:  # noqa: BLE001 - a watchdog that died in silence would be none
                self._end(f"watching failed: {error!r}", None)

    def _look(self) -> None:
        doing = self._doing()
        if doing.progress != self._progressed[0]:
            self._progressed = (doing.progress, self._now)
        positions = {place: at for one in self._watched for place, at in one.positions().items()}
        self._moved = {place: self._moved[place] for place in positions if place in self._moved}
        for place, at in positions.items():
            self._check(place, at, self._log.highwater(*place), doing)

    def _check(self, place: Place, at: int, end: int, doing: Doing) -> None:
        before, since = self._moved.get(place, (None, self._now))
        if at != before or at + 1 >= end:
            self._moved[place] = (at, self._now)
            return
        folds = place[0] == JOURNAL
        stood_s = self._now - (max(since, self._progressed[1]) if folds else since)
        if stood_s < self._standstill_s or self._ended.is_set():
            return
        where = f"{place[0]}:{place[1]} stands at offset {at}"
        reason = f"{where} for {stood_s:.0f} s while records up to {end - 1} wait"
        if folds and doing.words:
            reason += f"; it is {doing.words}"
        self._end(reason, doing.bound if folds else None)
