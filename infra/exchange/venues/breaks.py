"""What `overlap` reckons with: a page of a venue's newest trades, and a break, a place between two trades
behind one another where others may be missing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from infra.exchange.venues.sequence import FOREVER, Part, Trade, ms_before
from streams.events import Gap, GapFilled
from streams.gaps import KnownGap


class Asked(NamedTuple):
    """Which doubt and which trade were the newest when a page was asked for."""

    doubts: int
    rank: int


class Page(NamedTuple):
    """The newest trades, each with its key, in the venue's order; `at` in ns of the caller's clock."""

    trades: list[tuple[int, Trade]]
    asked: Asked
    at: int


@dataclass(eq=False)
class Break:
    """Trades may be missing in (start, end] ns, behind that of `rank` and before that of rank `behind`."""

    since: int
    number: int
    """Of the first and the newest doubt that it stands for."""
    start: int
    rank: int
    behind: int = FOREVER
    end: int = 0
    until: int = FOREVER
    """What is behind it waits until then."""
    vain: int = 0
    """How often the page was older than what is behind it."""
    seen: int = -1
    """Of the doubt up to which a page has, behind the last trade, only what cannot be let in."""
    found: list[Trade | None] | None = None
    """What there is of it in the end. A None stands for what cannot be had, and one of size 0 is too old to
    be taken."""
    told: bool = False
    """Whether the journal has its gap."""

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
        if self.found and not self.told:
            yield Part((self.gap(key),))
        if self.start < self.end and (self.found or self.told):
            fetched = [trade for trade in self.found or () if trade is not None and trade.size]
            yield Part(tuple(self.ends(key, too_old)), fetched=fetched)


def unknown_runs(
    page: Page, ranks: Sequence[int | None]
) -> Iterator[tuple[list[tuple[int, Trade]], tuple[int, Trade] | None, tuple[int, Trade] | None]]:
    """Runs of trades of a page that have no rank, with those next to them, by their ranks. One that cannot be
    let in counts between others alone."""
    run: list[tuple[int, Trade]] = []
    last: tuple[int, Trade] | None = None
    for rank, (key, trade) in zip(ranks, page.trades, strict=True):
        if rank is None:
            run += [(key, trade)] if run or trade.size or last is not None else []
            continue
        if run:
            yield run, last, (rank, trade)
        run, last = [], (rank, trade)
    while run and not run[-1][1].size:
        run = run[:-1]
    if run:
        yield run, last, None


def of_journal(gap: KnownGap, known: Iterable[int]) -> Iterator[Break]:
    """A gap of the journal, parted at the times of trades in it that are known."""
    edges = [gap.start, *sorted({time for time in known if gap.start < time < gap.end}), gap.end]
    for start, end in pairwise(edges):
        yield Break(0, 0, start, 0, 0, end, told=True)
