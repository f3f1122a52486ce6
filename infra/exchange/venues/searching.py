"""Where among a market's ids the trades of a time begin, found by looking at a few pages of them. Pure."""

from collections.abc import Sequence
from typing import Protocol


class Timed(Protocol):
    """A trade; `time` in ns of the venue."""

    @property
    def id(self) -> int: ...
    @property
    def time(self) -> int: ...


class Search:
    """Looks in the ids first ≤ id < stop for the first of a trade at `time` (ns) or later. Times rise with
    ids, but for neighbours."""

    def __init__(self, first: int, stop: int, time: int) -> None:
        self.time = time
        self._early, self._late = first, stop
        """What is before the one is earlier, what is from the other on is later."""

    @property
    def begins(self) -> int:
        """The id that is looked for; before it is found, one that is not above it."""
        return min(self._early, self._late)

    @property
    def asks(self) -> int | None:
        """The id from which on a page is to be seen; None when it is found."""
        return None if self._early >= self._late else (self._early + self._late) // 2

    def seen(self, trades: Sequence[Timed]) -> None:
        """Some trades of the market."""
        self._early = max([self._early, *(trade.id + 1 for trade in trades if trade.time < self.time)])
        self._late = min([self._late, *(trade.id for trade in trades if trade.time >= self.time)])

    def answered(self, asked: int, page: Sequence[Timed]) -> None:
        """The page from the id `asked` on. What the venue does not have may be late enough."""
        self.seen(page)
        if self._early <= asked:
            self._late = min(self._late, asked)
