"""A row that cannot be is a dead letter, and what it leaves is a gap between two good ones."""

import asyncio
from typing import Any

from streams.log import Log
from tests.venues.cases import ETH, MINUTE, MS, START, at, collecting_live, short
from tests.venues.collected import (
    candles,
    clock,
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
    Fault,
)

FINER = "finer than its market's scales, also as the venue tells them now"
AHEAD = "is ahead of the venue's clock"
BAD: list[tuple[Fault, str]] = [
    (Altered("price", "0"), "price 0 is not above 0"),
    (Altered("price", "-1"), "price -1 is not above 0"),
    (Altered("price", "much"), "'much' is no number"),
    (Altered("price", "NaN"), "'NaN' is no number"),
    (Altered("price", "1e300"), "'1e300' is no number that there is room for"),
    (Altered("size", "0.00000"), "size 0.00000 is not above 0"),
    (Altered("price", "0.001"), FINER),
    (Altered("market", "FOOUSDT"), "unknown symbol 'FOOUSDT'"),
    (Ahead(60_000), AHEAD),
    (Ahead(10**15), AHEAD),
]


def test_a_row_that_cannot_be_is_a_dead_letter_and_the_true_one_is_fetched(
    kind: type[FakeVenue], log: Log
) -> None:
    trades = short(kind, 20 * len(BAD))

    async def test() -> None:
        async with collecting_live(kind, log) as (venue, collected):
            for number, (fault, _) in enumerate(BAD):
                part = trades[20 * number : 20 * number + 20]
                await venue.play(venue.frames(part), script=[(10, fault)])
                await collected.has(20 * number + 20)
                await collected.until(lambda: len(letters(log)) == number + 1)  # noqa: B023 - waited for here
            assert len(venue.asked("socket")) == 1, "it costs its row, not its connection"

    asyncio.run(test())
    found = without_origin(rows(log))
    if not kind.numbered:  # that one of an unknown symbol is missing is seen by the next page alone
        found.sort(key=lambda row: row.time)
    assert found == expected(trades)
    for letter, place, (_, reason) in zip(letters(log), range(10, len(trades), 20), BAD, strict=True):
        market = kind.name if "unknown symbol" in reason else f"{kind.name}:BTC/USDT"
        assert (letter.source, letter.market, letter.venue_id) == (kind.name, market, trades[place].id)
        assert reason in letter.reason
    known = gaps(log).known
    places = range(10, len(trades), 20)
    assert [(gap.start, gap.filled) for gap in known] == [(trades[n - 1].time * MS - 1, True) for n in places]
    following = [trades[n + 1].time * MS for n in places]
    if kind.numbered:
        assert [gap.end for gap in known] == following
    else:  # a page that came meanwhile may have filled more
        assert all(gap.end >= end for gap, end in zip(known, following, strict=True))


def test_a_row_that_cannot_be_by_rest_either_is_a_final_gap_to_the_next_good_one(
    kind: type[FakeVenue], log: Log, strategies: Any
) -> None:
    wrong = {"BTC": "price 0 is not above 0", "ETH": FINER, "SOL": AHEAD}
    trades = {base: short(kind, 200, base) for base in wrong}
    bad = {base: its[70] for base, its in trades.items()}
    bad["BTC"] = bad["BTC"]._replace(price="0")
    bad["ETH"] = bad["ETH"]._replace(price="0.001")
    bad["SOL"] = bad["SOL"]._replace(time=bad["SOL"].time * 1_000)  # milliseconds became microseconds
    symbols = {base: f"{base}/USDT" for base in wrong}

    async def test() -> None:
        async with collecting_live(kind, log, list(symbols.values())) as (venue, collected):
            for base, its in trades.items():
                await venue.watched(kind.pair(base))
                venue.publish(its[:70])
                venue.tell(bad[base])
                venue.publish(its[71:100])
            for base, symbol in symbols.items():
                await collected.until(lambda: collected.trades(symbol) == 99 and open_gaps(log, symbol))  # noqa: B023 - waited for here
                venue.publish(trades[base][100:])
                await collected.until(lambda: collected.trades(symbol) == 199)  # noqa: B023 - as above

    asyncio.run(test())
    told = {letter.market: (letter.source, letter.venue_id, letter.reason) for letter in letters(log)}
    assert len(told) == len(letters(log)) == len(wrong)
    for base, symbol in symbols.items():
        before, after = trades[base][69], trades[base][71]
        assert rows(log, symbol) == expected(trades[base][:70] + trades[base][71:])
        (gap,) = open_gaps(log, symbol)
        assert gap.final and (gap.start, gap.end) == (before.time * MS - 1, after.time * MS)
        source, venue_id, reason = told[f"{kind.name}:{symbol}"]
        assert (source, venue_id) == (kind.name, bad[base].id) and wrong[base] in reason
    incomplete = [
        end for (frame, end), one in candles(log, strategies).items() if one.incomplete and frame == "1m"
    ]
    assert incomplete == [(START + 2 * MINUTE) * MS]


def test_a_gap_is_settled_though_the_newest_trade_cannot_be_let_in_either(
    numbered: type[FakeVenue], log: Log
) -> None:
    trades = short(numbered, 40)
    bad = {n: trades[n]._replace(price="0") for n in (10, 30)}

    async def test() -> None:
        async with collecting_live(numbered, log, gap_wait_s=0) as (venue, collected):
            venue.publish(trades[:10])
            venue.tell(bad[10])
            venue.publish(trades[11:30])
            venue.tell(bad[30])
            await collected.until(lambda: [gap.final for gap in open_gaps(log)] == [True])
            await collected.until(lambda: collected.trades() == 29)

    asyncio.run(test())
    assert sorted(without_origin(rows(log))) == expected(trades[:10] + trades[11:30])


def test_behind_a_row_that_cannot_be_nothing_is_promised_before_the_next_good_one(
    kind: type[FakeVenue], log: Log
) -> None:
    trades, other = short(kind, 3), short(kind, 3, "ETH")
    trades[1] = trades[1]._replace(price="0")

    async def test() -> None:
        async with collecting_live(kind, log, ["BTC/USDT", ETH]) as (venue, collected):
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
            collected.pass_by(10)  # before then it is not asked again
            await collected.until(lambda: clock(log) >= (START + 3 * MINUTE) * MS)

    asyncio.run(test())
    assert rows(log) == expected([trades[0], trades[2]])
    (gap,) = open_gaps(log)
    assert gap.final and (gap.start, gap.end) == (trades[0].time * MS - 1, trades[2].time * MS)
