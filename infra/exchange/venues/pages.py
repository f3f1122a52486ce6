"""The newest page of a venue: when it is asked for, and what it has of trades that are missing. Pure."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from infra.exchange.venues.breaks import Break
from infra.exchange.venues.sequence import FOREVER, MS_NS, Trade, ms_before

SETTLE_NS = 300 * MS_NS
"""What a page has, and the connection has not sent when it sent nothing as old for so long, was left out."""
LOOK_NS = 5_000 * MS_NS
"""While trades come, they are compared at least so often."""
PAGE_MIN = 60
"""Trades of a page, before a larger one came."""


class Asked(NamedTuple):
    """Which doubt and which trade were the newest when a page was asked for."""

    doubt: int
    rank: int


class Ranked(NamedTuple):
    """A trade of a page that is known, by its rank."""

    rank: int
    trade: Trade


class Sight(NamedTuple):
    """What a page shows of a break."""

    found: list[Trade | None]
    """Its trades, in order, None for one that cannot be had; those that are too old are of size 0."""
    missing: list[tuple[int, Trade]]
    """Those that are not known, each with its key."""
    reaches_back: bool
    """It has a trade from before the break: of what is missing, it has the beginning."""
    reaches_on: bool
    """It has a trade from behind the break: it has the end."""
    ends_unfit: bool
    """Behind these it has some that cannot be let in; when they were only the next trade tells."""

    @property
    def fetched(self) -> list[Trade]:
        """Those that are not known and can be let in."""
        return [trade for _, trade in self.missing if trade.size]

    def beginning(self) -> "Sight":
        """Up to the last that can be had: of what is behind it, the page has not all."""
        sizes = [trade.size for _, trade in self.missing]
        stop = max((n + 1 for n, size in enumerate(sizes) if size), default=0)
        missing = self.missing[:stop]
        found = self.found[: self.found.index(missing[-1][1]) + 1] if missing else []
        return self._replace(found=found, missing=missing)


class Page:
    """`trades`, each with its key, the oldest first; those of size 0 cannot be let in. It came at `now`."""

    def __init__(self, trades: list[tuple[int, Trade]], asked: Asked, now: int) -> None:
        self.trades, self.asked = trades, asked
        self.newest = max((trade.time for _, trade in trades), default=0)
        self.missing: set[int] = set()
        """Keys of those that are not known; the connection may be about to send them."""
        self.is_news = True
        """Something came that it was not compared with."""
        self._quiet_since = now

    def heard(self, time: int, now: int) -> None:
        """The connection sent a trade of `time` (ns)."""
        if time <= self.newest:
            self._quiet_since = now

    def has_settled(self, now: int) -> bool:
        """Whether the connection would have sent by now what it has to send of it."""
        return now - self._quiet_since >= SETTLE_NS

    def of(self, hole: Break, ranks: Sequence[int | None]) -> Sight:
        """What it shows of a break, by the ranks of its trades."""
        first, stop = hole.window(ranks, [trade for _, trade in self.trades])
        reaches_on = stop is not None or (not hole.doubt and self.newest >= hole.end)
        end = FOREVER if hole.is_last else hole.end - (not reaches_on and self.newest > hole.end)
        inside = deque(
            (rank, key, trade)
            for rank, (key, trade) in zip(ranks[first:stop], self.trades[first:stop], strict=True)
            if hole.start < trade.time <= end or not trade.time
        )
        while not first and inside and not inside[0][2].time:
            inside.popleft()  # it may be of before the break
        ends_unfit = False
        goes_beyond = stop is None and (hole.is_last or hole.behind <= self.asked.rank)
        while goes_beyond and inside and not inside[-1][2].time:
            inside.pop()  # it may be of behind the break
            ends_unfit = hole.is_last
        found: list[Trade | None] = [] if first else [None]
        found += [trade if trade.time else None for _, _, trade in inside]
        missing = [(key, trade) for rank, key, trade in inside if rank is None]
        return Sight(found, missing, first > 0, reaches_on, ends_unfit)

    def lags(self, hole: Break, ranks: Sequence[int | None]) -> bool:
        """Whether it is older than what had come when it was asked for."""
        sight = self.of(hole, ranks)
        if sight.reaches_on or not hole.was_over_at(self.asked.doubt):
            return False
        lacks_next = hole.behind <= self.asked.rank and self.newest <= hole.end
        lacks_last = self.newest <= (hole.start if not sight.reaches_back else ms_before(hole.known))
        return lacks_next or lacks_last

    def left_out(
        self, ranks: Sequence[int | None]
    ) -> Iterator[tuple[list[tuple[int, Trade]], Ranked | None, Ranked | None]]:
        """Runs in which some are not known, with the known next to them. One that cannot be let in counts
        between others alone, and is no neighbour: nothing tells when it was."""
        run: list[tuple[int, Trade]] = []
        last: Ranked | None = None
        is_new = False
        for rank, (key, trade) in zip(ranks, self.trades, strict=True):
            if rank is None or not trade.time:
                run.append((key, trade))
                is_new |= rank is None
                continue
            known = Ranked(rank, trade)
            if is_new and (last or any(trade.size for _, trade in run)):
                yield run, last, known
            run, last, is_new = [], known, False
        while run and not run[-1][1].size:
            run.pop()
        if run:
            yield run, last, None


class Overlap:
    """How far pages overlap: each has to have a trade that was there when the one before was asked for."""

    def __init__(self) -> None:
        self._size, self._rank, self._at, self._loose = PAGE_MIN, 0, 0, FOREVER

    def seen(self, rank: int, now: int, size: int) -> None:
        """A page of this size came, asked for when the newest trade was of `rank`."""
        self._size, self._rank, self._at = max(self._size, size), rank, now
        if rank > self._loose:
            self._loose = FOREVER

    def ends(self, rank: int) -> None:
        """No page has shown that the trade behind this one follows."""
        self._loose = min(self._loose, rank)

    def wants(self, rank: int, now: int) -> bool:
        """Whether it is time for the next, when the newest trade is of `rank`."""
        came = rank - self._rank
        return rank > self._loose or came >= 2 * self._size // 3 or (came > 0 and now - self._at >= LOOK_NS)
