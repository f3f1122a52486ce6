"""Trades come out of a sequence by id and once, whatever happened to them; what is missing lies in a gap."""

from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.exchange.venues.sequence import FOREVER, MS_NS, PART, SWAP_NS, Hole, Part, Trade, TradeSequence
from streams.events import Gap, GapFilled
from streams.gaps import Gaps, KnownGap
from streams.ticks import NO_ID

KEY = "binance:BTC/USDT"
SECOND = 1_000 * MS_NS
HOUR = 3_600 * SECOND
FIRST = 1_000


def trade(id: int, ms: int | None = None) -> Trade:
    """One of id `FIRST` + n; three of them share each millisecond."""
    return Trade(id, ((id - FIRST) // 3 if ms is None else ms) * MS_NS + SECOND, 1, 100 + id % 7, 5)


def sequence(
    *, reached: int = NO_ID, gap_wait: int = SECOND, horizon: int = HOUR, part: int = PART
) -> TradeSequence:
    """It goes on behind `reached`, or begins with `FIRST`."""
    time = trade(reached).time if reached != NO_ID else 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.exchange.venues.sequence.PART", part)
        of = TradeSequence(KEY, gap_wait=gap_wait, horizon=horizon, reached=reached, reached_time=time)
    if reached == NO_ID:
        of.begin(trade(FIRST - 1))
    return of


@dataclass
class Journal:
    """What the parts mean, put down as the collector does; it begins with the id `first`."""

    first: int = FIRST
    rows: list[Trade] = field(default_factory=list[Trade])
    fetched: list[Trade] = field(default_factory=list[Trade])
    gaps: Gaps = field(default_factory=Gaps)
    final: list[Gap] = field(default_factory=list[Gap])

    def write(self, parts: list[Part]) -> None:
        for part in parts:
            for gap in part.gaps:
                if isinstance(gap, Gap):
                    self.gaps.note(gap)
                    self.final += [gap] if gap.final else []
            self.fetched += part.fetched
            for gap in part.gaps:
                if isinstance(gap, GapFilled):
                    self.gaps.note(gap)
            for row in part.rows:
                known = {t.id for t in [*self.rows, *self.fetched]}
                missing = [trade(i) for i in range(self.first, row.id) if i not in known]
                assert all(self.is_in_open_gap(t) for t in missing), "a row before the gap that it is behind"
                self.rows.append(row)

    def is_in_open_gap(self, trade: Trade) -> bool:
        return any(gap.start < trade.time <= gap.end for gap in self.gaps.open)


def ids(trades: list[Trade]) -> list[int]:
    return [trade.id for trade in trades]


def fetch(of: TradeSequence, has: set[int], now: int) -> None:
    """Ask for every hole until it is over; what is not to be had is given up."""
    for hole in of.holes:
        while (run := hole.wanted) is not None:
            page = [trade(i) for i in range(run[0], hole.stop) if i in has]
            hole.answered(run[0], page)
            of.answered(page, now)


events = st.lists(
    st.tuples(
        st.sampled_from(["live", "live", "live", "live", "swap", "repeat", "lost", "lost", "fetch", "wait"]),
        st.integers(1, 9),
    ),
    max_size=40,
)


@given(
    events,
    st.sets(st.integers(FIRST + 1, FIRST + 60)),
    st.sampled_from([0, SECOND, HOUR]),
    st.sampled_from([1, 4, 100]),
)
def test_every_trade_is_written_once_or_lies_in_a_final_gap(
    what: list[tuple[str, int]], nowhere: set[int], gap_wait: int, part: int
) -> None:
    of, journal, now, next_id = sequence(gap_wait=gap_wait, part=part), Journal(), 0, FIRST + 1
    came, lost = {FIRST}, set[int]()
    of.arrive(trade(FIRST), now)
    for kind, count in what:
        now += MS_NS
        numbers = list(range(next_id, next_id + count))
        match kind:
            case "live" | "swap":
                for i in reversed(numbers) if kind == "swap" else numbers:
                    of.arrive(trade(i), now)
                came |= set(numbers)
                next_id += count
            case "lost":
                lost |= set(numbers)
                next_id += count
            case "repeat":
                for i in sorted(came)[-count:]:
                    of.arrive(trade(i), now)
            case "fetch":
                fetch(of, came | (lost - nowhere), now)
            case _:
                now += count * SWAP_NS
        journal.write(of.due(now))
    of.arrive(trade(next_id), now)
    journal.write(of.due(now))
    while of.holds or of.holes:
        now += SWAP_NS
        journal.write(of.due(now))
        fetch(of, came | (lost - nowhere), now)
        journal.write(of.due(now))

    written = ids(journal.rows) + ids(journal.fetched)
    assert ids(journal.rows) == sorted(ids(journal.rows))
    assert len(written) == len(set(written))
    assert set(written) == {*came, next_id} | (lost - nowhere)
    assert all(gap.final for gap in journal.gaps.open)
    missing = [trade(i) for i in sorted(lost & nowhere)]
    assert all(journal.is_in_open_gap(t) for t in missing)
    for gap in journal.final:
        first, last = gap.first_id, gap.last_id
        assert {first - 1, last + 1} <= set(written)
        assert not {*range(first, last + 1)} & set(written)
        assert gap.start == trade(first - 1).time - 1, "from the last known trade"
        assert gap.end == max(trade(last + 1).time, gap.start + 1), "to the next"


@given(st.permutations(range(FIRST, FIRST + 8)), st.integers(0, 8), st.booleans())
def test_what_swaps_within_a_tenth_of_a_second_is_put_in_order_and_is_no_hole(
    order: list[int], before: int, is_known: bool
) -> None:
    """Also at the very beginning: so many come before it is said where that is."""
    of, journal = TradeSequence(KEY, gap_wait=SECOND, horizon=HOUR), Journal()
    of.trust()  # the venue has none yet
    for now, i in enumerate(order):
        if now == before and is_known:
            of.begin(trade(FIRST - 1))
        of.arrive(trade(i), now)
        journal.write(of.due(now))
    if of.next_id == NO_ID:
        assert journal.rows == [] and of.doubtful
        of.begin_with_what_came()
    journal.write(of.due(SWAP_NS - 1))
    assert ids(journal.rows) == list(range(FIRST, FIRST + 8))
    assert not journal.gaps.known and not of.holds


@dataclass(frozen=True)
class Beginning:
    """What happens to the first trades of a market, times in ns."""

    published: dict[int, int]
    """When, by id, in order."""
    comes: list[tuple[int, int]]
    """When, and which id, in the order in which they come, less than a tenth of a second late; the last one
    does."""

    @property
    def ends(self) -> int:
        return self.comes[-1][0]

    @property
    def lost(self) -> set[int]:
        return {*self.published} - {id for _, id in self.comes}


@st.composite
def beginnings(draw: st.DrawFn) -> Beginning:
    each = st.tuples(st.integers(0, 60), st.integers(0, SWAP_NS - 1), st.sampled_from([True] * 5 + [False]))
    published, comes, now = dict[int, int](), list[tuple[int, int]](), 0
    for id, (after_ms, late, does_come) in enumerate(draw(st.lists(each, max_size=25)), FIRST):
        now += after_ms * MS_NS
        published[id] = now
        comes += [(now + late, id)] if does_come else []
    last = FIRST + len(published)
    return Beginning({**published, last: now}, [*sorted(comes), (now + SWAP_NS, last)])


@given(
    beginnings(), st.integers(0, SECOND), st.integers(0, SECOND), st.booleans(),
    st.sets(st.integers(FIRST, FIRST + 24)), st.sampled_from([0, SECOND, HOUR]),
)  # fmt: skip
def test_each_of_the_first_trades_is_written_once_and_in_order_or_lies_in_a_gap(
    what: Beginning, said_at: int, doubt_at: int, is_answered: bool, nowhere: set[int], gap_wait: int
) -> None:
    """Whenever it is said where to begin, with or without what the venue has by then, or doubted."""
    of, journal = TradeSequence(KEY, gap_wait=gap_wait, horizon=HOUR), Journal()
    has = {*what.published} - (what.lost & nowhere)
    known = [i for i, at in what.published.items() if at <= said_at and i in has]
    page = [trade(i) for i in known if is_answered]
    do = [(at, partial(of.arrive, trade(i), at)) for at, i in what.comes]
    do += [(said_at, partial(of.begin, trade(FIRST - 1))), (said_at, partial(of.answered, page, said_at))]
    do += [(doubt_at, of.doubt)]
    for at, act in sorted(do, key=itemgetter(0)):
        act()
        journal.write(of.due(at))
    now = max(what.ends, said_at)
    while of.holds or of.holes:
        now += SWAP_NS
        journal.write(of.due(now))
        fetch(of, has, now)
        journal.write(of.due(now))

    written = ids(journal.rows) + ids(journal.fetched)
    assert ids(journal.rows) == sorted(ids(journal.rows))
    assert len(written) == len(set(written)) and set(written) == has
    assert all(gap.final for gap in journal.gaps.open)
    assert all(journal.is_in_open_gap(trade(i)) for i in what.published if i not in has)
    if not what.lost and not is_answered:
        assert not journal.gaps.known, "what swaps is no hole"


def test_a_hole_is_told_at_once_and_what_is_behind_it_waits_for_it() -> None:
    of, journal = sequence(), Journal()
    of.arrive(trade(FIRST), 0)
    of.arrive(trade(FIRST + 5), 0)
    journal.write(of.due(SWAP_NS - 1))
    assert not journal.gaps.known and of.holds
    journal.write(of.due(SWAP_NS))
    (gap,) = journal.gaps.open
    assert (gap.start, gap.end) == (trade(FIRST).time - 1, trade(FIRST + 5).time)
    assert (gap.first_id, gap.last_id) == (1001, 1004)
    assert ids(journal.rows) == [FIRST]
    of.answered([trade(i) for i in range(FIRST, FIRST + 9)], SWAP_NS)
    journal.write(of.due(SWAP_NS))
    assert (ids(journal.fetched), ids(journal.rows)) == ([1001, 1002, 1003, 1004], [FIRST, FIRST + 5])
    assert not journal.gaps.open and not of.holds


def test_what_is_behind_a_long_hole_goes_on_and_the_hole_is_filled_from_its_beginning() -> None:
    of, journal = sequence(part=19), Journal()
    of.arrive(trade(FIRST), 0)
    of.arrive(trade(FIRST + 50), 0)
    of.arrive(trade(FIRST + 51), 0)
    journal.write(of.due(SECOND))
    assert ids(journal.rows) == [FIRST, FIRST + 51] and not of.holds, "1050 shares its moment with the hole"
    of.answered([trade(i) for i in range(FIRST, FIRST + 20)], SECOND)
    journal.write(of.due(SECOND))
    assert ids(journal.fetched) == list(range(FIRST + 1, FIRST + 20))
    (gap,) = journal.gaps.open
    assert (gap.start, gap.first_id, gap.last_id) == (trade(FIRST + 19).time - 1, 1020, 1050)
    of.arrive(trade(FIRST + 30), SECOND)
    of.answered([trade(i) for i in range(FIRST + 20, FIRST + 50) if i != FIRST + 30], SECOND)
    journal.write(of.due(SECOND))
    assert ids(journal.fetched) == list(range(FIRST + 1, FIRST + 51))
    assert not journal.gaps.open and of.repeats == 0


def test_a_hole_of_many_pages_is_told_in_parts_and_is_one_gap_at_its_end() -> None:
    of, journal = sequence(reached=FIRST, part=500), Journal(FIRST + 1)
    of.answered([trade(FIRST)], 0)
    of.arrive(trade(FIRST + 1_801), 0)
    told = of.due(SECOND)
    journal.write(told)
    for first in range(FIRST + 1, FIRST + 1_801, 100):
        of.answered([trade(i) for i in range(first, first + 100)], SECOND)
        parts = of.due(SECOND)
        journal.write(parts)
        told += parts
        missing = [gap.first_id for gap in journal.gaps.open]
        assert missing == ([FIRST + 1 + len(journal.fetched)] if first < FIRST + 1_701 else [])
        assert len(journal.gaps.known) - len(missing) <= 1
    assert [len(part.fetched) for part in told if part.gaps] == [0, 500, 500, 500, 300]
    (gap,) = journal.gaps.known
    assert (gap.first_id, gap.last_id, gap.filled) == (FIRST + 1, FIRST + 1_800, True)
    assert (gap.start, gap.end) == (trade(FIRST).time - 1, trade(FIRST + 1_801).time)


def test_what_is_nowhere_to_be_had_in_a_long_hole_holds_up_nothing_behind_it() -> None:
    of, journal = sequence(reached=FIRST, part=500), Journal(FIRST + 1)
    nowhere = {FIRST + 1, FIRST + 40, FIRST + 50, FIRST + 900}
    of.answered([trade(FIRST)], 0)
    of.arrive(trade(FIRST + 1_801), 0)
    journal.write(of.due(SECOND))
    while of.hole is not None:
        first, stop = of.hole.wanted or (FIRST, FIRST)
        page = [trade(i) for i in range(first, min(first + 100, stop)) if i not in nowhere]
        of.hole.answered(first, page)
        of.answered(page, SECOND)
        journal.write(of.due(SECOND))
        assert of.hole is None or len(of.hole.found) < 500
    assert ids(journal.fetched) == sorted({*range(FIRST + 1, FIRST + 1_801)} - nowhere)
    assert [(gap.first_id, gap.last_id) for gap in journal.gaps.open] == [(id, id) for id in sorted(nowhere)]
    assert all(gap.final and gap.end - gap.start <= MS_NS + 1 for gap in journal.gaps.open)


def test_a_hole_longer_than_the_horizon_is_filled_before_what_is_behind_it() -> None:
    of, journal = sequence(horizon=10 * MS_NS), Journal()
    of.arrive(trade(FIRST), 0)
    of.arrive(trade(FIRST + 50), 0)
    journal.write(of.due(100 * HOUR))
    assert ids(journal.rows) == [FIRST]


def test_at_a_start_what_came_since_the_journal_ended_goes_before_live_rows() -> None:
    of, journal = sequence(reached=FIRST), Journal(FIRST + 1)
    of.arrive(trade(FIRST + 9), 0)
    journal.write(of.due(100 * HOUR))
    assert not journal.rows and of.hole is not None and of.hole.until == FOREVER
    of.answered([trade(i) for i in range(FIRST + 1, FIRST + 30)], 0)
    journal.write(of.due(0))
    assert (ids(journal.fetched), ids(journal.rows)) == (list(range(FIRST + 1, FIRST + 9)), [FIRST + 9])
    assert not of.starting


def test_what_the_venue_answers_beyond_the_last_trade_was_missed() -> None:
    of, journal = sequence(part=2), Journal()
    of.arrive(trade(FIRST), 0)
    of.answered([trade(i) for i in (FIRST + 1, FIRST + 2, FIRST + 4)], 0)
    journal.write(of.due(0))
    assert [(gap.end, gap.first_id, gap.last_id) for gap in journal.gaps.open] == [
        (trade(FIRST + 4).time, 1003, 1004)
    ]
    assert of.hole is not None and of.hole.wanted == (FIRST + 3, FIRST + 4)
    assert [of.hole.in_vain(FIRST + 3) for _ in range(4)] == [1, 2, 3, 4] and of.hole.is_over
    journal.write(of.due(0))
    assert ids(journal.fetched) == [FIRST + 1, FIRST + 2, FIRST + 4] and of.next_id == FIRST + 5
    assert [(gap.first_id, gap.last_id) for gap in journal.final] == [(1003, 1003)]


def test_the_gap_behind_a_start_begins_at_the_last_trade_as_the_venue_tells_it() -> None:
    of = TradeSequence(KEY, gap_wait=SECOND, horizon=HOUR, reached=FIRST + 5, reached_time=0)
    of.answered([trade(FIRST + 5), trade(FIRST + 6)], 0)
    (gap,) = of.due(0)[0].gaps
    assert gap.start == trade(FIRST + 5).time - 1


def test_the_gap_behind_a_start_begins_where_the_promise_ended_that_a_trade_made() -> None:
    last = trade(FIRST + 5)
    of = TradeSequence(KEY, gap_wait=SECOND, horizon=HOUR, reached=last.id, reached_time=last.time - 1)
    of.arrive(trade(FIRST + 8), 0)
    (gap,) = of.due(SWAP_NS)[0].gaps
    assert gap.start == last.time - 1
    of.answered([last, trade(FIRST + 6)], SWAP_NS)
    assert not of.due(SWAP_NS)


def test_a_repeat_of_what_was_fetched_behind_the_last_live_trade_is_no_beginning_anew() -> None:
    of, journal = sequence(reached=FIRST), Journal()
    known, missing, newest = trade(FIRST), trade(FIRST + 1, 59_000), trade(FIRST + 2, 60_000)
    of.answered([known], 0)
    of.trust()
    of.answered([known, newest], 0)
    journal.write([*of.due(0), *of.due(2 * SECOND)])
    of.answered([missing], 2 * SECOND)
    journal.write(of.due(2 * SECOND))
    assert journal.fetched == [missing, newest] and not journal.gaps.open
    of.arrive(missing, 3 * SECOND)
    assert of.anew is None and of.repeats == 1


def test_an_open_hole_of_the_journal_is_known_again_at_a_start() -> None:
    first, journal = sequence(part=19), Journal()
    first.arrive(trade(FIRST), 0)
    first.arrive(trade(FIRST + 50), 0)
    first.arrive(trade(FIRST + 51), 0)
    journal.write(first.due(SECOND))
    first.answered([trade(i) for i in range(FIRST, FIRST + 20)], SECOND)
    journal.write(first.due(SECOND))
    again = TradeSequence(
        KEY, gap_wait=SECOND, horizon=HOUR, reached=FIRST + 51, reached_time=trade(FIRST + 51).time,
        gaps=journal.gaps.open,
    )  # fmt: skip
    (hole,) = again.holes
    assert (hole.first, hole.stop, again.next_id) == (FIRST + 20, FIRST + 51, FIRST + 52)
    again.answered([trade(i) for i in range(FIRST + 20, FIRST + 51)], 0)
    journal.write(again.due(0))
    assert ids(journal.fetched) == list(range(FIRST + 1, FIRST + 51)) and not journal.gaps.open


def test_a_hole_that_was_waited_for_when_the_collector_died_is_not_fetched_twice() -> None:
    """The journal has the gap, and nothing of what was behind it."""
    journal = Journal(FIRST + 1)
    gap = Gap(
        market=KEY,
        start=trade(FIRST).time - 1,
        end=trade(FIRST + 5).time,
        reason="",
        first_id=1001,
        last_id=1004,
    )
    journal.gaps.note(gap)
    again = TradeSequence(
        KEY, gap_wait=SECOND, horizon=HOUR, reached=FIRST, reached_time=trade(FIRST).time,
        gaps=journal.gaps.open,
    )  # fmt: skip
    assert again.next_id == FIRST + 5
    again.answered([trade(i) for i in range(FIRST + 1, FIRST + 8)], 0)
    journal.write(again.due(0))
    assert sorted(ids(journal.fetched)) == list(range(FIRST + 1, FIRST + 8)) and not journal.gaps.open


def test_a_market_begins_with_what_came_where_that_is_older_than_what_is_not_asked_for() -> None:
    of, journal = TradeSequence(KEY, gap_wait=SECOND, horizon=HOUR), Journal()
    for i in (FIRST + 2, FIRST, FIRST + 1):
        of.arrive(trade(i), 0)
    of.begin(trade(FIRST + 1))
    for i in (FIRST + 3, FIRST - 1):
        of.arrive(trade(i), 0)
    journal.write(of.due(0))
    assert ids(journal.rows) == list(range(FIRST, FIRST + 4)) and of.repeats == 1


def test_what_is_missed_before_a_new_markets_first_trade_is_a_hole_that_is_filled_before_it() -> None:
    of, journal = sequence(gap_wait=SECOND), Journal()
    of.arrive(trade(FIRST + 3), 0)
    journal.write(of.due(HOUR))
    assert [(gap.first_id, gap.last_id) for gap in journal.gaps.open] == [(1000, 1002)]
    assert journal.rows == []
    fetch(of, {FIRST, FIRST + 1, FIRST + 2}, HOUR)
    (filling, live) = of.due(HOUR)
    assert (ids(filling.fetched), ids(live.rows)) == ([FIRST, FIRST + 1, FIRST + 2], [FIRST + 3])


def test_a_market_that_was_promised_without_a_trade_waits_for_where_to_begin() -> None:
    of = TradeSequence(KEY, gap_wait=0, horizon=HOUR, reached_time=trade(FIRST).time)
    of.arrive(trade(FIRST + 9), 0)
    assert of.due(SECOND) == [] and of.holds
    of.begin(trade(FIRST))
    of.answered([trade(i) for i in range(FIRST, FIRST + 9)], 0)
    journal = Journal(FIRST + 1)
    journal.write(of.due(SECOND))
    assert (ids(journal.fetched), ids(journal.rows)) == (list(range(FIRST + 1, FIRST + 9)), [FIRST + 9])


def test_a_market_of_which_the_venue_knows_nothing_begins_with_what_came() -> None:
    of = TradeSequence(KEY, gap_wait=0, horizon=HOUR, reached_time=SECOND)
    of.arrive(trade(FIRST), 0)
    of.begin_with_what_came()
    assert [part.rows for part in of.due(0)] == [[trade(FIRST)]]


def test_repeats_are_counted_and_a_venue_that_counts_anew_is_noticed() -> None:
    of = sequence()
    for i in (FIRST, FIRST + 1, FIRST, FIRST + 1):
        of.arrive(trade(i), 0)
    assert (of.repeats, of.anew) == (2, None)
    of.arrive(trade(1, ms=5_000), 0)
    assert of.anew == trade(1, ms=5_000)


def test_a_venue_that_counts_anew_is_noticed_also_before_it_is_known_where_the_market_begins() -> None:
    of = TradeSequence(KEY, gap_wait=SECOND, horizon=HOUR)
    for i in (FIRST, FIRST + 1, FIRST, FIRST + 3):
        of.arrive(trade(i), 0)
    assert (of.repeats, of.anew) == (1, None)
    of.arrive(trade(FIRST + 1, ms=5_000), 0)
    assert of.anew == trade(FIRST + 1, ms=5_000)
    journal = Journal()
    journal.write(of.due(0))
    assert ids(journal.rows) == [FIRST, FIRST + 1, FIRST + 3] and journal.gaps.open[0].final


def test_a_hole_of_a_billion_ids_costs_no_more_than_what_is_found_of_it() -> None:
    hole = Hole(1, 10**9, 0, 10)
    hole.take([trade(5)])
    assert hole.wanted == (1, 5) and not hole.is_over


def test_a_doubt_ends_when_the_venue_was_asked_or_the_next_trade_came() -> None:
    of = sequence()
    of.arrive(trade(FIRST), 0)
    of.doubt()
    assert of.doubtful
    of.arrive(trade(FIRST + 1), 0)
    assert not of.doubtful
    of.arrive(trade(FIRST + 3), 0)
    of.doubt()
    of.arrive(trade(FIRST + 2), 0)
    of.due(0)
    assert of.doubtful and of.next_id == FIRST + 4, "what came before the doubt says nothing of it"
    of.trust()
    assert not of.doubtful


def long_hole(oldest: int) -> tuple[TradeSequence, Journal]:
    """Of 300 trades of a millisecond each; those before the time `oldest` are not asked for."""
    of, journal = sequence(reached=FIRST), Journal(FIRST + 1)
    of.limit(oldest)
    of.arrive(trade(FIRST + 301), 0)
    journal.write(of.due(SWAP_NS))
    return of, journal


@given(st.integers(1, 300), st.integers(1, 50))
def test_what_is_too_old_is_a_final_gap_and_the_rest_is_filled(late: int, page: int) -> None:
    of, journal = long_hole(trade(FIRST + late).time)
    while of.holes:
        (hole,) = of.holes
        assert hole.wanted is not None
        first, _ = hole.wanted
        answer = [trade(i) for i in range(first, min(first + page, FIRST + 302))]
        hole.answered(first, answer)
        of.answered(answer, SWAP_NS)
        journal.write(of.due(SWAP_NS))
    begins = min(i for i in range(FIRST + 1, FIRST + 302) if trade(i).time >= trade(FIRST + late).time)
    assert ids(journal.fetched) == list(range(begins, FIRST + 301))
    assert ids(journal.rows) == [FIRST + 301]
    named = [(gap.first_id, gap.last_id, gap.final) for gap in journal.gaps.open]
    assert named == ([(FIRST + 1, begins - 1, True)] if begins > FIRST + 1 else [])
    assert all(journal.is_in_open_gap(trade(i)) for i in range(FIRST + 1, begins))


def test_where_all_is_too_old_nothing_is_asked_for_and_rows_go_on() -> None:
    of, journal = long_hole(FOREVER)
    assert not of.holes and ids(journal.rows) == [FIRST + 301]
    assert [(gap.first_id, gap.last_id, gap.final) for gap in journal.gaps.known] == [
        (FIRST + 1, FIRST + 300, True)
    ]


def test_a_hole_of_the_journal_is_measured_once_the_venues_time_is_known() -> None:
    gap = KnownGap(trade(FIRST).time - 1, trade(FIRST + 301).time, "", False, False, FIRST + 1, FIRST + 300)
    of = TradeSequence(
        KEY, gap_wait=0, horizon=HOUR, reached=FIRST + 301, reached_time=gap.end, gaps=[gap], too_old="old"
    )
    of.limit(gap.end + 1)
    of.limit(0)
    (part,) = of.due(0)
    assert [(one.reason, one.final) for one in part.gaps if isinstance(one, Gap)] == [("old", True)]
    assert not of.holes


def test_what_is_not_handed_out_yet_is_brought_to_new_scales_too() -> None:
    of = sequence(reached=FIRST)
    for number in (1, 2, 4):
        of.arrive(trade(FIRST + number), 0)
    of.answered([trade(FIRST), trade(FIRST + 3)], 0)  # it tells of a hole, behind what was ready
    of.rescale(10, 100)
    handed_out = [t for part in of.due(0) for t in [*part.fetched, *part.rows]]
    right = [trade(FIRST + number) for number in range(1, 5)]
    assert sorted(handed_out) == [t._replace(price=t.price * 10, size=500) for t in right]


def test_what_two_holes_miss_of_one_moment_stays_missing_when_one_of_them_is_filled() -> None:
    of, journal = sequence(gap_wait=0), Journal()
    for number in (0, 5, 9):
        of.arrive(trade(FIRST + number), 0)
    journal.write(of.due(SECOND))
    of.answered([trade(i) for i in range(FIRST + 6, FIRST + 9)], SECOND)
    journal.write(of.due(SECOND))
    missing = [trade(FIRST + number) for number in range(1, 5)]
    assert all(journal.is_in_open_gap(t) for t in missing), "1003 and 1004 are of the moment of 1005"


def test_trades_that_are_sent_again_at_a_start_are_no_venue_that_began_anew() -> None:
    of = TradeSequence(KEY, gap_wait=SECOND, horizon=HOUR, reached=FIRST + 9_000, reached_time=SECOND)
    of.arrive(trade(FIRST + 8_990), 0)
    assert of.anew is None, "up to then nothing was promised, but the trades were there"
    of.answered([trade(FIRST + 9_000)], 0)
    of.trust()
    of.arrive(trade(FIRST + 8_990, ms=9_000), 0)
    assert of.anew is not None
