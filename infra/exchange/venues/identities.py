"""Which trades of a market are known: the newest by their keys, all before them by their time."""

from collections import deque
from collections.abc import Iterable, Sequence

from infra.exchange.venues.sequence import Trade
from streams.gaps import KnownGap

KNOWN = 16_384
"""So many keys are known: more than a page and what comes while it is asked for."""


class Identities:
    """Each trade has a rank: its number among those that came since the start, 0 where it is of before.

    `known`: the newest in the journal, by time (ns) and key. What is not later than `until` (ns) and in none
    of the `gaps` is in it too.
    """

    def __init__(self, known: Iterable[tuple[int, int]], until: int, gaps: Sequence[KnownGap]) -> None:
        self._ranks: dict[int, int] = {}
        self.times: deque[int] = deque()
        """Of the trades whose keys are known, in the order in which they were told."""
        self._until, self._gaps = until, gaps
        for time, key in known:
            self.add(key, 0, time)
        self._until = min([self._until, *(time - 1 for time in self.times)])

    def add(self, key: int, rank: int, time: int) -> None:
        """It is known from now on, if it was not."""
        if key in self._ranks:
            return
        self._ranks[key] = rank
        self.times.append(time)
        if len(self.times) > KNOWN:
            self._ranks.pop(next(iter(self._ranks)))
            self._until = max(self._until, self.times.popleft() - 1)

    def drop_newest(self, keys: Sequence[int]) -> None:
        """They were told last, and are not known after all."""
        for key in keys:
            del self._ranks[key]
            self.times.pop()

    def begin(self, since: int) -> None:
        """Nothing up to `since` (ns) is missing."""
        self._until = since

    def rank(self, key: int, trade: Trade) -> int | None:
        """None: it is not known. One that cannot be let in (size 0) is known by its key alone."""
        rank = self._ranks.get(key)
        if rank is None and trade.size and trade.time <= self._until:
            return None if any(gap.start < trade.time <= gap.end for gap in self._gaps) else 0
        return rank
