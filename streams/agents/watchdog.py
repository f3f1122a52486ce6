"""Ends a worker that does not get on: records wait, and for a bounded time nothing has moved.

It looks from a thread of its own, since what holds the worker up may be its event loop: a strategy that never
returns. Each partition is judged by itself: that others fold excuses none. It keeps still while there is
nothing to do, while the log does not say how far it goes, while one record, however long its fold takes, goes
on (it holds up all others), and while a partition waits for its turn behind what waited in others before it.

Why: ADR 14.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol

from streams.background import Background
from streams.log import Log, LogError
from streams.topics import JOURNAL

logger = logging.getLogger(__name__)

STALLED_S = 60.0
LOOK_S = 1.0
SILENT_SHARE = 3
"""The outputs of a record are encoded and sent without a sign, within so many times the time of its fold."""

Place = tuple[str, int]


class Watched(Protocol):
    """What is looked at, from another thread."""

    def positions(self) -> dict[Place, int]:
        """Last offset done by (topic, partition); without those that may stand still."""
        ...


class Doing(NamedTuple):
    """What a fold is at: the `record`, None between two, and `progress`, which is another value with each
    step of its fold; `message` goes into the error, `fields` into its log line."""

    record: object = None
    progress: object = None
    message: str = ""
    fields: Mapping[str, object] | None = None


class Stand(NamedTuple):
    """A place that stands at `offset`, though it has had something to do, and its turn, `since` then.

    `ends`: where its follower's places ended when it came to stand. It is another's turn for as long as that
    one moves and is not so far: in a backlog one is drained after the other.
    """

    offset: int
    since: float
    ends: Mapping[Place, int]


class Watchdog:
    """Calls `end` with the reason, and the fields of its log line, when a place is stalled. A context
    manager.

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
        stalled_s: float = STALLED_S,
    ) -> None:
        self._log, self._watched, self._doing, self._end = log, watched, doing, end
        self._stalled_s = stalled_s
        self._look_s = min(LOOK_S, stalled_s / 4)
        self._now = 0.0
        """Seconds watched."""
        self._stands: list[dict[Place, Stand]] = [{} for _ in watched]
        self._before = Doing()
        self._record: object = None
        self._began = self._went_on = 0.0
        """When the record that was folded last was first seen, and when a fold was last seen to go on."""
        self._thread = Background("watchdog", self._run)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop(LOOK_S)

    def _run(self) -> None:
        before = time.monotonic()
        while not self._thread.stopping.wait(self._look_s):
            now = time.monotonic()
            self._now += min(now - before, 2 * self._look_s)
            before = now
            try:
                self._look()
            except LogError as error:
                logger.warning("cannot ask for the ends of the streams: %s", error)
                self._stands = [{} for _ in self._watched]
            except Exception as error:  # noqa: BLE001 - a watchdog that died in silence would be none
                self._end(f"watching failed: {error!r}", None)

    def _look(self) -> None:
        doing, before = self._doing(), self._before
        self._before = doing
        if doing.record is not None and doing.record != self._record:
            self._record, self._began = doing.record, self._now
        elif doing.record is not None and doing.progress != before.progress:
            self._went_on = self._now
        patience_s = self._stalled_s + SILENT_SHARE * max(0.0, self._went_on - self._began)
        for index, watched in enumerate(self._watched):
            positions = watched.positions()
            ends, stands = self._log.ends(list(positions)), self._stands[index]
            self._stands[index] = {place: self._stand(place, positions, ends, stands) for place in positions}
            for place, stand in self._stands[index].items():
                stood_s = self._now - max(stand.since, self._went_on)
                if stood_s >= patience_s and not self._thread.stopping.is_set():
                    held_by = doing if doing == before and place[0] == JOURNAL else Doing()
                    self._end(_reason(place, stand, ends[place], stood_s, held_by), held_by.fields)

    def _stand(
        self,
        place: Place,
        positions: Mapping[Place, int],
        ends: Mapping[Place, int],
        stands: Mapping[Place, Stand],
    ) -> Stand:
        before, at = stands.get(place), positions[place]
        if before is None or at != before.offset or at + 1 >= ends[place]:
            return Stand(at, self._now, ends)
        others_first = any(
            positions.get(other) != stand.offset and stand.offset + 1 < before.ends.get(other, 0)
            for other, stand in stands.items()
        )
        return before._replace(since=self._now) if others_first else before


def _reason(place: Place, stand: Stand, end: int, stood_s: float, held_by: Doing) -> str:
    where = f"{place[0]}:{place[1]} stands at offset {stand.offset}"
    reason = f"{where} for {stood_s:.0f} s while records up to {end - 1} wait"
    return f"{reason}; it is {held_by.message}" if held_by.message else reason
