"""One market's trades in the order in which the venue sends them, each once, and what of them may be missing.

For venues whose ids tell no order, and whose REST has the newest page alone. Pure, as `sequence`.

    arrive ──► queue: trades and breaks ──► due: parts for the journal
                        ▲
    newest page ────────┘        compared with what came, by identity

A *break* is a place between two trades behind one another where others may be missing. What is behind it
waits for a page, which has what is missing, or shows that it is no longer to be had.

Why: ADR 39.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from infra.exchange.venues.breaks import Asked, Break, Page, of_journal, unknown_runs
from infra.exchange.venues.sequence import FOREVER, MS_NS, Part, Trade, ms_before, scaled
from streams.events import Gap
from streams.gaps import KEPT_MAX, KnownGap
from streams.ticks import key_of

SETTLE_NS = 300 * MS_NS
"""What a page has, and the connection has not sent when it sent nothing as old for so long, was left out."""
LOOK_NS = 5_000 * MS_NS
"""While trades come, they are compared at least so often."""
KNOWN = 16_384
"""So many identities are known: more than a page and what comes while it is asked for."""
PAGE_MIN = 60
"""Trades of a page, before a larger one came."""
ASKED_AGAIN = 3
"""So often a page that cannot be believed is asked for again."""


class OverlapSequence:
    """The trades of the market `key`. The journal has those up to `reached_time` (ns) but for `gaps`, and
    `known`, the newest trades in it, each with its time and key. Without any, the first trade to arrive is
    the first, unless there was a doubt when it `is_open`, subscribed to; then where to begin must be said.

    `gap_wait` (ns): so long what is behind a break waits; for ever behind one that is longer than `horizon`
    (ns), in which candles could no longer be revised, and behind that of a start. `too_old` says in a gap
    why what is older than its `limit` was not taken.
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
        self.key, self.repeats, self._too_old = key, 0, too_old
        self._size, self._gap_wait, self._horizon = PAGE_MIN, gap_wait, horizon
        self._known: dict[int, int] = {}
        """Rank by key, in the order of arrival; 0: of before."""
        self._times: deque[int] = deque()
        """Of `_known`."""
        self._missing: set[int] = set()
        """Keys that the page at hand has, and that are not known."""
        self._is_looked_at = True
        """Whether all that came was looked at in the light of that page."""
        self._old = self._start = reached_time
        """What is not later than `_old` and in no gap of before is known, though not by its key; a gap behind
        the last trade begins at `_start`."""
        for time, known_key in known:
            self._note(known_key, 0, time)
            self._start = max(self._start, ms_before(time))
        self._old = min([self._old, *(time - 1 for time in self._times)])
        self._final = deque((gap.end for gap in gaps if gap.final), KEPT_MAX)
        """Ends of final gaps."""
        self._gaps = [gap for gap in gaps if not (gap.final or gap.filled)]
        self.open = [hole for gap in self._gaps for hole in of_journal(gap, self._times)]
        """Breaks that nothing waits for any more; those of the journal are of doubt 0."""
        self.starting = self._start > 0
        """What came since the journal ended is not known: what is behind a break waits for ever."""
        self._begins = self._is_new = not self.starting
        """No page has said yet what was before; no trade came yet."""
        self.is_open = False
        self._before: list[int] = []
        """Keys of that page; the first trade to come may be one of them."""
        self._rank = self._proven = 0
        """Of the newest trade, and of the newest that was compared."""
        self._proven_at: int | None = None
        self._unlinked = FOREVER
        """Behind this rank no page has shown that the next trade follows."""
        self._ready, self._parts = list[Trade](), list[Part]()
        self._queue: deque[Trade | Break] = deque()
        self._page: Page | None = None
        self._vain = self.doubts = self._oldest = self._page_newest = self._sent_at = 0
        self.doubt()

    def __len__(self) -> int:
        """How many trades are here."""
        return len(self._ready) + sum(isinstance(item, Trade) for item in self._queue)

    @property
    def holds(self) -> bool:
        """Whether something waits."""
        return any(isinstance(item, Trade) for item in self._queue)

    @property
    def doubtful(self) -> bool:
        """Whether more may be missing than is known."""
        return self._begins or bool(self._queue)

    @property
    def holes(self) -> list[Break]:
        """Where something may be missing, the oldest first."""
        return [*self.open, *(item for item in self._queue if isinstance(item, Break))]

    @property
    def awaits_next(self) -> bool:
        """Whether all that is missing is known to be what cannot be let in, behind the last trade."""
        last = self._last_break()
        return last is not None and last.behind == FOREVER and last.seen == last.number

    @property
    def asks_where(self) -> bool:
        """Whether where to begin must be said: trades may have been missed, and none is known before them."""
        first = self._queue[0] if self._queue else None
        return isinstance(first, Break) and not first.start

    def begin(self, since: int) -> None:
        """What came behind `since` (ns) is the market's own, though none of it may be known."""
        if isinstance(first := self._queue[0], Break):
            first.start, first.end = since, max(first.end, since + 1)
        self._old = since
        self._start, self._begins = max(self._start, since), False

    def doubt(self) -> None:
        """Trades may have been missed behind the last that arrived."""
        self.doubts += 1
        if self._begins and self._is_new and not self.is_open:
            return
        if (last := self._last_break()) is not None:
            last.number = self.doubts
        else:
            self._queue.append(Break(self.doubts, self.doubts, self._start, self._rank))

    def arrive(self, trade: Trade, now: int) -> None:
        """A trade came live."""
        key = key_of(trade.id)
        self._sent_at = now if trade.time <= self._page_newest else self._sent_at
        if self._is_new:
            self._first(key)
        if self._rank_of(key, trade) is not None:
            self.repeats += 1
            return
        self._rank += 1
        self._note(key, self._rank, trade.time)
        self._proven_at = now if self._proven_at is None else self._proven_at
        if (last := self._last_break()) is not None:
            self._is_looked_at = False
            last.behind, last.end = self._rank, max(trade.time, last.start + 1)
            is_long = self.starting or last.end - last.start > self._horizon
            last.until = FOREVER if is_long else now + self._gap_wait
        self._start = ms_before(trade.time)
        (self._queue if self._queue else self._ready).append(trade)

    def _last_break(self) -> Break | None:
        """The one behind which no trade came yet."""
        last = self._queue[-1] if self._queue else None
        return last if isinstance(last, Break) and last.found is None else None

    def _first(self, key: int) -> None:
        """The first trade came: what a page had from it on comes as well."""
        if key in self._before:
            for later in self._before[self._before.index(key) :]:
                del self._known[later]
                self._times.pop()
        self._before, self._is_new = [], False

    def _note(self, key: int, rank: int, time: int) -> None:
        """A trade is known from now on."""
        self._known[key] = rank
        self._missing.discard(key)
        self._times.append(time)
        if len(self._times) > KNOWN:
            self._known.pop(next(iter(self._known)))
            self._old = max(self._old, self._times.popleft() - 1)

    # ------------------------------------------------------------ when to ask, and what is answered

    @property
    def compares(self) -> bool:
        """Whether a page is at hand, and the connection may be about to send what it misses of it."""
        return self._page is not None

    def wants(self, now: int) -> bool:
        """Whether it is time for a page: before one's worth of trades has come since the last."""
        if self._page is not None:
            return False
        since, looked = self._rank - self._proven, now if self._proven_at is None else self._proven_at
        return (
            (self.doubtful and not self.awaits_next)
            or bool(self.open)
            or self._rank > self._unlinked
            or since >= 2 * self._size // 3
            or (since > 0 and now - looked >= LOOK_NS)
        )

    def asked(self) -> Asked:
        """A page is asked for now; to be handed to `answered` with it."""
        return Asked(self.doubts, self._rank)

    def answered(self, page: Sequence[Trade], asked: Asked, now: int) -> int:
        """The newest page, the oldest trade first; one of size 0 stands for one that cannot be let in.

        Returns how often in a row a page could not be believed: it is asked for again, and believed at last.
        """
        if self.asks_where:
            return 0  # of before a cut or behind it, which nothing tells
        times = [trade.time for trade in page if trade.size]
        if (not times and not self._begins) or times != sorted(times):
            self._vain += 1
            if self._vain <= ASKED_AGAIN:
                return self._vain
            page = sorted((trade for trade in page if trade.size), key=lambda trade: trade.time)
        self._vain, self._size = 0, max(self._size, len(page))
        self._page_newest = max(times, default=0)
        by_key = {key_of(trade.id): trade for trade in page}
        if not self._begins:
            by_key = {key: self._not_too_old(key, trade) for key, trade in by_key.items()}
        self._page = Page(list(by_key.items()), asked, now)
        self._missing = {key for key, trade in self._page.trades if self._rank_of(key, trade) is None}
        self._proven, self._proven_at = asked.rank, now
        if asked.rank > self._unlinked:
            self._unlinked = FOREVER
        if self._begins:
            self._say_before(self._page)
        self._compare(self._page, now, again=False)
        return max((hole.vain for hole in self.holes if hole.found is None), default=0)

    def _not_too_old(self, key: int, trade: Trade) -> Trade:
        """Without its size, if it is; as one that cannot be let in, but when it was is known."""
        if trade.time >= self._oldest or self._rank_of(key, trade) is not None:
            return trade
        return trade._replace(size=0)

    def _say_before(self, page: Page) -> None:
        """A new market begins with the first trade that came: what a page has before it is of before."""
        first = self._times[0] if self._times else FOREVER
        for key, trade in page.trades:
            if key in self._known or trade.time > first:
                break
            if trade.size:
                self._note(key, 0, trade.time)
                self._before += [key] if self._is_new else []
                self._start = ms_before(trade.time) if self._is_new else self._start
        self._begins = False

    def limit(self, oldest: int) -> None:
        """Trades before `oldest` (ns) are not taken of a page."""
        self._oldest = oldest

    def rescale(self, price: int, size: int) -> None:
        """The market's scales have grown by these factors."""
        self._page = None  # it is asked for again
        self._ready = [scaled(trade, price, size) for trade in self._ready]
        self._queue = deque(
            scaled(item, price, size) if isinstance(item, Trade) else item for item in self._queue
        )
        for hole in self.holes:
            hole.found = hole.found and [item and scaled(item, price, size) for item in hole.found]

    # ------------------------------------------------------------ a page compared with what came

    def _compare(self, page: Page, now: int, *, again: bool) -> None:
        """`again`: the page was looked at before."""
        settled = now - max(page.at, self._sent_at) >= SETTLE_NS
        if again and self._missing and self._is_looked_at and not settled:
            return
        self._is_looked_at = True
        for hole in reversed(self.holes):  # of one millisecond, what is unknown is behind rather than before
            if hole.found is None and hole.number:
                self._close(hole, page, settled=settled, again=again)
            elif hole.found is None:
                self._close_old(hole, page)
        if settled or not self._missing:
            self._page = None
            self._left_out(page)

    def _rank_of(self, key: int, trade: Trade) -> int | None:
        """None: it is not known."""
        rank = self._known.get(key)
        if rank is None and trade.size and trade.time <= self._old:
            return None if any(gap.start < trade.time <= gap.end for gap in self._gaps) else 0
        return rank

    def _close(self, hole: Break, page: Page, *, settled: bool, again: bool) -> None:
        """What a page says of a break."""
        ranks = [self._rank_of(key, trade) for key, trade in page.trades]
        sure = [n for n, rank in enumerate(ranks) if rank is not None and rank <= hole.rank]
        first = sure[-1] + 1 if sure else 0
        behind = [n for n, rank in enumerate(ranks) if rank is not None and rank >= hole.behind]
        stop = next((n for n in behind if n >= first), None)
        newest = max((trade.time for _, trade in page.trades), default=0)
        end = FOREVER if hole.behind == FOREVER else hole.end - (stop is None and newest > hole.end)
        rest = [n for n in range(first, len(ranks) if stop is None else stop) if ranks[n] is None]
        rest = [n for n in rest if hole.start < page.trades[n][1].time <= end or not page.trades[n][1].size]
        is_of_before = stop is None and hole.number > page.asked.doubts
        if not settled and (is_of_before or (hole.behind == FOREVER and rest)):
            return  # the connection may be about to send them
        if is_of_before and not rest:
            return
        is_older = not is_of_before and stop is None and hole.behind <= page.asked.rank and newest <= hole.end
        if (is_older or (newest <= hole.start and not sure)) and hole.vain < ASKED_AGAIN:
            hole.vain += not again
            return
        found: list[Trade | None] = [] if sure else [None]
        while hole.behind == FOREVER and rest and not page.trades[rest[-1]][1].time:
            rest.pop()  # the next trade tells when it was
            is_of_before, hole.seen = True, page.asked.doubts
        for n in rest:
            key, trade = page.trades[n]
            found.append(trade if trade.time else None)
            self._note(key, hole.rank, trade.time)
        if is_of_before:
            self._part(hole, found)
            return
        self._end(hole, found, page.trades[rest[-1]][1].time if rest else 0)
        if stop is None:
            self._unlinked = min(self._unlinked, self._rank if hole.behind == FOREVER else hole.rank)

    def _close_old(self, hole: Break, page: Page) -> None:
        """What a page says of a gap of before."""
        times = [trade.time for _, trade in page.trades if trade.size]
        hole.found = []
        if not times or times[0] > hole.start:  # it does not reach back to the beginning
            lost = replace(hole, end=min([hole.end, *times[:1]]), found=[None])
            self.open.insert(self.open.index(hole), lost)
            hole.start = lost.end
        for key, trade in page.trades:
            if hole.start < trade.time <= hole.end and key not in self._known:
                hole.found.append(trade if trade.time else None)
                self._note(key, 0, trade.time)

    def _part(self, hole: Break, found: list[Trade | None]) -> None:
        """The beginning of a break, from a page that was asked for before the newest doubt."""
        while found and found[-1] is None:
            found.pop()
        if not found or (last := found[-1]) is None:
            return
        end = max(ms_before(last.time) if hole.told else last.time, hole.start + 1)
        done = Break(hole.number, hole.number, hole.start, hole.rank, end=end, found=found, told=hole.told)
        where = self.open if hole in self.open else self._queue
        where.insert(where.index(hole), done)
        hole.start, hole.since = ms_before(last.time), hole.number
        hole.end = max(hole.end, hole.start + 1)
        if hole.behind == FOREVER:
            self._start, self._is_new = hole.start, False

    def _end(self, hole: Break, found: list[Trade | None], last: int) -> None:
        """It is known now what there is of it; the last was at that time (ns), 0 where there is none."""
        if hole.behind == FOREVER:
            found = found if last else []
            if last:
                hole.end = max(last, hole.start + 1)
                self._start, self._is_new = ms_before(last), False
        hole.found = found

    def _left_out(self, page: Page) -> None:
        """What a page has and the connection did not send, between trades that it sent and behind them."""
        ranks = [self._rank_of(key, trade) for key, trade in page.trades]
        for run, last, behind in unknown_runs(page, ranks):
            self._miss(run, last, behind)

    def _miss(
        self,
        run: list[tuple[int, Trade]],
        last: tuple[int, Trade] | None,
        behind: tuple[int, Trade] | None,
    ) -> None:
        """A run of trades was left out between two others, by their ranks; without them behind all."""
        rank = last[0] if last else max(behind[0] - 1, 0) if behind else self._rank
        start = ms_before(last[1].time if last else run[0][1].time)
        end = max(behind[1].time if behind else run[-1][1].time, start + 1)
        found = [trade if trade.time else None for _, trade in run]
        for key, trade in run:
            self._note(key, rank, trade.time)
        hole = Break(self.doubts, self.doubts, start, rank, 0, end, found=found)
        if behind is None:
            later = (n for n, item in enumerate(self._queue) if isinstance(item, Break) and item.rank >= rank)
            place = next(later, len(self._queue))
        else:
            place = next((n for n, item in enumerate(self._queue) if item == behind[1]), 0)
        if place:
            self._queue.insert(place, hole)
        else:
            self.open.append(hole)
        if behind is None and rank == self._rank:
            self._start = max(self._start, ms_before(run[-1][1].time))

    # ------------------------------------------------------------ what is due

    def due(self, now: int) -> list[Part]:
        """What can go into the journal now, in this order."""
        if self._page is not None:
            self._compare(self._page, now, again=True)
        while self._queue and self._step(self._queue[0], now):
            self._queue.popleft()
        self._flush()
        for hole in list(self.open):
            if hole.found is not None:
                self.open.remove(hole)
                self._finish(hole)
        parts, self._parts = self._parts, []
        return parts

    def _step(self, item: Trade | Break, now: int) -> bool:
        """Hand out what is first in the queue; False where it is not its time."""
        if isinstance(item, Trade):
            self._ready.append(item)
            return True
        if item.found is None and (item.behind == FOREVER or now < item.until):
            return False
        self._flush()
        if item.found is not None:
            self._finish(item)
            self.starting = False
            return True
        self._spare_final(item)
        item.told = True
        self._parts.append(Part((item.gap(self.key),)))
        self.open.append(item)
        return True

    def _finish(self, hole: Break) -> None:
        self._spare_final(hole)
        for part in hole.parts(self.key, self._too_old):
            self._parts.append(part)
            self._final += [gap.end for gap in part.gaps if isinstance(gap, Gap) and gap.final]

    def _spare_final(self, hole: Break) -> None:
        """The millisecond at whose end a final gap ends stays in it, whatever is filled behind it."""
        if hole.start + 1 in self._final:
            hole.start += 1
            hole.end = max(hole.end, hole.start + 1)

    def _flush(self) -> None:
        if self._ready:
            self._parts.append(Part(rows=self._ready))
            self._ready = []
