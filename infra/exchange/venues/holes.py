"""Trades of a venue, those that are missing, and what goes into the journal together. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from infra.exchange.venues.searching import Search
from streams.events import Gap, GapFilled

MS_NS = 1_000_000
ANEW_NS = 1_000 * MS_NS
"""A trade whose id is known and that is so much later than the newest is of a venue that began anew."""
ASKED_AGAIN = 3
"""So often a venue is asked again for what it should have."""
MISSING = "these trades did not arrive"
NOWHERE = "these trades are nowhere to be had"


class Trade(NamedTuple):
    """A trade at its market's scales; `time` in ns of the venue, `kind` a `RowKind`."""

    id: int
    time: int
    kind: int
    price: int
    size: int


class Part(NamedTuple):
    """What goes into the journal together: gaps, then the trades that were fetched afterwards, then what is
    filled by them, then the trades that came live."""

    gaps: tuple[Gap | GapFilled, ...] = ()
    fetched: Sequence[Trade] = ()
    rows: Sequence[Trade] = ()


@dataclass(eq=False)
class Hole:
    """Trades of the ids first ≤ id < stop that are missing, in (start, end] ns. What is behind waits until
    `until`."""

    first: int
    stop: int
    start: int
    end: int
    until: int = 0
    found: dict[int, Trade] = field(default_factory=dict[int, Trade])
    search: Search | None = None
    """For the first trade that is not too old to be asked for; None: how old they may be is not known."""
    is_lost: bool = False
    """Nothing more of it can be had."""
    before: int | None = None
    """Where a gap behind what was handed out of it begins; None: nothing was."""
    _vain: dict[int, int] = field(default_factory=dict[int, int])
    """How often a run of ids was asked for in vain, by its first."""

    @property
    def wanted(self) -> tuple[int, int] | None:
        """The first run of ids first ≤ id < stop that can still be had, or a part of it to look at; None
        where there is none."""
        if self.is_lost:
            return None
        if self.search is not None and (asks := self.search.asks) is not None:
            return asks, self.stop
        runs = (run for run in self._missing() if self._vain.get(run[0], 0) <= ASKED_AGAIN)
        return next(runs, None)

    @property
    def is_over(self) -> bool:
        """Whether all was found, but for what cannot be had."""
        return len(self.found) == self.stop - self.first or self.wanted is None

    @property
    def begins(self) -> int:
        """The first id that is missing."""
        return next(self._missing(), (self.stop, self.stop))[0]

    def answered(self, first: int, page: Sequence[Trade]) -> int:
        """The venue was asked for what is `wanted`, from `first` on; nothing of its answer was taken yet. How
        often that was in vain."""
        if self.search is not None and self.search.asks is not None:
            self.search.answered(first, page)
            return 0
        _, stop = self.wanted or (first, self.stop)
        return 0 if any(first <= t.id < stop and self.fits(t) for t in page) else self.in_vain(first)

    def fits(self, trade: Trade) -> bool:
        """Whether it may be one of its trades; one that is so much later is of a venue that began anew."""
        return self.first <= trade.id < self.stop and trade.time < self.end + ANEW_NS

    def in_vain(self, first: int) -> int:
        """The venue has nothing of the run that begins with `first`. How often that was so."""
        self._vain[first] = self._vain.get(first, 0) + 1
        return self._vain[first]

    def gap(self, key: str) -> Gap:
        """Its ids are read again at a start."""
        return Gap(
            market=key,
            start=self.start,
            end=self.end,
            reason=MISSING,
            first_id=self.first,
            last_id=self.stop - 1,
        )

    def take(self, trades: Iterable[Trade]) -> None:
        first = self.first if self.search is None else max(self.first, self.search.begins)
        self.found.update((trade.id, trade) for trade in trades if first <= trade.id and self.fits(trade))

    def _missing(self) -> Iterator[tuple[int, int]]:
        first = self.first
        for known in [*sorted(self.found), self.stop]:
            if first < known:
                yield first, known
            first = known + 1

    def taken(self) -> list[Trade]:
        """What was found, by id; from now on it is no longer here."""
        found = [self.found[known] for known in sorted(self.found)]
        self.found.clear()
        return found

    def without_old(self, key: str, reason: str) -> Gap | None:
        """What is too old to be asked for, which it is without from now on; None where that is nothing, or
        not known yet."""
        if self.search is None or self.search.asks is not None or self.search.begins <= self.first:
            return None
        first, start = self.first, self.start
        self.first = self.search.begins
        self.start = self.end if self.first == self.stop else max(self.search.time - 1, start + 1)
        self.found = {id: trade for id, trade in self.found.items() if id >= self.first}
        return _final(key, (start, self.start), (first, self.first), reason)

    def without_lost(self, key: str) -> Gap | None:
        """What its beginning misses for good, which it is without from now on; None where that is nothing,
        not known yet, or of the same moment as its end."""
        first, stop = self.first, min(self.found)
        start = self.start if self.before is None else self.before
        end = max(self.found[stop].time, start + 1)
        if self._vain.get(first, 0) <= ASKED_AGAIN or end >= self.end:
            return None
        self.first, self.start = stop, end
        return _final(key, (start, end), (first, stop), NOWHERE)

    def ends(self, key: str) -> Iterator[Gap | GapFilled]:
        """That it is filled, but for what is missing, which is final."""
        start = self.start
        for first, stop in self._missing():
            before, behind = self.found.get(first - 1), self.found.get(stop)
            known = self.start if self.before is None else self.before
            gap_start = ms_before(before.time) if before else known
            gap_end = max(behind.time if behind else self.end, gap_start + 1)
            if start < gap_start:
                yield GapFilled(market=key, start=start, end=gap_start)
            yield _final(key, (gap_start, gap_end), (first, stop), NOWHERE)
            start = gap_end
        if start < self.end:
            yield GapFilled(market=key, start=start, end=self.end)


def _final(key: str, span: tuple[int, int], ids: tuple[int, int], reason: str) -> Gap:
    """The ids from the first to before the second."""
    (start, end), (first, stop) = span, ids
    return Gap(
        market=key,
        start=start,
        end=end,
        reason=reason,
        final=True,
        first_id=first,
        last_id=stop - 1,
    )


def ms_before(time: int) -> int:
    """In front of the millisecond: others of the same may be missing."""
    return max(time // MS_NS * MS_NS - 1, 0)


def scaled(trade: Trade, price: int, size: int) -> Trade:
    return trade._replace(price=trade.price * price, size=trade.size * size)
