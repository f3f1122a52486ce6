"""One market's trades in the order in which the venue sends them, each once, and what of them may be missing.

For venues whose ids tell no order, and whose REST has the newest page alone. Pure, as `sequence`.

    arrive ──► queue: trades and breaks ──► due: parts for the journal
                        ▲
    newest page ────────┘        compared with what came, by identity

A *break* is a place between two trades behind one another where others may be missing: a doubt makes one
behind the last trade, a page makes one where it has a trade that was left out, and the journal has some.

    last ──a trade arrives──► waiting ──`gap_wait` is over──► open
      │                          │                              │
      └───────────────── a page tells what is missing ──────────┴──► found, and into the journal

`last`: no trade is behind it; nothing is promised. `waiting`: the trades behind it wait. `open`: the journal
has its gap, and rows go on. What a page tells of a break (`_close` decides):

    the page has      a trade from behind it              none from behind it
    one from before   all that is missing                 the same, if it was asked for behind the doubt;
                                                          else the beginning of it
    none from before  all that is left of it; what was before that is lost for good

Before it is believed, the connection has a moment to send what it has on its way; and a page that is older
than what had come is asked for again.

Why: ADR 39.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import dropwhile

from infra.exchange.venues.breaks import Break, of_journal
from infra.exchange.venues.holes import ASKED_AGAIN
from infra.exchange.venues.identities import Identities
from infra.exchange.venues.pages import Asked, Overlap, Page, Ranked, Sight
from infra.exchange.venues.sequence import FOREVER, Part, Trade, ms_before, scaled
from streams.gaps import Gaps, KnownGap
from streams.ticks import key_of


class OverlapSequence:
    """The trades of the market `key`. The journal has those up to `reached_time` (ns) but for `gaps`, and
    `known`, the newest trades in it, each with its time and key. Without any, the first trade to arrive is
    the first, unless there was a doubt when it `is_open`, subscribed to; then where to begin must be said.

    `gap_wait` (ns): so long what is behind a break waits; for ever behind one that is longer than `horizon`
    (ns), in which candles could no longer be revised, and behind one before which no trade came. `too_old`
    says in a gap why what is older than its `limit` was not taken.
    """

    def __init__(
        self,
        key: str,
        *,
        gap_wait: int,
        horizon: int,
        reached_time: int = 0,
        known: Iterable[tuple[int, int]] = (),
        gaps: Sequence[KnownGap] = (),
        too_old: str = "",
    ) -> None:
        self.key, self.repeats, self.doubts = key, 0, 0
        self._gap_wait, self._horizon = gap_wait, horizon
        self._oldest, self._too_old = 0, too_old
        missing = [gap for gap in gaps if not (gap.final or gap.filled)]
        self._known = Identities(known, reached_time, missing)
        self._start = max([reached_time, *(ms_before(time) for time in self._known.times)])
        """Where a gap behind the last trade begins, ns; 0: no trade is known."""
        self._rank = 0
        """Of the newest trade."""
        self._told = Gaps(gaps)
        """What the journal has of gaps."""
        self.open = [hole for gap in missing for hole in of_journal(gap, self._known.times)]
        """Breaks that nothing waits for any more."""
        self._queue: deque[Trade | Break] = deque()
        """What the journal has not, in its order; what is behind a break waits."""
        self.is_open = False
        self._begins = not self._start
        """It is new, and no page has said yet what was before."""
        self._before: list[int] | None = [] if self._begins else None
        """Keys of what was before a new market's first trade, by a page that may have that one too; None:
        it has a trade."""
        self._page: Page | None = None
        """Compared with what the connection sends, until that has sent all that it has of it."""
        self._overlap, self._vain = Overlap(), 0
        self.doubt()

    def __len__(self) -> int:
        """How many trades are here."""
        return sum(isinstance(item, Trade) for item in self._queue)

    @property
    def holds(self) -> bool:
        """Whether trades wait behind a break."""
        behind = dropwhile(lambda item: isinstance(item, Trade), self._queue)
        return any(isinstance(item, Trade) for item in behind)

    @property
    def doubtful(self) -> bool:
        """Whether more may be missing than is known."""
        return self._begins or any(isinstance(item, Break) for item in self._queue)

    @property
    def holes(self) -> list[Break]:
        """Where something may be missing, the oldest first."""
        return [*self.open, *(item for item in self._queue if isinstance(item, Break))]

    @property
    def _last(self) -> Break | None:
        """The break behind which no trade came yet."""
        last = self._queue[-1] if self._queue else None
        return last if isinstance(last, Break) and last.is_last else None

    @property
    def awaits_next(self) -> bool:
        """Whether all that is missing is known to be what cannot be let in, behind the last trade."""
        return self._last is not None and self._last.awaits_next

    @property
    def asks_where(self) -> bool:
        """Whether where to begin must be said: trades may have been missed, and none is known before them."""
        first = self._queue[0] if self._queue else None
        return isinstance(first, Break) and not first.start

    def begin(self, since: int) -> None:
        """What came behind `since` (ns) is the market's own, though none of it may be known."""
        if isinstance(first := self._queue[0], Break):
            first.start, first.end = since, max(first.end, since + 1)
        self._known.begin(since)
        self._start, self._begins = max(self._start, since), False

    def limit(self, oldest: int) -> None:
        """Trades before `oldest` (ns) are not taken of a page."""
        self._oldest = oldest

    def doubt(self) -> None:
        """Trades may have been missed behind the last that arrived."""
        self.doubts += 1
        if self._begins and self._before is not None and not self.is_open:
            return  # they were before its first
        if (last := self._last) is not None:
            last.doubt, last.awaits_next = self.doubts, False
        else:
            known = max(self._known.times, default=0)
            self._queue.append(Break(self.doubts, self._start, self._rank, known=known))

    def arrive(self, trade: Trade, now: int) -> None:
        """A trade came live."""
        key = key_of(trade.id)
        if self._page is not None:
            self._page.heard(trade.time, now)
        if self._before is not None:
            self._first(key, self._before)
        if self._known.rank(key, trade) is not None:
            self.repeats += 1
            return
        self._rank += 1
        self._note(key, self._rank, trade.time)
        if (last := self._last) is not None:
            is_long = not last.rank or trade.time - last.start > self._horizon
            last.closes_at(self._rank, trade.time, FOREVER if is_long else now + self._gap_wait)
            if self._page is not None:
                self._page.is_news = True
        self._start = ms_before(trade.time)
        self._queue.append(trade)

    def _first(self, key: int, before: Sequence[int]) -> None:
        """The first trade came: what a page had from it on comes as well."""
        if key in before:
            self._known.drop_newest(before[before.index(key) :])
        self._before = None

    def _note(self, key: int, rank: int, time: int) -> None:
        """A trade is known from now on."""
        self._known.add(key, rank, time)
        if self._page is not None:
            self._page.missing.discard(key)

    def rescale(self, price: int, size: int) -> None:
        """The market's scales have grown by these factors."""
        self._page = None  # it is asked for again
        self._queue = deque(
            scaled(item, price, size) if isinstance(item, Trade) else item for item in self._queue
        )
        for hole in self.holes:
            hole.found = hole.found and [item and scaled(item, price, size) for item in hole.found]
            hole.fetched = [scaled(trade, price, size) for trade in hole.fetched]

    # ------------------------------------------------------------ the newest page

    @property
    def compares(self) -> bool:
        """Whether a page is at hand, and the connection may be about to send what it misses of it."""
        return self._page is not None

    def wants(self, now: int) -> bool:
        """Whether it is time for a page."""
        if self._page is not None:
            return False
        is_missing = bool(self.open) or (self.doubtful and not self.awaits_next)
        return is_missing or self._overlap.wants(self._rank, now)

    def asked(self) -> Asked:
        """A page is asked for now; to be handed to `answered` with it."""
        return Asked(self.doubts, self._rank)

    def answered(self, trades: Sequence[Trade], asked: Asked, now: int) -> int:
        """The newest page, the oldest trade first; one of size 0 stands for one that cannot be let in.

        Returns how often in a row a page could not be believed: it is asked for again, and believed at last.
        """
        if self.asks_where:
            return 0  # of before a cut or behind it, which nothing tells
        times = [trade.time for trade in trades if trade.size]
        is_odd = (not times and not self._begins) or times != sorted(times)
        if is_odd:
            trades = sorted((trade for trade in trades if trade.size), key=lambda trade: trade.time)
        page = self._read(trades, asked, now)
        if self._vain < ASKED_AGAIN and (is_odd or self._lags(page)):
            self._vain += 1
            return self._vain
        self._vain, self._page = 0, page
        page.missing = {
            key for (key, _), rank in zip(page.trades, self._ranks(page), strict=True) if rank is None
        }
        self._overlap.seen(asked.rank, now, len(trades))
        if self._begins:
            self._say_before(page)
        self._compare(page, now)
        return 0

    def _read(self, trades: Iterable[Trade], asked: Asked, now: int) -> Page:
        """Those that are too old are without size, as what cannot be let in; but when they were is known."""
        by_key = {key_of(trade.id): trade for trade in trades}
        if not self._begins:
            for key, trade in by_key.items():
                if trade.time < self._oldest and self._known.rank(key, trade) is None:
                    by_key[key] = trade._replace(size=0)
        return Page(list(by_key.items()), asked, now)

    def _ranks(self, page: Page) -> list[int | None]:
        return [self._known.rank(key, trade) for key, trade in page.trades]

    def _lags(self, page: Page) -> bool:
        ranks = self._ranks(page)
        return any(page.lags(hole, ranks) for hole in self.holes if hole.found is None)

    def _say_before(self, page: Page) -> None:
        """A new market begins with the first trade that came: what a page has before it is of before."""
        first = self._known.times[0] if self._known.times else FOREVER
        for (key, trade), rank in zip(page.trades, self._ranks(page), strict=True):
            if rank is not None or trade.time > first:
                break
            if trade.size:
                self._note(key, 0, trade.time)
                if self._before is not None:
                    self._before.append(key)
                    self._start = ms_before(trade.time)
        self._begins = False

    def _compare(self, page: Page, now: int) -> None:
        """Once more, where something came since or all has come."""
        has_settled = page.has_settled(now)
        if not (page.is_news or has_settled or not page.missing):
            return
        page.is_news = False
        for hole in reversed(self.holes):  # of one millisecond, what is unknown is behind rather than before
            if hole.found is None:
                self._close(hole, page, has_settled=has_settled)
        if has_settled or not page.missing:
            self._page = None
            for run, last, behind in page.left_out(self._ranks(page)):
                self._miss(run, last, behind)

    def _close(self, hole: Break, page: Page, *, has_settled: bool) -> None:
        """What a page tells of a break."""
        ranks = self._ranks(page)
        sight, lags = page.of(hole, ranks), page.lags(hole, ranks)
        if lags and hole.behind > page.asked.rank and hole.has_before:
            hole.awaits_next = hole.is_last
            return
        was_over = hole.was_over_at(page.asked.doubt)
        is_whole = sight.reaches_on or (was_over and not sight.ends_unfit)
        if not has_settled and (not is_whole or (hole.is_last and sight.missing)):
            return  # the connection may be about to send them
        hole.awaits_next = was_over and sight.ends_unfit
        if not is_whole:
            sight = sight.beginning()
        for key, trade in sight.missing:
            self._note(key, hole.rank, trade.time)
        if not is_whole:
            self._begin_behind(hole, sight)
            return
        if not sight.reaches_on:
            self._overlap.ends(self._rank if hole.is_last else hole.rank)
        if hole.is_last and sight.missing:
            newest = sight.missing[-1][1].time
            hole.end = max(newest, hole.start + 1)
            self._start, self._before = ms_before(newest), None
        is_nothing = hole.is_last and not sight.missing
        hole.found = [] if is_nothing else [*sight.found, *([None] if lags else [])]
        hole.fetched = sight.fetched

    def _begin_behind(self, hole: Break, sight: Sight) -> None:
        """The beginning of a break is found: the rest begins behind its last trade."""
        if not sight.missing:
            return
        last = sight.missing[-1][1]
        end = max(ms_before(last.time) if hole.is_told else last.time, hole.start + 1)
        done = replace(hole, behind=0, end=end, found=sight.found, fetched=sight.fetched)
        where = self.open if hole in self.open else self._queue
        where.insert(where.index(hole), done)
        hole.start, hole.known = ms_before(last.time), last.time
        hole.end = max(hole.end, hole.start + 1)
        if hole.is_last:
            self._start, self._before = hole.start, None

    def _miss(self, run: list[tuple[int, Trade]], last: Ranked | None, behind: Ranked | None) -> None:
        """A run of trades was left out between two others; without these before or behind all."""
        rank = last.rank if last else max(behind.rank - 1, 0) if behind else self._rank
        first = last.trade.time if last else next(trade.time for _, trade in run if trade.size)
        start = ms_before(first)
        end = max(behind.trade.time if behind else run[-1][1].time, start + 1)
        found = [trade if trade.time else None for _, trade in run]
        fetched = [trade for _, trade in run if trade.size]
        for key, trade in run:
            self._note(key, rank, trade.time)
        if behind is None and rank == self._rank:
            self._start = max(self._start, ms_before(run[-1][1].time))
        hole = Break(self.doubts, start, rank, 0, end, found=found, fetched=fetched)
        self._put(hole, behind and behind.trade)

    def _put(self, hole: Break, behind: Trade | None) -> None:
        """Before the trade behind it, unless the journal has that; without one before the next break."""

        def follows(item: Trade | Break) -> bool:
            if isinstance(item, Trade):
                return behind is not None and item.id == behind.id
            return behind is None and item.rank >= hole.rank

        place = next((n for n, item in enumerate(self._queue) if follows(item)), None)
        if place is not None:
            self._queue.insert(place, hole)
        elif behind is None and self._queue:
            self._queue.append(hole)
        else:
            self.open.append(hole)

    # ------------------------------------------------------------ what is due

    def due(self, now: int) -> list[Part]:
        """What can go into the journal now, in this order."""
        if self._page is not None:
            self._compare(self._page, now)
        parts: list[Part] = []
        found = [hole for hole in self.open if hole.found is not None]
        for hole in sorted(found, key=lambda hole: hole.start):
            self.open.remove(hole)
            parts += self._end(hole)
        rows: list[Trade] = []
        while self._queue:
            item = self._queue[0]
            if isinstance(item, Trade):
                rows.append(item)
            elif item.found is None and now < item.until:
                break
            else:
                parts += [Part(rows=rows)] if rows else []
                parts += self._pass(item)
                rows = []
            self._queue.popleft()
        parts += [Part(rows=rows)] if rows else []
        return parts

    def _pass(self, hole: Break) -> list[Part]:
        """What is behind a break goes on."""
        if hole.found is not None:
            return self._end(hole)
        self._spare_final(hole)
        hole.is_told = hole.start < hole.end  # else a final gap says it
        self.open.append(hole)
        return self._tell([Part((hole.gap(self.key),))] if hole.is_told else [])

    def _end(self, hole: Break) -> list[Part]:
        """All that can be had of a break is found."""
        self._spare_final(hole)
        return self._tell(list(hole.parts(self.key, self._too_old)))

    def _tell(self, parts: list[Part]) -> list[Part]:
        for gap in (gap for part in parts for gap in part.gaps):
            with suppress(ValueError):  # of very many, the oldest are not known any more
                self._told.note(gap)
        return parts

    def _spare_final(self, hole: Break) -> None:
        """The millisecond in which a final gap begins or ends stays in it, whatever is filled beside it or,
        by an older page, in it."""
        for gap in self._told.open:
            if gap.final and gap.start <= hole.start < gap.end:
                hole.start += 1
            if gap.final and gap.start == ms_before(hole.end) and gap.start >= hole.start:
                hole.end = gap.start
