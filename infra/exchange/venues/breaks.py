"""A place between two trades behind one another where others may be missing. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from infra.exchange.venues.sequence import FOREVER, Part, Trade, ms_before
from streams.events import Gap, GapFilled
from streams.gaps import KnownGap


@dataclass(eq=False)
class Break:
    """Trades may be missing in (start, end] ns, behind that of `rank` and before that of rank `behind`."""

    doubt: int
    """The newest that it stands for; 0: it is a gap of the journal, whose neighbours are known by time."""
    start: int
    rank: int = 0
    behind: int = FOREVER
    end: int = 0
    until: int = FOREVER
    """What is behind it waits until then."""
    is_told: bool = False
    """The journal has its gap."""
    known: int = 0
    """When the newest trade was of those that were known before it, ns."""
    awaits_next: bool = False
    """Only what cannot be let in is missing: the next trade tells when that was."""
    found: list[Trade | None] | None = None
    """What there is of it in the end, in order. A None stands for what cannot be had, and one of size 0 is
    too old to be taken."""
    fetched: list[Trade] = field(default_factory=list[Trade])
    """Those of them that the journal has not."""

    @property
    def is_last(self) -> bool:
        """Whether no trade came behind it yet."""
        return self.behind == FOREVER and self.found is None

    @property
    def has_before(self) -> bool:
        """Whether a trade before it is known, which pages have once they do not lag."""
        return self.known > 0 or not self.doubt

    def was_over_at(self, doubt: int) -> bool:
        """Whether nothing more of it was missed behind this doubt."""
        return self.doubt <= doubt

    def window(self, ranks: Sequence[int | None], page: Sequence[Trade]) -> tuple[int, int | None]:
        """Where in a page it begins and stops; 0 and None where the page has no trade before and none behind
        it. `ranks`: those of the page, None where one is not known."""
        known = [(n, rank) for n, rank in enumerate(ranks) if rank is not None]
        if not self.doubt:
            before = [n for n, trade in enumerate(page) if 0 < trade.time <= self.start]
            behind = [n for n, trade in enumerate(page) if trade.time > self.end]
        else:
            before = [n for n, rank in known if rank <= self.rank]
            behind = [n for n, rank in known if rank >= self.behind]
        first = before[-1] + 1 if before else 0
        return first, next((n for n in behind if n >= first), None)

    def closes_at(self, rank: int, time: int, until: int) -> None:
        """A trade came behind it."""
        self.behind, self.end, self.until = rank, max(time, self.start + 1), until
        self.awaits_next = False

    def gap(self, key: str) -> Gap:
        return Gap(market=key, start=self.start, end=self.end, reason="trades may be missing")

    def ends(self, key: str, too_old: str) -> Iterator[Gap | GapFilled]:
        """That it is filled, but for what cannot be had, or is not taken as `too_old` says: that is final."""
        found, start, known = self.found or [], self.start, self.start
        taken = [item if item is not None and item.size else None for item in found]
        for place, item in enumerate(taken):
            if item is not None:
                known = ms_before(item.time)
                continue
            if place and taken[place - 1] is None:
                continue
            later = ((n, it.time) for n, it in enumerate(taken) if n > place and it is not None)
            stop, end = next(later, (len(taken), self.end))
            gap_start = max(known, start)
            if start < gap_start:
                yield GapFilled(market=key, start=start, end=gap_start)
            start = max(end, gap_start + 1)
            reason = "trades are nowhere to be had" if found[stop - 1] is None else too_old
            yield Gap(market=key, start=gap_start, end=start, reason=reason, final=True)
        if start < self.end:
            yield GapFilled(market=key, start=start, end=self.end)

    def parts(self, key: str, too_old: str) -> Iterator[Part]:
        """What goes into the journal at its end; nothing where nothing was missing."""
        is_gap = self.start < self.end
        if is_gap and self.found and not self.is_told:
            yield Part((self.gap(key),))
        if self.fetched or (is_gap and (self.found or self.is_told)):
            yield Part(tuple(self.ends(key, too_old)) if is_gap else (), fetched=self.fetched)


def of_journal(gap: KnownGap, known: Iterable[int]) -> Iterator[Break]:
    """A gap of the journal, parted at the times of trades in it that are known."""
    edges = [gap.start, *sorted({time for time in known if gap.start < time < gap.end}), gap.end]
    for start, end in pairwise(edges):
        yield Break(0, start, behind=0, end=end, is_told=True)
