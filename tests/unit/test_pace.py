"""A silence is written in pieces that a fold takes in a moment."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from projections.fold.pipeline import Pipeline
from streams.events import Candle, Clock, DeadLetter, Gap, TickBatch
from streams.pace import DAY_NS, RECORD_NS, Pace
from streams.ticks import unpack
from tests.journal import MINUTE, START, batch, batch_of, fold, of, records, spot

BTC, ETH = spot(), spot("ETH/USDT")
DAY_S = 86_400


def written(*events, newest=None) -> list:
    """What a writer appends for events, whose key is BTC's."""
    pace = Pace(newest or {})
    return [piece for event in events for _, piece in pace.pieces(BTC.key, event)]


def days(clocks) -> list[float]:
    return [(clock.time - START) / DAY_NS for clock in clocks]


def test_a_trade_after_a_silent_year_comes_behind_a_clock_record_for_each_day():
    made = written(batch(BTC, [(0, 100, 1), (365 * DAY_S + 5, 101, 1)]))
    assert [type(event) for event in made] == [TickBatch, *[Clock] * 365, TickBatch]
    assert days(made[1:-1]) == list(range(1, 366))
    assert {clock.markets for clock in made[1:-1]} == {(BTC.key,)}


def test_what_the_journal_holds_already_is_where_a_silence_begins():
    made = written(batch(BTC, [(3 * DAY_S, 100, 1)]), newest={BTC.key: START})
    assert days(made[:-1]) == [1, 2]
    assert len(written(batch(BTC, [(3 * DAY_S, 100, 1)]))) == 1


def test_a_clock_record_after_a_silence_is_one_of_several():
    made = written(
        Clock(time=START, markets=(BTC.key, ETH.key)), Clock(time=START + 2 * DAY_NS + 1, markets=(BTC.key,))
    )
    assert [(clock.time - START, clock.markets) for clock in made[1:]] == [
        (DAY_NS, (BTC.key,)), (2 * DAY_NS, (BTC.key,)), (2 * DAY_NS + 1, (BTC.key,)),
    ]  # fmt: skip


def test_sparse_rows_of_a_file_are_records_of_some_days_that_know_their_rows():
    rows = [(hour * 3600, 100 + hour, 1) for hour in range(0, 400, 2)]
    made = written(replace(batch(BTC, rows), first_row=7))
    assert [(part.first_row, part.rows) for part in made] == [(7, 73), (80, 72), (152, 55)]


def test_a_time_that_is_wrong_by_years_costs_its_record_and_moves_nothing():
    wrong = batch(BTC, [(0, 100, 1), (6 * 366 * DAY_S, 100, 1), (6 * 366 * DAY_S + 1, 100, 1)])
    behind = batch(BTC, [(2 * DAY_S, 100, 1)])
    assert [getattr(event, "rows", 0) for event in written(wrong, behind)] == [3, 0, 1]


def test_of_several_markets_each_has_its_own_silence_and_backfill_brings_none_further():
    made = written(
        batch_of([BTC, ETH], [(BTC, (0, 100, 1)), (ETH, (0, 100, 1))]),
        batch_of(
            [BTC, ETH], [(BTC, (9, 100, 1)), (BTC, (9 * DAY_S, 100, 1, "backfill")), (ETH, (2 * DAY_S, 9, 1))]
        ),
    )
    assert [(type(event), getattr(event, "markets", None)) for event in made[1:]][1] == (Clock, (ETH.key,))
    assert [getattr(event, "rows", 0) for event in made] == [2, 2, 0, 1]


def test_what_is_no_row_and_what_nobody_can_read_goes_as_it_is():
    gap = Gap(market=BTC.key, start=START, end=START + 9 * DAY_NS, reason="down")
    broken = TickBatch(markets=(), rows=3, kind=b"", time=b"", price=b"", size=b"")
    assert written(gap, broken, newest={BTC.key: 1}) == [gap, broken]


@example([[(200, "b"), (0, "B"), (200, "B")]])
@given(st.lists(st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ABcb")), min_size=1), max_size=5))
def test_nothing_is_lost_or_put_elsewhere_and_no_record_brings_a_market_further_than_six_days(parts):
    batches = [
        batch_of(
            [BTC, ETH], [(BTC if kind in "Ac" else ETH, row(hours * 3600.0, kind)) for hours, kind in part]
        )
        for part in parts
    ]
    made = written(*batches)
    kept = [unpack(event) for event in made if isinstance(event, TickBatch)]
    for name in ("market", "kind", "time", "price"):
        given_rows = [getattr(unpack(event), name) for event in batches]
        assert np.array_equal(
            np.concatenate([getattr(ticks, name) for ticks in kept] or [[]]),
            np.concatenate(given_rows or [[]]),
        )
    reached: dict[str, int] = {}
    for event in made:
        if isinstance(event, Clock):
            rows = [(key, event.time, True) for key in event.markets]
        else:
            ticks = unpack(event)
            rows = [
                (event.markets[m].key, t, k < 0x80)
                for m, t, k in zip(
                    ticks.market.tolist(), ticks.time.tolist(), ticks.kind.tolist(), strict=True
                )
            ]
        before = dict(reached)
        for key, time, live in rows:
            reached.setdefault(key, time)
            if live:
                assert time - before.setdefault(key, time) <= RECORD_NS
                assert time - reached[key] <= DAY_NS
                reached[key] = max(time, reached[key])


def row(seconds: float, kind: str):
    return {
        "A": (seconds, 100, 1),
        "B": (seconds, 100, 1),
        "c": (seconds,),
        "b": (seconds, 100, 1, "backfill"),
    }[kind]


def journal(*events) -> list:
    return records([(BTC.key, BTC), *((BTC.key, event) for event in events)])


def clock(minutes: int) -> Clock:
    return Clock(time=START + minutes * MINUTE, markets=(BTC.key,))


@pytest.mark.parametrize(
    "events",
    [
        (batch(BTC, [(0, 100, 1)]), clock(10_081)),
        (batch(BTC, [(0, 100, 1)]), batch(BTC, [(1, 100, 1), (365 * DAY_S, 101, 1)])),
        (batch(BTC, [(0, 100, 1), (365 * DAY_S, 101, 1)]),),
        (batch(BTC, [(0, 100, 1, "backfill")]), clock(10_081)),
    ],
)
def test_a_record_that_would_close_more_than_a_week_is_a_dead_letter_that_says_so(events):
    pipeline = Pipeline(0, None)
    derived = fold(pipeline, journal(*events))
    (letter,) = of(derived, DeadLetter)
    assert "may close 10080; append clock records of at most a day each before it" in letter.reason
    assert len(of(derived, Candle)) == 0


def test_a_week_may_be_closed_by_one_record_and_backfill_ahead_of_the_clock_closes_nothing():
    ahead = batch(BTC, [(365 * DAY_S, 100, 1, "backfill")])
    derived = fold(Pipeline(0, None), journal(batch(BTC, [(0, 100, 1)]), ahead, clock(10_080)))
    assert not of(derived, DeadLetter)
    assert len([candle for candle in of(derived, Candle) if candle.timeframe == "1m"]) == 10_081


def test_what_a_writer_appends_of_a_silent_year_is_folded_whole():
    events = written(batch(BTC, [(0, 100, 1), (30 * DAY_S + 5, 101, 1)]), clock(31 * 1440))
    derived = fold(Pipeline(0, None), journal(*events))
    assert not of(derived, DeadLetter)
    minutes = [candle for candle in of(derived, Candle) if candle.timeframe == "1m"]
    assert len(minutes) == 31 * 1440 + 1
    assert sum(candle.trades for candle in minutes) == 2
