"""The account of gaps: what is open, what was filled in, and what is known of both."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.fold.pipeline import Pipeline
from streams.events import Candle, Clock, DeadLetter, Gap, GapFilled
from streams.gaps import KEPT_MAX, Gaps
from streams.ticks import NO_ID
from tests.journal import MINUTE, START, batch, fold, of, records, spot

BTC = spot()
SECOND = 10**9


def gap(start: int, end: int, **more) -> Gap:
    return Gap(market=BTC.key, start=start, end=end, **({"reason": "down"} | more))


def filled(start: int, end: int) -> GapFilled:
    return GapFilled(market=BTC.key, start=start, end=end)


def account(*events: Gap | GapFilled) -> Gaps:
    gaps = Gaps()
    for event in events:
        gaps.note(event)
    return gaps


def brief(gaps: Gaps) -> list[tuple]:
    return [(one.start, one.end, one.reason, one.final, one.filled) for one in gaps.known]


def test_a_part_that_is_filled_is_closed_and_the_rest_stays_open():
    gaps = account(gap(10, 40), filled(20, 30))
    assert brief(gaps) == [
        (10, 20, "down", False, False),
        (20, 30, "down", False, True),
        (30, 40, "down", False, False),
    ]
    assert [(one.start, one.end) for one in gaps.open] == [(10, 20), (30, 40)]


def test_a_gap_that_is_filled_part_by_part_is_one_filled_gap():
    assert brief(account(gap(10, 40), filled(20, 30), filled(10, 20), filled(30, 40))) == [
        (10, 40, "down", False, True)
    ]


def test_a_gap_that_is_narrowed_by_its_ids_as_it_is_filled_is_one_filled_gap():
    ids = [(10, 1), (20, 4), (30, 8)]
    gaps = account(gap(10, 40, first_id=1, last_id=9))
    for (start, _), (end, first) in pairwise(ids):
        gaps.note(gap(end, 40, first_id=first, last_id=9))
        gaps.note(filled(start, end))
    assert [(one.start, one.end, one.first_id, one.last_id, one.filled) for one in gaps.known] == [
        (10, 30, 1, 7, True),
        (30, 40, 8, 9, False),
    ]
    gaps.note(filled(30, 40))
    (whole,) = gaps.known
    assert (whole.start, whole.end, whole.first_id, whole.last_id) == (10, 40, 1, 9)


def test_filled_gaps_of_other_trades_or_reasons_stay_apart():
    between = account(gap(10, 20, first_id=1, last_id=3), gap(20, 30, first_id=5, last_id=9), filled(10, 30))
    assert [(one.first_id, one.last_id) for one in between.known] == [(1, 3), (5, 9)]
    assert brief(account(gap(10, 20), gap(20, 30, reason="gone"), filled(10, 30))) == [
        (10, 20, "down", False, True),
        (20, 30, "gone", False, True),
    ]


def test_open_gaps_of_other_ids_stay_apart():
    gaps = account(gap(10, 20, first_id=1, last_id=3), gap(20, 30, first_id=4, last_id=9))
    assert [(one.first_id, one.last_id) for one in gaps.open] == [(1, 3), (4, 9)]


def test_the_newest_word_counts_of_each_moment():
    gaps = account(gap(10, 40), filled(10, 40), gap(20, 30, reason="gone", final=True))
    assert brief(gaps) == [
        (10, 20, "down", False, True),
        (20, 30, "gone", True, False),
        (30, 40, "down", False, True),
    ]


@pytest.mark.parametrize("event", [filled(40, 50), filled(0, 10), gap(5, 5), gap(-1, 5), filled(7, 3)])
def test_what_was_never_missing_and_what_is_no_range_is_refused_and_changes_nothing(event):
    gaps = account(gap(10, 40))
    with pytest.raises(ValueError, match=r"no gap is known there|no range of times"):
        gaps.note(event)
    assert brief(gaps) == [(10, 40, "down", False, False)]


def test_what_is_filled_twice_is_no_error():
    assert account(gap(10, 40), filled(10, 40), filled(15, 20)).open == []


def test_the_newest_open_gaps_are_kept_however_many_are_filled():
    gaps = Gaps()
    for n in range(KEPT_MAX + 7):
        at = 20 * n
        for event in (gap(at + 10, at + 11), filled(at + 10, at + 11), gap(at, at + 1)):
            gaps.note(event)
    assert len(gaps.known) == 2 * KEPT_MAX
    assert [one.start for one in gaps.open] == [20 * n for n in range(7, KEPT_MAX + 7)]


def test_a_word_on_one_of_many_gaps_leaves_the_others_as_they_are():
    gaps = account(*(gap(10 * n, 10 * n + 5) for n in range(1, 100)))
    others = [one for one in gaps.known if one.start != 500]
    gaps.note(filled(500, 505))
    assert all(
        one is other for one, other in zip([g for g in gaps.known if g.start != 500], others, strict=True)
    )
    gaps.note(gap(505, 510))
    assert [(one.start, one.end, one.filled) for one in gaps.known[48:51]] == [
        (490, 495, False),
        (500, 505, True),
        (505, 515, False),
    ]


words = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.booleans()), max_size=20)


@given(words)
def test_the_account_says_of_each_moment_what_was_said_last(said):
    gaps, moments = Gaps(), {}
    for start, length, is_filled in said:
        inside = range(start + 1, start + length + 1)
        if is_filled and not any(time in moments for time in inside):
            continue
        gaps.note(filled(start, start + length) if is_filled else gap(start, start + length))
        moments |= {time: is_filled for time in inside if time in moments or not is_filled}
    told = {time: one.filled for one in gaps.known for time in range(one.start + 1, one.end + 1)}
    assert told == moments
    assert sum(one.end - one.start for one in gaps.known) == len(moments)


def journal(*events) -> list:
    rows = [(1, 100, 5), (61, 101, 5), (121, 102, 5)]
    return records([(BTC.key, BTC), (BTC.key, batch(BTC, rows)), *((BTC.key, event) for event in events)])


def test_a_filling_of_what_was_never_open_is_a_dead_letter_and_revises_nothing():
    derived = fold(Pipeline(0, None), journal(filled(START, START + MINUTE)))
    (letter,) = of(derived, DeadLetter)
    assert "no gap is known there" in letter.reason
    assert not [candle for candle in of(derived, Candle) if candle.revision]


def test_a_part_that_is_filled_completes_its_candles_and_the_rest_is_in_the_report():
    pipeline = Pipeline(0, None)
    derived = fold(pipeline, journal(gap(START, START + 2 * MINUTE), filled(START, START + MINUTE))[:-1])
    assert [(c.revision, c.incomplete) for c in of(derived, Candle)] == [(0, False)] * 2 + [(1, True)] * 2
    record = journal(gap(START, START + 2 * MINUTE), filled(START, START + MINUTE))[-1]
    told, report = pipeline.fold(record)
    assert [(c.timestamp, c.revision, c.incomplete) for c in of(told, Candle)] == [(START + MINUTE, 2, False)]
    assert [(one.start, one.end) for one in report.gaps[BTC.key]] == [(START + MINUTE, START + 2 * MINUTE)]


def test_a_gap_outlives_its_horizon_and_a_restart_and_a_late_filling_changes_no_candle():
    first, second = Pipeline(0, None), Pipeline(0, None)
    day = Clock(time=START + 1440 * MINUTE, markets=(BTC.key,))
    made = journal(gap(START, START + MINUTE), day, filled(START, START + MINUTE))
    fold(first, made[:-1])
    second.restore(first.snapshot())
    assert [one.filled for one in second.view().markets[BTC.key].gaps.known] == [False]
    told, report = second.fold(made[-1])
    assert (told, report.gaps) == ([], {})
    assert [one.filled for one in second.view().markets[BTC.key].gaps.known] == [True]


def ids_of(gaps: Gaps) -> list[tuple]:
    return [(one.start, one.end, one.first_id, one.last_id, one.filled) for one in gaps.known]


def test_what_is_left_of_a_gap_keeps_the_ids_that_the_newer_word_does_not_name():
    gaps = account(gap(10, 40, first_id=1, last_id=9), gap(20, 30, first_id=4, last_id=6, final=True))
    assert ids_of(gaps) == [(10, 20, 1, 3, False), (20, 30, 4, 6, False), (30, 40, 7, 9, False)]
    gaps.note(filled(10, 20))
    gaps.note(gap(35, 40, first_id=7, last_id=9))
    assert ids_of(gaps) == [
        (10, 20, 1, 3, True),
        (20, 30, 4, 6, False),
        (30, 35, NO_ID, NO_ID, False),
        (35, 40, 7, 9, False),
    ]


def test_a_word_without_ids_leaves_those_of_what_is_beside_it():
    gaps = account(gap(10, 40, first_id=1, last_id=9), gap(10, 20), filled(30, 40))
    assert ids_of(gaps) == [(10, 20, NO_ID, NO_ID, False), (20, 30, 1, 9, False), (30, 40, 1, 9, True)]


def test_neighbours_of_other_ids_stay_apart():
    gaps = account(gap(10, 20, first_id=1, last_id=3), gap(20, 30, first_id=4, last_id=6))
    assert len(gaps.known) == 2


@pytest.mark.parametrize("ids", [(5, 4), (5, NO_ID), (NO_ID, 5), (-7, 5)])
def test_ids_that_are_no_range_are_refused(ids: tuple[int, int]):
    with pytest.raises(ValueError, match="is no range of ids"):
        account(gap(10, 40, first_id=ids[0], last_id=ids[1]))
