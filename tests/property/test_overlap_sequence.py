"""Trades of a venue whose ids tell no order come out as it sent them, once; what is missing lies in a gap."""

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from infra.exchange.venues.holes import ASKED_AGAIN
from infra.exchange.venues.overlap import OverlapSequence
from infra.exchange.venues.pages import LOOK_NS, SETTLE_NS, Asked
from infra.exchange.venues.sequence import MS_NS, Part, Trade
from streams.events import Gap, GapFilled
from streams.gaps import Gaps
from streams.ticks import key_of

KEY = "bybit:BTC/USDT"
SECOND = 1_000 * MS_NS
HOUR = 3_600 * SECOND
PAGE = 12
"""Trades of a page of a small venue."""
FIRST = 1_000


def uuid(n: int) -> int:
    """The id of trade n: its order is no one's."""
    return (n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128


def trade(n: int) -> Trade:
    """Three share each millisecond."""
    return Trade(uuid(n), n // 3 * MS_NS + SECOND, 1, 100 + n % 7, 5)


def number(of: Trade) -> int:
    """Which trade it is."""
    return next(n for n in range((of.time - SECOND) // MS_NS * 3, FIRST * 9) if uuid(n) == of.id)


def numbers(trades: list[Trade]) -> list[int]:
    return [number(of) for of in trades]


@dataclass
class Journal:
    """What the parts mean, put down as the collector does."""

    rows: list[Trade] = field(default_factory=list[Trade])
    fetched: list[Trade] = field(default_factory=list[Trade])
    order: list[Trade] = field(default_factory=list[Trade])
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
            self.rows += part.rows
            self.order += [*part.fetched, *part.rows]

    def again(self, gap_wait: int) -> OverlapSequence:
        """What a collector that starts anew makes of it."""
        known = [(of.time, key_of(of.id)) for of in self.order]
        return made(gap_wait, reached_time=max(of.time for of in self.order) - 1, known=known, journal=self)


def made(
    gap_wait: int = SECOND,
    *,
    horizon: int = HOUR,
    reached_time: int = 0,
    known: list[tuple[int, int]] | None = None,
    journal: Journal | None = None,
) -> OverlapSequence:
    return OverlapSequence(
        KEY, gap_wait=gap_wait, horizon=horizon, reached_time=reached_time, known=known or [],
        gaps=journal.gaps.open if journal else [],
    )  # fmt: skip


class World:
    """A venue, a connection to it, and a collector."""

    def __init__(self, gap_wait: int) -> None:
        self.gap_wait, self.now, self.next = gap_wait, 0, FIRST
        self.of, self.journal = made(gap_wait), Journal()
        self.asked: Asked | None = None
        self.left_out: set[int] = set()
        self.unfit: set[int] = set()
        """Those that cannot be let in: a doubt of the connection, and of size 0 on a page."""
        self.lacked: set[int] = set()
        """Those that a page lacks which is behind the connection: it cannot tell them from none at all."""
        self.page: set[int] = set()
        self.shown: set[int] = set()
        """Ids that stood on a page that was believed, and to whose end the collector lived."""
        self.answer()
        self.live(1)
        self.due()

    def live(self, count: int) -> None:
        for _ in range(count):
            if self.next in self.unfit:
                self.of.doubt()
            else:
                self.of.arrive(trade(self.next), self.now)
            self.next += 1

    def cut(self, count: int) -> None:
        self.of.doubt()
        self.next += count
        self.of.doubt()

    def ask(self, behind: int = 0) -> None:
        """The page is so many trades behind."""
        self.asked = self.of.asked()
        self.at_hand = self.newest(behind)
        self.lacked |= set(range(self.next - behind, self.next))

    def newest(self, behind: int = 0) -> list[Trade]:
        stop = max(self.next - behind, FIRST)
        shown = range(max(FIRST, stop - PAGE), stop)
        return [Trade(uuid(n), 0, 0, 0, 0) if n in self.unfit else trade(n) for n in shown]

    def answer(self, *, is_late: bool = False) -> None:
        """The venue looks when it is asked, or only when it answers."""
        if self.of.compares:
            return
        if self.asked is None:
            self.ask()
        assert self.asked is not None
        asked, self.asked = self.asked, None
        page = self.newest() if is_late else self.at_hand
        is_in_vain = self.of.answered(page, asked, self.now)
        self.page = set() if is_in_vain else {of.id for of in page}

    def restart(self) -> None:
        self.of, self.asked, self.page = self.journal.again(self.gap_wait), None, set()

    def step(self, kind: str, count: int) -> None:
        self.now += MS_NS
        match kind:
            case "live":
                self.live(count)
            case "cut":
                self.cut(count)
            case "left out":
                self.left_out |= set(range(self.next, self.next + count))
                self.next += count
            case "unfit":
                self.unfit |= {self.next}
                self.live(1)
            case "repeat":
                for of in self.journal.order[-count:]:
                    self.of.arrive(of, self.now)
            case "ask":
                self.ask()
            case "answer":
                self.answer(is_late=count % 2 == 0)
            case "lag":
                self.ask(count)
                self.answer()
            case "kill":
                self.restart()
            case _:
                self.now += count * SETTLE_NS
        self.due()

    def come_to_rest(self) -> None:
        """The venue is asked until nothing is left to be asked for."""
        for _ in range(2):
            self.live(1)
            for _ in range(2 * ASKED_AGAIN + 2):
                self.ask()
                self.answer()
                self.now += SETTLE_NS
                self.due()

    def due(self) -> None:
        self.journal.write(self.of.due(self.now))
        if not self.of.compares:
            self.shown |= self.page


steps = st.sampled_from(
    ["live", "live", "live", "cut", "left out", "unfit", "repeat", "ask", "answer", "lag", "wait", "kill"]
)
events = st.lists(st.tuples(steps, st.integers(1, 20)), max_size=40)


@given(events, st.sampled_from([0, SECOND, HOUR]))
@example([("ask", 1), ("unfit", 1), ("answer", 2)], 0)
@example([("cut", 1), ("live", 1), ("cut", 11), ("unfit", 1), ("answer", 1)], 0)
@example([("live", 9), ("cut", 1), ("live", 1), ("unfit", 1)], 0)
@example([("unfit", 1), ("answer", 1), ("left out", 3), ("live", 1), ("answer", 1), ("cut", 1)], 0)
@example([("unfit", 1), ("answer", 1), ("left out", 3), ("live", 1), ("answer", 1), ("cut", 12)], 0)
@example([("live", 2), ("cut", 2), ("live", 12), ("answer", 1), ("lag", 1)], 0)
@example([("live", 3), ("left out", 1), ("live", 1), ("unfit", 1), ("live", 1), ("answer", 1)], 0)
def test_every_trade_is_written_once_or_lies_in_a_gap_from_the_last_known_trade_to_the_next(
    what: list[tuple[str, int]], gap_wait: int
) -> None:
    world = World(gap_wait)
    for kind, count in what:
        world.step(kind, count)
    world.come_to_rest()

    written = numbers(world.journal.order)
    assert len(written) == len(set(written))
    assert not world.of.holds and not world.of.doubtful
    gaps = world.journal.gaps.open
    assert all(gap.final for gap in gaps)
    missing = set(range(FIRST, world.next)) - set(written)
    unseen = {n for n in missing if not any(gap.start < trade(n).time <= gap.end for gap in gaps)}
    unseen -= {n for n in world.unfit if {n + 1, n + 2} & world.left_out}  # in the millisecond of one
    unseen -= world.unfit & world.lacked  # its dead letter says that it came
    assert unseen <= world.left_out | world.lacked, "only what was left out can be missing without a word"
    assert not {uuid(n) for n in unseen} & world.shown, "and only what no page has shown"
    whole = [] if world.lacked else world.journal.final  # of its middle, a page that is behind closes nothing
    for gap in whole:
        if not any(known.start <= gap.start and gap.end <= known.end for known in gaps):
            continue  # narrowed since, by what was left out of a connection too
        inside = {trade(n).time for n in written if gap.start < trade(n).time <= gap.end}
        assert inside <= {gap.start + 1, gap.end}


def page(first: int, stop: int) -> list[Trade]:
    return [trade(n) for n in range(first, stop)]


def begun(*, gap_wait: int = SECOND) -> tuple[OverlapSequence, Journal]:
    """A market that began with three trades."""
    of, journal = made(gap_wait), Journal()
    of.answered([], of.asked(), 0)
    for n in range(FIRST, FIRST + 3):
        of.arrive(trade(n), 0)
    journal.write(of.due(0))
    assert numbers(journal.rows) == [FIRST, FIRST + 1, FIRST + 2]
    return of, journal


def test_what_is_behind_a_doubt_waits_for_a_page_and_what_was_missed_goes_before_it() -> None:
    of, journal = begun()
    of.doubt()
    assert of.doubtful and of.wants(0)
    asked = of.asked()
    of.arrive(trade(FIRST + 6), 0)
    assert of.due(SECOND - 1) == [] and of.holds
    assert of.answered(page(FIRST, FIRST + 6), asked, 0) == 0
    journal.write(of.due(0))
    assert numbers(journal.order) == list(range(FIRST, FIRST + 7))
    assert numbers(journal.fetched) == [FIRST + 3, FIRST + 4, FIRST + 5]
    (gap,) = journal.gaps.known
    assert (gap.start, gap.end, gap.filled) == (trade(FIRST + 2).time - 1, trade(FIRST + 6).time, True)
    assert of.wants(0), (
        "a page shall show that nothing came between the last one and the first trade behind it"
    )


def test_what_is_behind_a_doubt_goes_on_after_a_while_and_what_is_fetched_revises() -> None:
    of, journal = begun()
    of.doubt()
    of.arrive(trade(FIRST + 6), 0)
    journal.write(of.due(SECOND))
    assert numbers(journal.rows)[3:] == [FIRST + 6] and not of.holds and not of.doubtful
    assert [gap.final for gap in journal.gaps.open] == [False]
    of.answered(page(FIRST, FIRST + 8), of.asked(), SECOND)
    journal.write(of.due(SECOND))
    assert numbers(journal.fetched) == [FIRST + 3, FIRST + 4, FIRST + 5] and not journal.gaps.open


def test_what_the_newest_page_does_not_reach_back_to_is_a_final_gap() -> None:
    of, journal = begun()
    of.doubt()
    of.arrive(trade(FIRST + 60), 0)
    of.answered(page(FIRST + 40, FIRST + 61), of.asked(), 0)
    journal.write(of.due(0))
    assert numbers(journal.order)[3:] == list(range(FIRST + 40, FIRST + 61))
    (gap,) = journal.gaps.open
    assert gap.final and (gap.start, gap.end) == (trade(FIRST + 2).time - 1, trade(FIRST + 40).time)


def test_a_doubt_after_which_nothing_was_missed_leaves_no_trace() -> None:
    of, journal = begun()
    of.doubt()
    of.answered(page(FIRST, FIRST + 3), of.asked(), 0)
    assert of.due(0) == [] and not of.doubtful
    of.arrive(trade(FIRST + 3), 0)
    journal.write(of.due(0))
    assert not journal.gaps.known and numbers(journal.rows) == list(range(FIRST, FIRST + 4))


def test_what_a_page_has_and_the_connection_sends_a_little_later_was_not_left_out() -> None:
    of, journal = begun()
    of.answered(page(FIRST, FIRST + 5), of.asked(), 0)
    journal.write(of.due(SETTLE_NS - 1))
    for n in (FIRST + 3, FIRST + 4):
        of.arrive(trade(n), SETTLE_NS - 1)
    journal.write(of.due(SETTLE_NS))
    assert not journal.gaps.known and not journal.fetched


def test_what_was_left_out_of_a_connection_is_found_by_the_next_page_and_a_hole_at_the_tail_too() -> None:
    of, journal = begun()
    of.arrive(trade(FIRST + 5), 0)
    of.answered(page(FIRST, FIRST + 8), of.asked(), 0)
    journal.write(of.due(SETTLE_NS))
    assert sorted(numbers(journal.fetched)) == [FIRST + n for n in (3, 4, 6, 7)]
    assert journal.gaps.known and not journal.gaps.open
    of.arrive(trade(FIRST + 7), SETTLE_NS)
    assert of.repeats == 1


def test_a_page_is_wanted_before_one_has_come_since_the_last_and_now_and_then() -> None:
    of, _ = begun()
    assert not of.wants(LOOK_NS - 1) and of.wants(LOOK_NS)
    of.answered(page(FIRST, FIRST + 3), of.asked(), 0)
    assert not of.wants(100 * LOOK_NS), "nothing came since"
    for n in range(FIRST + 3, FIRST + 43):
        assert not of.wants(0)
        of.arrive(trade(n), 0)
    assert of.wants(0)


def test_a_page_out_of_order_or_without_a_trade_is_asked_for_again_and_believed_at_last() -> None:
    of, journal = begun()
    of.doubt()
    of.arrive(trade(FIRST + 8), 0)
    mixed = [*page(FIRST + 5, FIRST + 9), *page(FIRST, FIRST + 5)]
    tries = [of.answered(shown, of.asked(), 0) for shown in ([], mixed, [], mixed)]
    assert tries == [1, 2, 3, 0]
    journal.write(of.due(0))
    assert numbers(journal.order) == list(range(FIRST, FIRST + 9))


def test_a_page_that_is_older_than_what_came_is_asked_for_again() -> None:
    of, journal = begun()
    of.doubt()
    of.arrive(trade(FIRST + 8), 0)
    assert of.answered(page(FIRST, FIRST + 5), of.asked(), 0) == 1 and of.holds
    assert of.answered(page(FIRST, FIRST + 9), of.asked(), 0) == 0
    journal.write(of.due(0))
    assert numbers(journal.order) == list(range(FIRST, FIRST + 9))


def test_a_row_that_rest_has_not_in_a_form_that_can_be_is_a_final_gap_between_its_neighbours() -> None:
    of, journal = begun()
    of.doubt()
    of.arrive(trade(FIRST + 9), 0)
    shown = page(FIRST, FIRST + 10)
    shown[6] = Trade(uuid(FIRST + 6), 0, 0, 0, 0)
    of.answered(shown, of.asked(), 0)
    journal.write(of.due(0))
    assert numbers(journal.order) == [n for n in range(FIRST, FIRST + 10) if n != FIRST + 6]
    (gap,) = journal.gaps.open
    assert gap.final and (gap.start, gap.end) == (trade(FIRST + 5).time - 1, trade(FIRST + 7).time)


def test_a_market_begins_with_its_first_live_trade_also_where_a_page_has_it_already() -> None:
    of, journal = made(), Journal()
    of.answered(page(FIRST - 5, FIRST + 2), of.asked(), 0)
    assert not of.doubtful
    for n in range(FIRST, FIRST + 3):
        of.arrive(trade(n), 0)
    journal.write(of.due(0))
    assert numbers(journal.order) == [FIRST, FIRST + 1, FIRST + 2] and not journal.gaps.known


def test_what_is_missed_before_a_new_markets_first_trade_is_a_hole() -> None:
    of, journal = made(), Journal()
    of.answered(page(FIRST - 5, FIRST), of.asked(), 0)
    of.doubt()
    of.arrive(trade(FIRST + 2), 0)
    of.answered(page(FIRST - 5, FIRST + 3), of.asked(), 0)
    journal.write(of.due(0))
    assert numbers(journal.order) == [FIRST, FIRST + 1, FIRST + 2]


def test_a_hole_longer_than_the_horizon_and_that_of_a_start_are_waited_for() -> None:
    of, journal = made(0, horizon=10 * MS_NS), Journal()
    of.answered([], of.asked(), 0)
    of.arrive(trade(FIRST), 0)
    journal.write(of.due(0))
    of.doubt()
    of.arrive(trade(FIRST + 60), 0)
    assert of.due(100 * HOUR) == []
    again = journal.again(0)
    again.arrive(trade(FIRST + 1), 0)
    assert again.due(100 * HOUR) == [] and again.holds


def test_after_a_start_the_gaps_of_the_journal_are_filled_and_nothing_comes_twice() -> None:
    of, journal = begun(gap_wait=0)
    of.doubt()
    for n in (FIRST + 6, FIRST + 7):
        of.arrive(trade(n), 0)
    journal.write(of.due(0))
    again = journal.again(0)
    again.arrive(trade(FIRST + 9), 0)
    again.answered(page(FIRST, FIRST + 10), again.asked(), 0)
    journal.write(again.due(0))
    assert sorted(numbers(journal.order)) == list(range(FIRST, FIRST + 10))
    assert not journal.gaps.open and not again.doubtful


def test_what_is_older_than_may_be_fetched_is_a_final_gap() -> None:
    of, journal = begun()
    of.limit(trade(FIRST + 11).time)
    of.doubt()
    of.arrive(trade(FIRST + 18), 0)
    of.answered(page(FIRST, FIRST + 19), of.asked(), 0)
    journal.write(of.due(0))
    assert numbers(journal.order)[3:] == list(range(FIRST + 11, FIRST + 19))
    (gap,) = journal.gaps.open
    assert gap.final and (gap.start, gap.end) == (trade(FIRST + 2).time - 1, trade(FIRST + 11).time)


def stopped_over_a_gap() -> tuple[OverlapSequence, Journal]:
    """A start, where the journal has a gap of three trades that nobody was asked for."""
    of, journal = begun(gap_wait=0)
    of.doubt()
    for n in (FIRST + 6, FIRST + 7):
        of.arrive(trade(n), 0)
    journal.write(of.due(0))
    return journal.again(0), journal


def test_a_row_that_cannot_be_let_in_of_a_gap_of_the_journal_is_a_final_gap_between_its_neighbours() -> None:
    again, journal = stopped_over_a_gap()
    shown = page(FIRST, FIRST + 8)
    shown[4] = Trade(uuid(FIRST + 4), 0, 0, 0, 0)
    again.answered(shown, again.asked(), 0)
    journal.write(again.due(0))
    assert sorted(numbers(journal.order)) == [n for n in range(FIRST, FIRST + 8) if n != FIRST + 4]
    (gap,) = journal.gaps.open
    assert gap.final and (gap.start, gap.end) == (trade(FIRST + 3).time - 1, trade(FIRST + 5).time)


def test_a_gap_of_the_journal_is_not_closed_by_a_page_that_is_older_than_what_is_behind_it() -> None:
    again, journal = stopped_over_a_gap()
    assert again.answered(page(FIRST, FIRST + 5), again.asked(), 0) == 1
    journal.write(again.due(0))
    assert [gap.final for gap in journal.gaps.open] == [False] and again.wants(0)
    assert again.answered(page(FIRST, FIRST + 8), again.asked(), 0) == 0
    journal.write(again.due(0))
    assert sorted(numbers(journal.order)) == list(range(FIRST, FIRST + 8)) and not journal.gaps.open


def test_of_a_gap_of_the_journal_that_a_page_does_not_reach_back_to_its_oldest_millisecond_is_fetched() -> (
    None
):
    again, journal = stopped_over_a_gap()
    again.answered(page(FIRST + 4, FIRST + 8), again.asked(), 0)
    journal.write(again.due(0))
    assert numbers(journal.fetched) == [FIRST + 4, FIRST + 5]
    (gap,) = journal.gaps.open
    assert gap.final and (gap.start, gap.end) == (trade(FIRST + 2).time - 1, trade(FIRST + 4).time)


def test_nothing_of_a_new_market_goes_on_before_a_page_has_said_what_was_missed_before_its_first_trade() -> (
    None
):
    of, journal = made(0), Journal()
    of.is_open = True
    of.doubt()
    of.begin(trade(FIRST + 1).time)
    of.arrive(trade(FIRST + 5), 0)
    assert of.due(100 * HOUR) == [], "a trade of before a market's first would be in no candle"
    of.answered(page(FIRST, FIRST + 6), of.asked(), 0)
    journal.write(of.due(0))
    assert numbers(journal.order) == [FIRST + n for n in (2, 3, 4, 5)]


def test_what_was_left_out_before_a_trade_that_did_not_go_out_yet_stands_before_it() -> None:
    of, journal = begun()
    of.arrive(trade(FIRST + 4), 0)
    of.answered(page(FIRST, FIRST + 5), of.asked(), 0)
    journal.write(of.due(0))
    assert numbers(journal.order)[3:] == [FIRST + 4], "the connection may be about to send what is before it"
    of.arrive(trade(FIRST + 6), 0)
    of.answered(page(FIRST, FIRST + 7), of.asked(), 0)
    of.arrive(trade(FIRST + 8), SETTLE_NS)
    journal.write(of.due(SETTLE_NS))
    assert numbers(journal.order)[4:] == [FIRST + n for n in (3, 5, 6, 8)]
