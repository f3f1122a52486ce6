"""A real exchange through the unmodified client: each trade in the journal once, in order, to the digit,
whatever the venue does; and no promise that nobody can keep."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import stamina
from aiohttp import web

from infra.exchange.venues.raw import RawFrames
from streams.backends import open_log
from streams.events import Feed, Market
from streams.log import Log
from tests.venues import recorded
from tests.venues.binance import Binance
from tests.venues.collected import (
    Row,
    candles,
    clock,
    collecting,
    events,
    expected,
    gaps,
    letters,
    open_gaps,
    rows,
    without_origin,
)
from tests.venues.fake import FakeVenue
from tests.venues.faults import (
    Ahead,
    Altered,
    Burst,
    Close,
    Cut,
    Delisted,
    Empty,
    Fault,
    HalfOpen,
    Html,
    Jump,
    LeaveOut,
    Malformed,
    PageHoled,
    PageOverlapping,
    PageShuffled,
    Refuse,
    Repeat,
    Restart,
    Snapshot,
    Steps,
    Swap,
    Truncated,
)
from tests.venues.okx import Okx
from tests.venues.trades import Frame, Trade, made

ETH = "ETH/USDT"
MS = 1_000_000
MINUTE = 60_000
START = 1_700_000_040_000
"""In ms; a whole minute."""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=1)
    yield log
    log.close()


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    """What failed is tried again at once."""
    with stamina.set_testing(True, attempts=1_000):
        yield


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@pytest.fixture(params=[Binance, Okx], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[FakeVenue]:
    return request.param


@cache
def recording(kind: type[FakeVenue], shared_data: Path) -> tuple[list[Frame], list[Row]]:
    """As Binance sent it, or its trades in another venue's frames."""
    trades = recorded.binance_trades(shared_data)
    if kind is Binance:
        return recorded.binance_frames(kind(), shared_data), expected(trades)
    return kind().frames(recorded.on_market(trades, kind.pair())), expected(trades)


def at(venue: FakeVenue, ms: int) -> FakeVenue:
    """The venue's time stands there."""
    venue.clock.go(0.0, ms)
    return venue


def test_a_recording_is_in_the_journal_to_the_digit_and_in_order_across_midnight(
    kind: type[FakeVenue], log: Log, shared_data: Path, strategies: Any
) -> None:
    frames, trades = recording(kind, shared_data)

    async def test() -> None:
        async with (
            kind(recorded.binance_listing(shared_data) if kind is Binance else ()) as venue,
            collecting(log, at(venue, frames[0].time)) as collected,
        ):
            await collected.live()
            await venue.play(frames)
            await collected.has(len(trades))

    run(test())
    assert len(trades) == 19_904 and rows(log) == trades
    assert not gaps(log).known and not letters(log)
    assert states(log) == ["catching_up", "live", "down"]
    made_candles = candles(log, strategies)
    assert all(candle.revision == 0 and not candle.incomplete for candle in made_candles.values())
    assert sum(candle.trades for (frame, _), candle in made_candles.items() if frame == "1m") > 19_000


FAULTS: dict[str, list[tuple[int, Fault]]] = {
    "a cut in the middle of a frame": [(8_000, Cut(away=200))],
    "a close": [(8_000, Close(away=100))],
    "a close with a code": [(3_000, Close(1001, away=100)), (9_000, Close(1012, away=100))],
    "a malformed frame": [(8_000, Malformed(away=50))],
    "a frame that is no text of the venue's": [(8_000, Malformed("hello", away=50))],
    "a frame of no known form": [(8_000, Malformed('{"what":"is this"}', away=50))],
    "trades left out": [(5_000, LeaveOut(250))],
    "two holes": [(5_000, LeaveOut(40)), (5_100, LeaveOut(40))],
    "repeats": [(1_500, Repeat(300))],
    "swaps": [(n, Swap()) for n in range(1_000, 19_000, 200)],
    "a burst": [(3_000, Burst(5_000))],
    "a restart of the server": [(8_000, Restart(away=300))],
    "two restarts": [(4_000, Restart(away=100)), (12_000, Restart(away=2_500))],
    "a snapshot at each subscription": [(0, Snapshot()), (8_000, Cut(away=100))],
    "pages out of order": [(4_999, PageShuffled(times=None)), (5_000, LeaveOut(250))],
    "pages that overlap": [(4_999, PageOverlapping(times=None)), (5_000, LeaveOut(250))],
    "a page with a hole": [(4_999, PageHoled(times=2)), (5_000, LeaveOut(250))],
    "an empty page": [(4_999, Empty(("trades",), 2)), (5_000, LeaveOut(250))],
    "a page for people": [(4_999, Html(("trades",), 1)), (5_000, LeaveOut(250))],
    "a venue in maintenance": [(4_999, Refuse(("trades",), 1, 503)), (5_000, LeaveOut(250))],
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_a_venue_does_each_trade_is_in_the_journal_once_and_in_order(
    kind: type[FakeVenue], log: Log, shared_data: Path, strategies: Any, name: str
) -> None:
    frames, trades = recording(kind, shared_data)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, frames[0].time)) as collected:
            await collected.live()
            await venue.play(frames, script=FAULTS[name])
            await collected.has(len(trades))

    run(test())
    assert without_origin(rows(log)) == trades
    assert not open_gaps(log)
    assert all(not candle.incomplete and candle.revision == 0 for candle in candles(log, strategies).values())
    unreadable = [fault.text.encode() for _, fault in FAULTS[name] if isinstance(fault, Malformed)]
    assert [letter.data for letter in letters(log)] == unreadable


def short(kind: type[FakeVenue], count: int = 60, base: str = "BTC") -> list[Trade]:
    """A trade a second."""
    return made(kind.pair(base), count, start=START, every_ms=1_000)


def test_what_the_venue_does_not_have_any_more_is_a_final_gap_and_nothing_else_is(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 300)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            await venue.play(venue.frames(trades), script=[(70, LeaveOut(5, rest=True))])
            await collected.until(lambda: collected.trades() == 295)

    run(test())
    assert rows(log) == expected(trades[:70] + trades[75:])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[69].time * MS - 1, trades[75].time * MS)
    assert (gap.first_id, gap.last_id, gap.reason) == (71, 75, "these trades are nowhere to be had")
    incomplete = [candle.timestamp for candle in candles(log, strategies).values() if candle.incomplete]
    assert set(incomplete) == {(START + 2 * MINUTE) * MS}


def test_live_rows_do_not_wait_longer_than_they_should_and_the_hole_is_filled_behind_them(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 200)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START), gap_wait_s=0.0) as collected:
            await collected.live()
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.play(venue.frames(trades), script=[(70, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 194)
            (gap,) = open_gaps(log)
            assert not gap.final and (gap.first_id, gap.last_id) == (71, 76), "76 may share its moment"
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(200)

    run(test())
    assert without_origin(rows(log)) == expected(trades[:70] + trades[76:] + trades[70:76])
    assert [row.id for row in rows(log) if row.fetched] == [71, 72, 73, 74, 75, 76]
    found = candles(log, strategies)
    assert not any(candle.incomplete for candle in found.values())
    assert {candle.timestamp for candle in found.values() if candle.revision} == {(START + 2 * MINUTE) * MS}


def test_a_deaf_connection_is_found_out_and_what_it_missed_is_fetched(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 100)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades[:50])
            await collected.has(50)
            await venue.strike(HalfOpen())
            venue.publish(trades[50:])
            collected.pass_by(11)
            await collected.until(lambda: collected.is_asking)
            collected.pass_by(3)
            await collected.until(lambda: "stale" in states(log))
            await collected.has(100)
            await collected.until(lambda: collected.state == "live")

    run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert states(log) == ["catching_up", "live", "stale", "catching_up", "live", "down"]
    stale = next(e for e in events(log) if isinstance(e, Feed) and e.state == "stale")
    assert "no answer to a ping" in stale.reason and stale.since == trades[49].time * MS - 1


def states(log: Log) -> list[str]:
    return [event.state for event in events(log) if isinstance(event, Feed)]


def test_a_hole_at_the_tail_is_found_by_asking_a_venue_that_went_quiet(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            await venue.play(venue.frames(trades), script=[(55, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 55)
            collected.pass_by(301)
            await collected.has(60)
            assert len(venue.asked("socket")) == 1, "a quiet market is never dialled again"

    run(test())
    assert without_origin(rows(log)) == expected(trades)
    (gap,) = gaps(log).known
    assert (gap.start, gap.end, gap.filled) == (trades[54].time * MS - 1, trades[59].time * MS, True)


def test_after_a_cut_the_venue_is_asked_at_once_for_what_a_quiet_market_missed(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades[:50])
            await collected.has(50)
            await venue.strike(Cut())
            venue.publish(trades[50:])
            await collected.has(60)

    run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert [row.id for row in rows(log) if row.fetched] == list(range(51, 61))
    assert states(log) == ["catching_up", "live", "down"], "nobody could have acted in so short a time"


def test_after_a_cut_no_minute_closes_before_the_venue_said_what_was_missed(
    kind: type[FakeVenue], log: Log
) -> None:
    trades, other = short(kind, 3), short(kind, 3, "ETH")

    async def test() -> None:
        async with (
            kind() as venue,
            collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected,
        ):
            await collected.live()
            venue.publish([trades[0], *other[:2]])
            await collected.has(1)
            await collected.has(2, ETH)
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.strike(Cut())
            venue.publish(trades[1:])
            await collected.until(lambda: len(venue.asked("socket")) == 2)
            await venue.watched(kind.pair("ETH"))
            at(venue, START + 2 * MINUTE + 600)
            venue.publish(other[2:])
            await collected.until(lambda: clock(log, ETH) >= (START + 2 * MINUTE) * MS)
            assert clock(log) <= trades[1].time * MS  # to which a ping before the cut may have proven it
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(3)
            await collected.until(lambda: clock(log) >= (START + 2 * MINUTE) * MS)

    run(test())
    assert without_origin(rows(log)) == expected(trades)


class Slow(Binance):
    """Its first answer with trades is held back."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await super()._handle(request)
        if "historicalTrades" in request.path:
            await self.let_go.wait()
        return response


def test_an_answer_to_what_was_asked_before_a_cut_does_not_say_that_nothing_was_missed(log: Log) -> None:
    trades = short(Binance, 20)

    async def test() -> None:
        async with Slow() as venue:
            venue.publish(trades[:10])
            async with collecting(log, at(venue, START)) as collected:
                await collected.until(lambda: venue.asked("trades"))
                await venue.strike(Cut())
                venue.publish(trades[10:])
                await collected.until(lambda: collected.reconnects == 1 and not collected.is_lost)
                venue.let_go.set()
                at(venue, START + MINUTE + 600)
                await collected.until(lambda: clock(log) >= (START + MINUTE) * MS)
                assert collected.trades() == 10

    run(test())
    assert without_origin(rows(log)) == expected(trades[10:])


def test_a_quiet_minute_closes_by_a_ping_and_a_deaf_connection_closes_none(
    kind: type[FakeVenue], log: Log
) -> None:
    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(short(kind, 1))
            await collected.has(1)
            for minute in range(1, 4):
                at(venue, START + minute * MINUTE + 600)
                await collected.until(lambda end=minute: clock(log) >= (START + end * MINUTE) * MS)
            assert len(venue.asked("socket")) == 1
            await venue.strike(HalfOpen())
            at(venue, START + 5 * MINUTE)
            await collected.until(lambda: collected.is_asking)
            assert clock(log) < (START + 4 * MINUTE) * MS

    run(test())
    assert len(rows(log)) == 1 and not gaps(log).known


def test_a_collector_that_starts_again_goes_on_without_a_hole_or_a_repeat(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 300)

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue, START)) as collected:
                await collected.live()
                venue.publish(trades[:100])
                await collected.has(100)
            venue.publish(trades[100:200])
            async with collecting(log, venue) as collected:
                await collected.has(200)
                venue.publish(trades[200:])
                await collected.has(300)

    run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert [row.id for row in rows(log) if row.fetched] == list(range(101, 201))
    (gap,) = gaps(log).known
    assert (gap.start, gap.end) == (trades[99].time * MS - 1, trades[199].time * MS) and gap.filled
    assert all(candle.revision == 0 and not candle.incomplete for candle in candles(log, strategies).values())


def test_a_collector_that_starts_again_fills_the_holes_that_it_left_open(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 100)

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue, START), gap_wait_s=0.0) as collected:
                await collected.live()
                await venue.strike(Refuse(("trades",), None, 503))
                await venue.play(venue.frames(trades), script=[(50, LeaveOut(5))])
                await collected.until(lambda: collected.trades() == 94)
            venue.rest_faults.clear()
            async with collecting(log, venue) as collected:
                await collected.has(100)

    run(test())
    assert without_origin(rows(log)) == expected(trades[:50] + trades[56:] + trades[50:56])


def test_more_than_may_wait_is_fetched_later_and_takes_no_memory(kind: type[FakeVenue], log: Log) -> None:
    trades = short(kind, 2_000)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START), cache_trades=300) as collected:
            await collected.live()
            await venue.strike(Refuse(("trades",), None, 503))
            await venue.play(venue.frames(trades), script=[(50, LeaveOut(1))])
            await collected.until(lambda: collected.waiting() == 300)
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(2_000)

    run(test())
    assert without_origin(rows(log)) == expected(trades)


def test_what_waits_of_one_market_lets_no_other_wait(kind: type[FakeVenue], log: Log) -> None:
    one, other = short(kind, 100), short(kind, 100, "ETH")

    async def test() -> None:
        async with (
            kind() as venue,
            collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected,
        ):
            await collected.live()
            await venue.strike(Refuse(("trades",), None, 503))
            venue.publish(one[:50])
            await venue.strike(LeaveOut(1))
            venue.publish(one[50:])
            venue.publish(other)
            await collected.until(lambda: collected.trades(ETH) == 100)
            assert len(rows(log)) == 50
            assert clock(log, ETH) > clock(log)
            venue.rest_faults.clear()
            collected.pass_by(60)
            await collected.has(100)

    run(test())
    assert rows(log, ETH) == expected(other)
    assert without_origin(rows(log)) == expected(one)


BAD = [
    (Altered("price", "0"), "0 is not above 0"),
    (Altered("price", "-1"), "-1 is not above 0"),
    (Altered("price", "much"), "'much' is no number"),
    (Altered("price", "NaN"), "'NaN' is no number"),
    (Altered("price", "1e300"), "'1e300' is no number that there is room for"),
    (Altered("size", "0.00000"), "0.00000 is not above 0"),
    (Altered("price", "0.001"), "finer than its market's scales, also as the venue tells them now"),
    (Altered("market", "FOOUSDT"), "unknown symbol 'FOOUSDT'"),
    (Ahead(60_000), "is ahead of the venue's clock"),
    (Ahead(10**15), "is ahead of the venue's clock"),
]


@pytest.mark.parametrize(("fault", "reason"), BAD, ids=[str(fault) for fault, _ in BAD])
def test_a_row_that_cannot_be_is_a_dead_letter_and_the_true_one_is_fetched(
    kind: type[FakeVenue], log: Log, fault: Fault, reason: str
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            await venue.play(venue.frames(trades), script=[(30, fault)])
            await collected.has(60)
            await collected.until(lambda: letters(log))
            assert len(venue.asked("socket")) == 1, "it costs its row, not its connection"

    run(test())
    assert without_origin(rows(log)) == expected(trades)
    (letter,) = letters(log)
    market = kind.name if "unknown symbol" in reason else f"{kind.name}:BTC/USDT"
    assert (letter.source, letter.market, letter.venue_id) == (kind.name, market, "31")
    assert reason in letter.reason
    (gap,) = gaps(log).known
    assert gap.filled and (gap.start, gap.end) == (trades[29].time * MS - 1, trades[31].time * MS)


def test_a_row_that_cannot_be_by_rest_either_is_a_final_gap_to_the_next_good_one(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 300)
    trades[70] = trades[70]._replace(price="0")

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades)
            await collected.until(lambda: collected.trades() == 299)

    run(test())
    assert rows(log) == expected(trades[:70] + trades[71:])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[69].time * MS - 1, trades[71].time * MS)
    incomplete = [candle.timestamp for candle in candles(log, strategies).values() if candle.incomplete]
    assert set(incomplete) == {(START + 2 * MINUTE) * MS}
    (letter,) = letters(log)
    assert (letter.venue_id, letter.reason) == ("71", "0 is not above 0")


def test_behind_a_row_that_cannot_be_nothing_is_promised_before_the_next_good_one(
    kind: type[FakeVenue], log: Log
) -> None:
    trades, other = short(kind, 3), short(kind, 3, "ETH")
    trades[1] = trades[1]._replace(price="0")

    async def test() -> None:
        async with (
            kind() as venue,
            collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected,
        ):
            await collected.live()
            venue.publish([trades[0], other[0]])
            await collected.has(1)
            await collected.has(1, ETH)
            asked = len(venue.asked("trades"))
            venue.publish([trades[1]])
            await collected.until(lambda: len(venue.asked("trades")) > asked)
            for minute in range(1, 4):
                at(venue, START + minute * MINUTE + 600)
                await collected.until(lambda end=minute: clock(log, ETH) >= (START + end * MINUTE) * MS)
            assert clock(log) <= trades[0].time * MS
            venue.publish([trades[2]])
            await collected.until(lambda: clock(log) >= (START + 3 * MINUTE) * MS)

    run(test())
    assert rows(log) == expected([trades[0], trades[2]])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[0].time * MS - 1, trades[2].time * MS)


def test_a_venue_that_answers_with_nothing_is_asked_again_thrice_and_then_the_gap_is_final(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades[:30])
            await collected.has(30)
            await venue.strike(Empty(("trades",), None))
            asked = len(venue.asked("trades"))
            await venue.play(venue.frames(trades[30:]), script=[(0, LeaveOut(5))])
            await collected.until(lambda: collected.trades() == 55)
            assert len(venue.asked("trades")) - asked == 4

    run(test())
    assert rows(log) == expected(trades[:30] + trades[35:])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[29].time * MS - 1, trades[35].time * MS)


def test_a_venue_that_denies_its_last_trade_is_asked_again_for_what_came_behind_it(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades[:50])
            await collected.has(50)
            await venue.strike(Empty(("trades",), 2))
            await venue.strike(Cut())
            venue.publish(trades[50:])
            await collected.has(60)

    run(test())
    assert without_origin(rows(log)) == expected(trades)


def test_a_log_that_is_away_ends_the_collector_and_the_next_one_fills(
    kind: type[FakeVenue], log: Log, tmp_path: Path
) -> None:
    trades = short(kind, 60)

    async def test() -> None:
        async with kind() as venue:
            async with collecting(log, at(venue, START)) as collected:
                await collected.live()
                venue.publish(trades[:30])
                await collected.has(30)
                log.close()
                venue.publish(trades[30:40])
                assert collected.task is not None
                await asyncio.wait({collected.task})
                assert collected.task.exception() is not None
            venue.publish(trades[40:])
            with closing(open_log(f"embedded://{tmp_path}/log", partitions=1)) as again:
                async with collecting(again, venue) as collected:
                    await collected.has(60)
                assert without_origin(rows(again)) == expected(trades) and not open_gaps(again)

    run(test())


def test_a_step_that_became_finer_is_told_before_the_trade_that_needs_it(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 20)
    fine = [trade._replace(price=f"{trade.price}5") for trade in short(kind, 40)[20:]]

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades)
            await collected.has(20)
            await venue.strike(Steps(kind.pair(), "0.001", "0.00001"))
            venue.publish(fine)
            await collected.has(40)

    run(test())
    assert [event.price_scale for event in events(log) if isinstance(event, Market)] == [2, 3]
    assert without_origin(rows(log)) == expected(trades) + expected(fine, price_scale=3)
    assert not letters(log) and not open_gaps(log)


def test_a_symbol_that_is_gone_stops_its_market_alone_and_says_so(kind: type[FakeVenue], log: Log) -> None:
    async def test() -> None:
        async with (
            kind() as venue,
            collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected,
        ):
            await collected.live()
            venue.publish(short(kind, 10))
            await collected.has(10)
            await venue.strike(Delisted(kind.pair("ETH")))
            collected.pass_by(3_601)
            await collected.until(lambda: "down" in states(log))
            venue.publish(short(kind, 20)[10:])
            await collected.has(20)
        async with kind() as venue:
            await venue.strike(Delisted(kind.pair("ETH")))
            at(venue, START).publish(short(kind, 20))
            feeds = [f"{kind.name}:ETH/USDT", f"{kind.name}:BTC/USDT"]
            async with collecting(log, venue, feeds) as collected:
                await collected.live()

    run(test())
    feeds = [e for e in events(log) if isinstance(e, Feed) and e.market == f"{kind.name}:ETH/USDT"]
    gone = next(feed for feed in feeds if feed.state == "down")
    assert f"symbol 'ETH/USDT' does not exist at {kind.name}" in gone.reason


def test_a_symbol_that_is_gone_keeps_no_other_from_being_dialled_again(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 20)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START), ["BTC/USDT", ETH]) as collected:
            await collected.live()
            venue.publish(trades[:10])
            await collected.has(10)
            await venue.strike(Delisted(kind.pair("ETH")))
            await venue.strike(Cut())
            venue.publish(trades[10:15])
            await collected.has(15)
            collected.pass_by(3_601)
            await collected.until(lambda: "down" in states(log))
            await venue.strike(Cut())
            venue.publish(trades[15:])
            await collected.has(20)

    run(test())
    assert without_origin(rows(log)) == expected(trades)


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("BTC/USTD", r"'BTC/USTD' does not exist .*; near are BTC/USDT"),
        ("BTC/USD:BTC-331230-50000-C", r":BTC/USD:BTC-331230-50000-C: is an option"),
    ],
)
def test_a_symbol_that_never_was_or_is_an_option_is_refused(
    kind: type[FakeVenue], log: Log, symbol: str, words: str
) -> None:
    async def test() -> None:
        async with kind() as venue, collecting(log, venue, [f"{kind.name}:{symbol}"]) as collected:
            assert collected.task is not None
            await asyncio.wait({collected.task})
            with pytest.raises(ValueError, match=words):
                collected.task.result()

    run(test())


@pytest.mark.parametrize(
    "fault", [Html(("markets",)), Truncated(), Empty(("markets",)), Refuse(("markets",))]
)
def test_a_list_of_markets_that_cannot_be_read_is_asked_for_again(
    kind: type[FakeVenue], log: Log, fault: Fault
) -> None:
    async def test() -> None:
        async with kind() as venue:
            await venue.strike(fault)
            async with collecting(log, at(venue, START)) as collected:
                await collected.live()
                venue.publish(short(kind, 5))
                await collected.has(5)
        assert [bool(failing) for _, failing in collected.told] == [True, False]
        assert "does not exist" not in collected.told[0][1]

    run(test())


def test_a_ban_is_obeyed_while_another_venue_goes_on(kind: type[FakeVenue], log: Log, tmp_path: Path) -> None:
    other_log = open_log(f"embedded://{tmp_path}/other", partitions=1)

    async def test() -> None:
        async with kind() as venue, kind() as other:
            await venue.strike(Refuse(("markets",), 1, 418, retry_after=120))
            async with collecting(log, at(venue, START)) as collected:
                await collected.until(lambda: collected.told)
                async with collecting(other_log, at(other, START)) as free:
                    await free.live()
                    collected.pass_by(90)
                    other.publish(short(kind, 1_000))
                    await free.has(1_000)
                assert len(venue.requests) == 1
                collected.pass_by(31)
                await collected.live()

    run(test())
    other_log.close()


@pytest.mark.parametrize("status", [451, 403])
def test_a_venue_that_does_not_serve_from_here_is_down_with_that_word(
    kind: type[FakeVenue], log: Log, status: int
) -> None:
    async def test() -> None:
        async with kind() as venue:
            await venue.strike(Refuse(("markets",), 1, status))
            async with collecting(log, at(venue, START)) as collected:
                await collected.until(lambda: collected.told)
        assert f"not served from here: HTTP {status}" in collected.told[0][1]

    run(test())


def test_a_venue_that_counts_anew_is_down_with_that_word(kind: type[FakeVenue], log: Log) -> None:
    trades = short(kind, 100)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            await venue.play(venue.frames(trades), script=[(60, Jump(-50))])
            await collected.until(lambda: collected.state == "down")

    run(test())
    assert rows(log) == expected(trades[:60])
    down = next(e for e in events(log) if isinstance(e, Feed) and e.state == "down")
    assert down.reason.startswith("its trade ids began anew: 11 came after 60")


def test_before_a_venue_ends_a_connection_it_is_dialled_anew_and_nothing_is_missed(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    trades = short(kind, 100)

    async def test() -> None:
        async with kind() as venue, collecting(log, at(venue, START)) as collected:
            await collected.live()
            venue.publish(trades[:60])
            await collected.has(60)
            collected.pass_by(23 * 3_600 + 5)
            await collected.until(lambda: len(venue.asked("socket")) == 2)
            venue.publish(trades[60:])
            await collected.has(100)

    run(test())
    assert without_origin(rows(log)) == expected(trades)
    assert not open_gaps(log)
    assert all(candle.revision == 0 and not candle.incomplete for candle in candles(log, strategies).values())


def test_frames_are_kept_as_they_came_and_can_be_played_again(
    kind: type[FakeVenue], log: Log, tmp_path: Path
) -> None:
    trades = short(kind, 60)

    async def test() -> list[Trade]:
        with RawFrames(tmp_path, kind.name) as raw:
            async with kind() as venue, collecting(log, at(venue, START), raw=raw.put) as collected:
                await collected.live()
                venue.publish(trades)
                await collected.has(60)
        (file,) = raw.folder.iterdir()
        async with kind() as again:
            await again.play(recorded.raw_frames(again, file), wait=False)
            return again.published

    assert asyncio.run(test()) == trades


def test_contracts_of_okx_come_with_what_one_of_them_is_worth(log: Log) -> None:
    markets = {"BTC/USDT:USDT": "BTC-USDT-SWAP", "BTC/USD:BTC": "BTC-USD-SWAP"}
    trades = {
        symbol: [
            trade._replace(price=trade.price[:-1], size=trade.id) for trade in made(id, 250, start=START)
        ]
        for symbol, id in markets.items()
    }

    async def test() -> None:
        async with Okx() as venue, collecting(log, at(venue, START), list(markets)) as collected:
            await collected.until(lambda: collected.provider.skew is not None)
            for symbol, id in markets.items():
                await venue.watched(id)
                venue.publish(trades[symbol][:1])
                await collected.has(1, symbol)
            await venue.strike(Cut())
            for symbol in markets:
                venue.publish(trades[symbol][1:])
                await collected.has(250, symbol)

    run(test())
    told = {event.symbol: event for event in events(log) if isinstance(event, Market)}
    worth = {s: (m.contract, m.settle, m.multiplier, m.multiplier_scale) for s, m in told.items()}
    assert worth == {"BTC/USDT:USDT": ("linear", "USDT", 1, 2), "BTC/USD:BTC": ("inverse", "BTC", 100, 0)}
    assert without_origin(rows(log, "BTC/USDT:USDT")) == expected(trades["BTC/USDT:USDT"], 1, 2)
    assert without_origin(rows(log, "BTC/USD:BTC")) == expected(trades["BTC/USD:BTC"], 1, 0)


def test_okx_as_it_was_recorded_is_in_the_journal_to_the_digit(log: Log, shared_data: Path) -> None:
    scales = {"BTC-USD-220527": (1, 0), "UNI-USD-SWAP": (3, 0), "BTC-USDT": (1, 8)}
    symbols = dict(zip(scales, ("BTC/USD:BTC-220527", "UNI/USD:UNI", "BTC/USDT"), strict=True))
    frames = recorded.okx_frames(Okx(), shared_data)
    sent = {market: [t for f in frames for t in f.trades if t.market == market] for market in symbols}

    async def test() -> None:
        async with (
            Okx(recorded.okx_listing(shared_data)) as venue,
            collecting(log, at(venue, frames[0].time), list(symbols.values())) as collected,
        ):
            for market in symbols:
                await venue.watched(market)
            await collected.until(lambda: collected.provider.skew is not None)
            await venue.play(frames)
            for market, symbol in symbols.items():
                await collected.has(len(sent[market]), symbol)

    run(test())
    assert [len(trades) for trades in sent.values()] == [4, 1, 69]
    for market, symbol in symbols.items():
        assert rows(log, symbol) == expected(sent[market], *scales[market])
    assert not letters(log)
