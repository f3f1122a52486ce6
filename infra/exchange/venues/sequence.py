"""One market's trades in the order of the venue's ids, each once, and what of them is missing.

For venues whose ids rise by one. Pure: what time it is is handed in, by whatever clock the caller has, in ns.

    arrive ──► waiting ──► due: parts for the journal
                  ▲
    fetched ──► hole        a hole is told at once; what is behind it waits for it a while

Ids that swap within `SWAP_NS` are put in order and are no hole.
"""

from collections.abc import Iterable, Sequence

from infra.exchange.venues.holes import ANEW_NS, MS_NS, NOWHERE, Hole, Part, Trade, ms_before, scaled
from infra.exchange.venues.searching import Search
from streams.events import Gap, GapFilled
from streams.gaps import KnownGap
from streams.ticks import NO_ID

SWAP_NS = 100 * MS_NS
FOREVER = 2**63
PART = 5_000
"""Trades that are handed out at once of what was found at the beginning of a hole."""
FINAL_MAX = 64
"""So many of what is missing for good are remembered."""
BEGAN_ANEW = "what came between is not known: the venue's trade ids began anew"


class TradeSequence:
    """The trades of the market `key`. The journal has those up to the id `reached` and up to `reached_time`
    (ns), and misses those of `gaps`. Without an id, what arrives waits until it is said where to `begin`.

    `gap_wait` (ns): so long what is behind a hole waits for it; for ever behind one that is longer than
    `horizon` (ns), in which candles could no longer be revised, and before the first trade. `too_old` says
    in a gap why what is older than its `limit` was not asked for. `anew`: the ids began anew behind
    `reached_time`, that of the last trade before.
    """

    def __init__(
        self,
        key: str,
        *,
        gap_wait: int,
        horizon: int,
        reached: int = NO_ID,
        reached_time: int = 0,
        gaps: Iterable[KnownGap] = (),
        too_old: str = "",
        anew: bool = False,
    ) -> None:
        self.key = key
        self.repeats = 0
        self.anew: Trade | None = None
        """A trade that says that the venue counts from the beginning again."""
        gaps = list(gaps)
        self.open = [hole for gap in gaps if (hole := _known(gap)) is not None]
        """Holes that nothing waits for any more."""
        self._final = [_final(key, gap) for gap in gaps if gap.final and not gap.filled][-FINAL_MAX:]
        """The newest that are missing for good."""
        self.hole: Hole | None = None
        """What is behind it waits."""
        self._gap_wait, self._horizon = gap_wait, horizon
        self._oldest: int | None = None
        self._too_old, self._part = too_old, PART
        self.begins_anew = reached_time if anew else 0
        """The time of the last trade before ids began anew, as long as no other is known; else 0."""
        self._next = max((reached + 1, *(hole.stop for hole in self.open))) if reached != NO_ID else NO_ID
        self.time = max((reached_time + 1, *(hole.end for hole in self.open)))
        """Of the last trade that was handed out, ns; at a start what is missing is not earlier."""
        self.starting = reached != NO_ID
        """What came since the journal ended is not known: what is behind a hole waits for ever."""
        self._has_none = reached == NO_ID
        """The journal has no trade of the market: one that comes behind a later one would be in no candle."""
        self._ready: list[Trade] = []
        self._waiting: dict[int, tuple[Trade, int]] = {}
        self._parts: list[Part] = []
        self._doubt: int | None = None
        self.doubts = 0
        """How often there was a doubt: an answer to what was asked before the newest settles nothing."""
        self.doubt()

    def __len__(self) -> int:
        """How many trades are here."""
        return len(self._ready) + len(self._waiting)

    @property
    def next_id(self) -> int:
        """The id that comes next; `NO_ID` before the first."""
        return self._next

    @property
    def lowest(self) -> Trade | None:
        """Of those that wait."""
        return self._waiting[min(self._waiting)][0] if self._waiting else None

    def waits_since(self, seen: int) -> bool:
        """Whether a market's first trades wait since `seen` (ns) or longer to be told where it begins."""
        if self._next != NO_ID or not self._waiting:
            return False
        _, came = next(iter(self._waiting.values()))
        return came <= seen

    @property
    def holds(self) -> bool:
        """Whether something is missing that is waited for."""
        return self.hole is not None or bool(self._waiting)

    @property
    def doubtful(self) -> bool:
        """Whether more may be missing behind the last trade, or before the first, than is known."""
        return self._doubt is not None or (self._next == NO_ID and self.holds)

    def doubt(self) -> None:
        """Trades may have been missed behind the last that arrived; until the venue is asked, or the next one
        shows that there were none, no promise goes further."""
        self._doubt = max((self._next - 1, *self._waiting))
        self.doubts += 1

    def begin(self, last: Trade) -> None:
        """Before the first trade: behind `last`, the newest that is not asked for, or with the first of those
        that came where that is older."""
        self._next, self.time = min([last.id + 1, *self._waiting]), last.time
        self._go_on()

    def begin_with_what_came(self, since: int = 0) -> None:
        """Before the first trade: the venue does not know where. What came after `since` (ns) is missing for
        good; 0: nothing is."""
        if (lowest := self.lowest) is None:
            return
        if 0 < since < lowest.time:
            self._lose_between(since, lowest.time, NOWHERE)
        self._next, self.time = lowest.id, lowest.time

    def begin_anew(self, first: Trade) -> None:
        """`first` is the first trade that is known since ids began anew: nobody knows what came between."""
        self._flush()
        self._lose_between(ms_before(self.begins_anew), first.time, BEGAN_ANEW)
        self._next, self.time, self.begins_anew = first.id, first.time, 0

    def _lose_between(self, start: int, end: int, reason: str) -> None:
        gap = Gap(market=self.key, start=start, end=max(end, start + 1), reason=reason, final=True)
        self._parts.append(Part((gap,)))

    def trust(self) -> None:
        """The venue was asked, and had no more."""
        self._doubt, self.starting = None, False

    @property
    def holes(self) -> list[Hole]:
        """Those that are missing, what is waited for first."""
        return [*([self.hole] if self.hole else []), *self.open]

    def limit(self, oldest: int) -> None:
        """Trades before `oldest` (ns) are not asked for. Of a hole that counts which was said first."""
        self._oldest = oldest
        for hole in self.holes:
            self._measure(hole)

    def _measure(self, hole: Hole) -> None:
        """Begin to look where what is too old ends, unless it is known already."""
        hole.is_lost = self.anew is not None
        if self._oldest is None or hole.search is not None:
            return
        if self._oldest > hole.end:
            hole.search = Search(hole.stop, hole.stop, self._oldest)
        else:
            is_old = hole.start < self._oldest - 1
            hole.search = Search(hole.first, hole.stop if is_old else hole.first, self._oldest)
        self._leave_out(hole)

    def _leave_out(self, hole: Hole) -> None:
        gap = hole.without_old(self.key, self._too_old)
        if gap is not None:
            self._parts.append(Part((gap,)))

    def arrive(self, trade: Trade, now: int) -> None:
        """A trade came live."""
        if self.anew is not None:
            return
        if trade.id == self._next and not self.holds:
            self._hand_out(trade)
        elif trade.id >= self._next and (self.hole is None or trade.id >= self.hole.stop):
            if trade.id in self._waiting:
                self._repeated(trade, self._waiting[trade.id][0].time)
            else:
                self._waiting[trade.id] = trade, now
        else:
            self._late(trade)

    def answered(self, trades: Sequence[Trade], now: int) -> None:
        """The venue was asked for missing trades, or for the last one and what came behind it, and answered
        with these, by id."""
        if self.anew is not None:
            return
        if trades and trades[0].id == self._next - 1:
            self.time = trades[0].time
        if trades and self.hole is not None and trades[0].id == self.hole.first - 1:
            self._begin_at(self.hole, ms_before(trades[0].time))
        if self.hole is None and self._next != NO_ID:
            stop = min(self._waiting, default=FOREVER)
            missing = [trade for trade in trades if self._next <= trade.id < stop]
            if missing:
                last = missing[-1]
                known = self._waiting.get(last.id + 1)
                self._miss(last.id + 1, known[0].time if known else last.time, now)
        for hole in self.holes:
            if hole.search is not None and hole.search.asks is not None:
                hole.search.seen(trades)
            self._leave_out(hole)
            hole.take(trades)

    def answered_nothing(self, newest: Sequence[Trade]) -> None:
        """The venue does not know the last trade; these are its newest."""
        if newest and newest[-1].id < self._next and newest[-1].time >= self.time + ANEW_NS:
            self._lose(newest[-1])

    def rescale(self, price: int, size: int) -> None:
        """The market's scales have grown by these factors."""
        self._parts = [
            part._replace(
                fetched=[scaled(trade, price, size) for trade in part.fetched],
                rows=[scaled(trade, price, size) for trade in part.rows],
            )
            for part in self._parts
        ]
        self._ready = [scaled(trade, price, size) for trade in self._ready]
        self._waiting = {id: (scaled(t, price, size), now) for id, (t, now) in self._waiting.items()}
        for hole in self.holes:
            hole.found = {id: scaled(trade, price, size) for id, trade in hole.found.items()}

    def due(self, now: int) -> list[Part]:
        """What can go into the journal now, in this order."""
        while self._step(now):
            pass
        self._flush()
        for hole in list(self.open):
            if hole.is_over:
                self.open.remove(hole)
                self._end(hole)
            else:
                self._narrow(hole)
        parts, self._parts = self._parts, []
        return parts

    def _step(self, now: int) -> bool:
        """One step on; False where there is none now."""
        if self.hole is not None:
            if self.hole.is_over:
                self._pass(self.hole)
                return True
            self._narrow(self.hole)
            self._next = self.hole.first
            if now < self.hole.until:
                return False
            self._let_go(self.hole)
        self._go_on()
        if not self._waiting or self._next == NO_ID:
            return False
        _, seen = next(iter(self._waiting.values()))
        if now - seen < SWAP_NS and self.anew is None:
            return False
        stop = min(self._waiting)
        self._miss(stop, self._waiting[stop][0].time, seen)
        return True

    def _go_on(self) -> None:
        """Hand out what comes next of what waits."""
        while (waiting := self._waiting.pop(self._next, None)) is not None:
            self._hand_out(waiting[0])

    def _let_go(self, hole: Hole) -> None:
        """Nothing waits for it any more but the trades of its last moment: of those of one time, a candle
        closes with the one that is written last."""
        stop = hole.stop
        while (waiting := self._waiting.get(hole.stop)) is not None and waiting[0].time <= hole.end:
            del self._waiting[hole.stop]
            hole.stop += 1
            hole.take([waiting[0]])
        self.time = max(self.time, hole.end)
        if hole.stop > stop:
            self._parts.append(Part((hole.gap(self.key),)))
        self.open.append(hole)
        self._next, self.hole = hole.stop, None

    def _miss(self, stop: int, end: int, seen: int) -> None:
        """The ids up to `stop` are missing: say so, behind what is ready."""
        self._flush()
        start = ms_before(self.time)
        end = max(end, start + 1)
        waits_for_ever = self.starting or self._has_none or end - start > self._horizon
        self.hole = Hole(self._next, stop, start, end, FOREVER if waits_for_ever else seen + self._gap_wait)
        self._parts.append(Part((self.hole.gap(self.key),)))
        self._measure(self.hole)

    def _begin_at(self, hole: Hole, start: int) -> None:
        """The trade before a hole is later than was known at a start."""
        if hole.start < start < hole.end:
            filled = GapFilled(market=self.key, start=hole.start, end=start)
            before, hole.start = hole.start, start
            self._parts.append(Part((hole.gap(self.key), filled)))
            self._tell_again(hole, before, start)

    def _pass(self, hole: Hole) -> None:
        """What was waited for is here, or never comes."""
        self.time = max([self.time, *(trade.time for trade in hole.found.values())])
        self._end(hole)
        self._next, self.hole = hole.stop, None

    def _end(self, hole: Hole) -> None:
        self._narrow(hole)
        gaps, fetched = tuple(hole.ends(self.key)), hole.taken()
        if gaps or fetched:
            self._parts.append(Part(gaps, fetched=fetched))
        self._tell_again(hole, hole.start, hole.end)
        self._final = [*self._final, *(gap for gap in gaps if isinstance(gap, Gap))][-FINAL_MAX:]

    def _tell_again(self, filled: Hole, start: int, end: int) -> None:
        """What else is missing of (start, end] ns, which was just said to be filled: a trade between two
        holes may share its moment with what is missing on both of its sides."""
        others = [*self._final, *(hole.gap(self.key) for hole in self.holes if hole is not filled)]
        again = tuple(gap for gap in others if gap.start < end and start < gap.end)
        self._parts += [Part(again)] if again else []

    def _narrow(self, hole: Hole) -> None:
        """Hand out the beginning of a hole where enough of it was found: candles close with it, and it is
        not asked for again."""
        while len(hole.found) >= self._part:
            first = min(hole.begins, hole.first + self._part)
            if first == hole.stop:
                return
            if first > hole.first:
                self._hand_in(hole, first)
            elif (lost := hole.without_lost(self.key)) is not None:
                self._parts.append(Part((lost,)))
                self._final = [*self._final, lost][-FINAL_MAX:]
            else:
                return

    def _hand_in(self, hole: Hole, first: int) -> None:
        """What was found of a hole, which begins with the id `first` from now on."""
        found = [hole.found.pop(known) for known in range(hole.first, first)]
        hole.before = ms_before(found[-1].time)
        start = min(max(hole.before, hole.start), hole.end - 1)
        filled = (GapFilled(market=self.key, start=hole.start, end=start),) if hole.start < start else ()
        before, hole.first, hole.start = hole.start, first, start
        self._parts.append(Part((hole.gap(self.key), *filled), fetched=found))
        self._tell_again(hole, before, start)
        self.time = max(self.time, found[-1].time)

    def _late(self, trade: Trade) -> None:
        """A trade behind its turn: of a hole, a repeat, or of a venue that counts anew."""
        for hole in self.holes:
            if hole.fits(trade):
                if trade.id in hole.found:
                    self.repeats += 1
                hole.take([trade])
                return
        if self.starting:
            self.repeats += 1
        else:
            self._repeated(trade, self.time)

    def _repeated(self, trade: Trade, time: int) -> None:
        """A trade of its id is known, which is not later than `time` (ns)."""
        self.repeats += 1
        if trade.time >= time + ANEW_NS:
            self._lose(trade)

    def _lose(self, anew: Trade) -> None:
        """The venue counts anew: what is here goes out, and what is missing is lost."""
        self.anew = anew
        if self._next == NO_ID:
            self.begin_with_what_came()
        for hole in self.holes:
            hole.is_lost = True

    def _hand_out(self, trade: Trade) -> None:
        if self.begins_anew:
            self.begin_anew(trade)
        self._ready.append(trade)
        self._has_none = False
        self._next, self.time = trade.id + 1, trade.time
        if self._doubt is None or trade.id > self._doubt:
            self.trust()

    def _flush(self) -> None:
        if self._ready:
            self._parts.append(Part(rows=self._ready))
            self._ready = []


def _known(gap: KnownGap) -> Hole | None:
    """The hole that a gap of the journal tells of; None where it tells no ids, or they cannot be had."""
    if gap.first_id == NO_ID or gap.final or gap.filled:
        return None
    return Hole(gap.first_id, gap.last_id + 1, gap.start, gap.end)


def _final(key: str, gap: KnownGap) -> Gap:
    return Gap(
        market=key,
        start=gap.start,
        end=gap.end,
        reason=gap.reason,
        final=True,
        first_id=gap.first_id,
        last_id=gap.last_id,
    )
