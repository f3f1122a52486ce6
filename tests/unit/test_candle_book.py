"""The rules of closing, one by one, on candles small enough to check by eye."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from projections.fold import kernel, kernel_records
from projections.fold.candles import TIMEFRAMES, CandleBook
from streams.events import BACKFILL, MINUTE_NS, TIMEFRAMES_NS, CandleFlag, RowKind

SECOND = 1_000_000_000
NOON = 17_532 * 86_400 * SECOND + 43_200 * SECOND
HOURS_3 = 180 * MINUTE_NS
CLOCK, LATE_BUY = int(RowKind.CLOCK), int(RowKind.BUY) | BACKFILL


def book(closed="right", grace_s=0, horizon_ns=HOURS_3):
    return CandleBook(closed=closed, grace_ns=grace_s * SECOND, horizon_ns=horizon_ns)


def fold(candles, *rows, offset=0):
    """Rows are (seconds after noon, kind, price, size); a float of seconds may name a nanosecond."""
    time = [NOON + round(row[0] * SECOND) for row in rows]
    kind = np.array([row[1] for row in rows], np.uint8)
    price, size = ([row[i] if len(row) > i else 0 for row in rows] for i in (2, 3))
    return candles.fold(np.array(time), np.array(price, np.int64), np.array(size, np.int64), kind, offset)


def brief(closed):
    """(timeframe, end in seconds after noon, open, high, low, close, volume, trades)"""
    names = ["open", "high", "low", "close", "volume", "trades"]
    return [
        (TIMEFRAMES[c["timeframe"]], int(c["end"] - NOON) // SECOND, *(int(c[n]) for n in names))
        for c in closed
    ]


@pytest.mark.parametrize(("closed", "minute_s"), [("right", 60), ("left", 120)])
def test_a_trade_on_the_edge_belongs_to_the_side_that_is_closed(closed, minute_s):
    candles = book(closed)
    fold(candles, (60, 1, 7, 1))
    told = fold(candles, (300, CLOCK))
    traded = told.closed[(told.closed["timeframe"] == 0) & (told.closed["trades"] == 1)]
    assert [(int(end) - NOON) // SECOND for end in traded["end"]] == [minute_s]


def test_a_right_closed_candle_waits_for_a_trade_past_its_end_and_a_clock_row_at_its_end():
    by_trade, by_clock = book(), book()
    assert len(fold(by_trade, (1, 1, 7, 1), (60, 1, 8, 1)).closed) == 0
    assert brief(fold(by_trade, (60.000000001, 1, 9, 1)).closed) == [("1m", 60, 7, 8, 7, 8, 2, 2)]
    assert len(fold(by_clock, (1, 1, 7, 1), (59.999999999, CLOCK)).closed) == 0
    assert brief(fold(by_clock, (60, CLOCK)).closed) == [("1m", 60, 7, 7, 7, 7, 1, 1)]


def test_a_left_closed_candle_closes_at_the_trade_on_its_end():
    candles = book("left")
    assert len(fold(candles, (1, 1, 7, 1), (59.999999999, 1, 8, 1)).closed) == 0
    assert brief(fold(candles, (60, 1, 9, 1)).closed) == [("1m", 60, 7, 8, 7, 8, 2, 2)]


def test_what_a_row_closes_comes_before_its_own_trade_and_names_the_row():
    candles = book()
    told = fold(candles, (1, 1, 7, 1), (301, 1, 9, 1), (361, 1, 5, 1), offset=3)
    flat = [("1m", end, 7, 7, 7, 7, 0, 0) for end in (120, 180, 240, 300)]
    five = ("5m", 300, 7, 7, 7, 7, 1, 1)
    assert brief(told.closed) == [("1m", 60, 7, 7, 7, 7, 1, 1), *flat, five, ("1m", 360, 9, 9, 9, 9, 1, 1)]
    assert told.closed["row"].tolist() == [1] * 6 + [2]
    assert told.closed["flags"].tolist() == [0] + [CandleFlag.EMPTY] * 4 + [0, 0]


def test_one_row_closes_the_timeframes_of_one_end_from_short_to_long():
    candles = book()
    fold(candles, (12 * 3600 - 1, 1, 7, 1))
    assert [TIMEFRAMES[i] for i in fold(candles, (12 * 3600, CLOCK)).closed["timeframe"]] == list(TIMEFRAMES)


def test_clock_rows_before_the_first_trade_close_nothing():
    candles = book()
    assert len(fold(candles, (600, CLOCK), (601, CLOCK)).closed) == 0
    assert candles.watermark == NOON + 601 * SECOND
    assert brief(fold(candles, (601, 1, 7, 1), (660, CLOCK)).closed) == [("1m", 660, 7, 7, 7, 7, 1, 1)]


def test_with_a_grace_time_several_minutes_are_open_and_take_trades_in_any_order():
    candles = book(grace_s=90)
    assert (
        len(fold(candles, (1, 1, 5, 1), (70, 1, 6, 1), (130, 1, 7, 1), (65, 1, 4, 1), (2, 1, 9, 1)).closed)
        == 0
    )
    told = fold(candles, (210, CLOCK))
    assert brief(told.closed) == [("1m", 60, 5, 9, 5, 9, 2, 2), ("1m", 120, 4, 6, 4, 6, 2, 2)]


def test_open_and_close_go_by_time_and_then_by_arrival():
    candles = book()
    fold(candles, (20, 1, 5, 1), (20, 1, 6, 1), (10, 1, 7, 1), (10, 1, 8, 1), (20, 1, 4, 1), (15, 1, 3, 1))
    assert brief(fold(candles, (60, CLOCK)).closed) == [("1m", 60, 7, 8, 3, 4, 6, 6)]


def test_late_trades_revise_their_closed_candles_once_and_enter_the_open_ones_in_silence():
    candles = book()
    fold(candles, (1, 1, 5, 1), (61, 1, 6, 1))
    told = fold(candles, (2, 1, 9, 3), offset=4)
    assert brief(told.closed) == [("1m", 60, 5, 9, 5, 9, 4, 2)]
    assert told.closed["revision"].tolist() == [1]
    assert told.closed[["first_offset", "last_offset"]].tolist() == [(0, 4)]
    assert told.revising.tolist() == [0]
    assert brief(fold(candles, (300, CLOCK)).closed)[-1] == ("5m", 300, 5, 9, 5, 6, 5, 3)
    told = fold(candles, (3, 1, 1, 1), (60.5, 1, 2, 1), (4, 1, 3, 1))
    assert [(c["timeframe"], int(c["end"] - NOON) // SECOND, c["revision"]) for c in told.closed] == [
        (0, 60, 2),
        (0, 120, 1),
        (1, 300, 1),
    ]
    assert told.closed["row"].tolist() == [3] * 3
    assert brief(told.closed)[0] == ("1m", 60, 5, 9, 1, 3, 6, 4)


def test_thousands_of_backfilled_trades_of_two_minutes_are_a_revision_a_candle():
    candles = book()
    start = 12 * 3600 - 120
    fold(candles, (start + 1, 1, 5, 1), (start + 61, 1, 5, 1), (start + 120, CLOCK))
    told = fold(candles, *[(start + n / 30, LATE_BUY, 5 + n % 7, 1) for n in range(1, 3001)])
    assert [(TIMEFRAMES[c["timeframe"]], c["revision"]) for c in told.closed] == [
        ("1m", 1), *((frame, 1) for frame in TIMEFRAMES),
    ]  # fmt: skip
    assert told.closed["trades"].tolist() == [1801, 1201, 3002, 3002, 3002, 3002, 3002]


def test_a_candle_that_closes_in_the_record_that_revises_it_is_told_twice():
    candles = book()
    told = fold(candles, (1, 1, 5, 1), (61, 1, 6, 1), (2, 1, 9, 1), (120, CLOCK), (3, 1, 8, 1))
    assert [(int(c["end"] - NOON) // SECOND, c["revision"], c["trades"]) for c in told.closed] == [
        (60, 0, 1),
        (120, 0, 1),
        (60, 1, 3),
    ]


def test_a_revised_candle_that_makes_room_for_a_new_one_is_told_before_it():
    candles = book(horizon_ns=2 * MINUTE_NS)
    fold(candles, (1, 1, 5, 1), (61, 1, 6, 1))
    told = fold(candles, (2, 1, 9, 1), (600, CLOCK))
    ones = told.closed[told.closed["timeframe"] == 0]
    assert [(int(c["end"] - NOON) // SECOND, c["revision"]) for c in ones] == [
        (120, 0), (180, 0), (240, 0), (60, 1), *((end, 0) for end in range(300, 601, 60)),
    ]  # fmt: skip
    assert ones["trades"][3] == 2


def test_a_late_trade_fills_an_empty_minute_and_later_flat_minutes_start_from_it():
    candles = book()
    fold(candles, (1, 1, 5, 1), (120, CLOCK))
    told = fold(candles, (100, 1, 8, 2), (180, CLOCK))
    assert brief(told.closed) == [("1m", 180, 8, 8, 8, 8, 0, 0), ("1m", 120, 8, 8, 8, 8, 2, 1)]
    assert told.closed["flags"].tolist() == [CandleFlag.EMPTY, 0]


def test_empty_candles_behind_a_revised_one_take_its_close_up_to_the_next_trade():
    candles = book()
    fold(candles, (1, 1, 5, 1), (1111, 1, 7, 1), (1270, CLOCK))
    told = fold(candles, (2, 1, 6, 1), offset=8)
    revised = brief(told.closed)
    assert [one[1] for one in revised if one[0] == "1m"] == list(range(60, 1081, 60))
    assert revised[1] == ("1m", 120, 6, 6, 6, 6, 0, 0)
    assert [one for one in revised if one[0] != "1m"] == [
        ("5m", 300, 5, 6, 5, 6, 2, 2),
        ("5m", 600, 6, 6, 6, 6, 0, 0),
        ("5m", 900, 6, 6, 6, 6, 0, 0),
        ("15m", 900, 5, 6, 5, 6, 2, 2),
    ]
    assert (told.closed["revision"] == 1).all()
    assert set(told.closed["last_offset"].tolist()) == {8}
    assert brief(fold(candles, (1500, CLOCK)).closed)[-1] == ("5m", 1500, 7, 7, 7, 7, 0, 0)


def test_an_open_longer_candle_without_trades_takes_the_revised_close_too():
    candles = book()
    fold(candles, (250, 1, 5, 1), (420, CLOCK))
    fold(candles, (251, 1, 8, 1))
    assert brief(fold(candles, (600, CLOCK)).closed)[-1] == ("5m", 600, 8, 8, 8, 8, 0, 0)


def test_a_late_trade_that_leaves_the_close_leaves_the_empty_minutes():
    candles = book()
    fold(candles, (20, 1, 5, 1), (240, CLOCK))
    assert brief(fold(candles, (10, 1, 9, 1)).closed) == [("1m", 60, 9, 9, 5, 5, 2, 2)]


def test_a_trade_beyond_the_horizon_or_before_the_first_candle_is_late_and_changes_nothing():
    candles = book(horizon_ns=2 * MINUTE_NS)
    fold(candles, (60.5, 1, 5, 1), (180, CLOCK))
    before = candles.state()
    told = fold(candles, (1, 1, 9, 1), (59, 1, 9, 1))
    assert (len(told.closed), told.late.tolist(), told.revising.tolist()) == (0, [0, 1], [])
    assert candles.state() == before
    assert fold(candles, (240, CLOCK), (100, 1, 9, 1)).late.tolist() == [1]


def test_backfill_moves_no_watermark_and_closes_nothing():
    candles = book()
    told = fold(candles, (1, LATE_BUY, 5, 1), (500, LATE_BUY, 6, 1), (100, LATE_BUY, 7, 1))
    assert (len(told.closed), candles.watermark) == (0, -1)
    told = fold(candles, (540, CLOCK))
    volumes = told.closed[told.closed["timeframe"] == 0]["volume"]
    assert volumes.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1]


def test_a_gap_marks_open_and_coming_minutes_at_their_close_and_closed_ones_by_a_revision():
    candles = book()
    fold(candles, (1, 1, 5, 1), (61, 1, 6, 1))
    told = candles.gap(NOON + 50 * SECOND, NOON + 130 * SECOND, 7)
    assert [(int(c["end"] - NOON) // SECOND, c["revision"], c["flags"]) for c in told.closed] == [(60, 1, 2)]
    told = fold(candles, (300, CLOCK))
    assert told.closed["flags"].tolist() == [2, 3, 1, 1, 2]
    told = candles.gap_filled(NOON + 50 * SECOND, NOON + 60 * SECOND, 8)
    assert [(c["timeframe"], c["revision"], c["flags"]) for c in told.closed] == [(0, 2, 0)]
    told = candles.gap_filled(NOON + 60 * SECOND, NOON + 130 * SECOND, 9)
    assert [(c["timeframe"], c["revision"], c["flags"]) for c in told.closed] == [
        (0, 1, 0),
        (0, 1, 1),
        (1, 1, 0),
    ]
    assert told.closed["last_offset"].tolist() == [0, 9, 0]


def test_a_gap_marked_while_longer_candles_are_open_is_counted_in_them_once():
    candles = book()
    fold(candles, (1, 1, 5, 1), (301, 1, 5, 1), (361, 1, 6, 1))
    candles.gap(NOON + 310 * SECOND, NOON + 320 * SECOND, 1)
    assert fold(candles, (600, CLOCK)).closed[-1][["timeframe", "flags"]].tolist() == (1, 2)
    told = candles.gap_filled(NOON + 310 * SECOND, NOON + 320 * SECOND, 2)
    assert told.closed[["timeframe", "flags"]].tolist() == [(0, 0), (1, 0)]
    assert fold(candles, (900, CLOCK)).closed[-1][["timeframe", "flags"]].tolist() == (2, 0)


def test_a_gap_filled_before_the_close_leaves_no_mark():
    candles = book()
    fold(candles, (1, 1, 5, 1))
    candles.gap(NOON, NOON + 60 * SECOND, 1)
    candles.gap_filled(NOON, NOON + 60 * SECOND, 2)
    assert fold(candles, (60, CLOCK)).closed["flags"].tolist() == [0]


def test_a_silence_of_a_year_closes_every_minute_of_it():
    candles = book()
    fold(candles, (1, 1, 5, 1))
    minutes = 525_600
    closed = fold(candles, (minutes * 60, CLOCK), offset=2).closed
    for i, length in enumerate(TIMEFRAMES_NS.values()):
        ends = closed["end"][closed["timeframe"] == i]
        assert len(ends) == len(
            range(NOON // length * length, NOON + minutes * MINUTE_NS - length + 1, length)
        )
        assert (np.diff(ends) == length).all()
    assert (closed["close"] == 5).all()
    assert closed["volume"].sum() == len(TIMEFRAMES)


def test_many_open_minutes_are_kept_and_close_in_order():
    candles = book(grace_s=0)
    rows = [(60 * i + 30, LATE_BUY, i + 1, 1) for i in reversed(range(1, 500))]
    fold(candles, (30, 1, 1, 1), *rows)
    restored = CandleBook.restore(candles.state())
    ones = [fold(b, (500 * 60, CLOCK)).closed for b in (candles, restored)]
    assert ones[0].tolist() == ones[1].tolist()
    assert ones[0][ones[0]["timeframe"] == 0]["close"].tolist() == list(range(1, 501))


def test_more_late_trades_than_a_buffer_holds_are_all_reported():
    candles = book(horizon_ns=0)
    fold(candles, (1, 1, 5, 1), (600, CLOCK))
    assert fold(candles, *[(2, 1, 5, 1)] * 5000).late.tolist() == list(range(5000))
    candles = book()
    fold(candles, (1, 1, 5, 1), (600, CLOCK))
    told = fold(candles, *[(2, 1, 5, 1)] * 5000)
    assert told.revising.tolist() == list(range(5000))
    assert told.closed[["revision", "trades"]].tolist() == [(1, 5001), (1, 5001)]


def test_more_revisions_than_a_buffer_holds_are_all_told():
    candles = book(horizon_ns=7 * 1440 * MINUTE_NS)
    fold(candles, (1, 1, 5, 1), (5 * 86_400, CLOCK))
    told = fold(candles, (2, 1, 6, 1))
    ones = told.closed[told.closed["timeframe"] == 0]
    assert np.array_equal(ones["end"], NOON + np.arange(1, 5 * 1440 + 1) * MINUTE_NS)
    assert (told.closed["close"] == 6).all()
    assert (told.closed["revision"] == 1).all()


def test_a_change_of_the_records_is_a_change_of_the_file_that_is_compiled():
    assert sha256(Path(kernel_records.__file__).read_bytes()).hexdigest() == kernel.RECORDS_SHA256


def test_the_forming_candle_is_the_open_minute():
    candles = book()
    assert candles.forming() is None
    fold(candles, (1, 1, 5, 1), (2, 1, 7, 2))
    forming = candles.forming()
    assert forming is not None
    assert (forming["open"], forming["close"], forming["volume"]) == (5, 7, 3)
    fold(candles, (60, CLOCK))
    assert candles.forming() is None


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        ((2, 1, 0, 1), ValueError, "row 1: price 0 is not positive"),
        ((2, 1, -3, 1), ValueError, "row 1: price -3 is not positive"),
        ((2, 1, 5, 0), ValueError, "row 1: size 0 is not positive"),
        ((2, 1, 2**53 + 1, 1), OverflowError, "row 1: price 9007199254740993 is beyond 2"),
        ((2, 1, 5, 2**63 - 1), OverflowError, "row 1: size 9223372036854775807 is beyond 2"),
        ((2, 9, 5, 1), ValueError, "row 1: kind 9 is none of RowKind"),
        ((2, CLOCK | BACKFILL), ValueError, "row 1: kind 131 is none of RowKind"),
        ((-NOON / SECOND - 1, 1, 5, 1), ValueError, "row 1: time -1000000000 is outside"),
        ((6 * 366 * 86_400, CLOCK), ValueError, "row 1: time .* more than five years after"),
    ],
)
def test_a_bad_row_is_refused_by_its_number_and_value(row, error, words):
    with pytest.raises(error, match=words):
        fold(book(), (1, 1, 5, 1), row)


def test_a_bad_late_trade_is_refused_too():
    candles = book(horizon_ns=0)
    fold(candles, (1, 1, 5, 1), (600, CLOCK))
    with pytest.raises(ValueError, match="row 0: price -1 is not positive"):
        fold(candles, (1, 1, -1, 1))


def test_a_volume_beyond_its_range_is_refused_not_wrapped():
    candles = book()
    largest = [(1, 1, 5, 2**53)] * 512
    fold(candles, *largest)
    with pytest.raises(OverflowError, match=r"row 0 \(size 1\): the volume of a candle would pass 2"):
        fold(candles, (2, 1, 5, 1))


def test_a_merged_volume_beyond_its_range_is_refused_not_wrapped():
    candles = book()
    fold(candles, *[(1, 1, 5, 2**53)] * 512, *[(61, 1, 5, 2**53)] * 512)
    with pytest.raises(OverflowError, match="volume"):
        fold(candles, (120, CLOCK))


def test_columns_of_different_lengths_are_refused():
    time, kind = np.array([NOON, NOON]), np.zeros(2, np.uint8)
    with pytest.raises(ValueError, match="columns differ in length: 2, 1, 2, 2"):
        book().fold(time, time[:1], time, kind, 0)


def test_rescaling_beyond_the_range_is_refused_and_changes_nothing():
    candles = book()
    fold(candles, (1, 1, 2**50, 2**50))
    before = candles.state()
    with pytest.raises(OverflowError, match="price 1125899906842624 × 10 is beyond"):
        candles.rescale(10, 1)
    with pytest.raises(OverflowError, match="volume 1125899906842624 × 10000 is beyond"):
        candles.rescale(1, 10_000)
    assert candles.state() == before


def test_columns_read_from_bytes_are_folded_as_they_are():
    candles = book()
    column = np.frombuffer(np.array([NOON + 1, NOON + MINUTE_NS + 1]).tobytes(), np.int64)
    ones = np.frombuffer(np.ones(2, np.int64).tobytes(), np.int64)
    assert len(candles.fold(column, ones, ones, np.frombuffer(b"\x01\x02", np.uint8), 0).closed) == 1


def test_a_trade_at_the_last_time_there_is_opens_its_candle():
    time, seven, buy = np.array([2**62]), np.array([7]), np.array([1], np.uint8)
    candles = book()
    candles.fold(time, seven, seven, buy, 0)
    forming = candles.forming()
    assert (forming["first_time"], forming["open"]) == (2**62, 7)


def test_state_is_bounded_by_the_horizon():
    candles, sizes = book(), []
    for day in range(1, 8):
        fold(candles, (day * 86_400, 1, 5, 1))
        candles.gap(candles.watermark - 3600 * SECOND, candles.watermark, 0)
        sizes.append(len(candles.state()))
    assert max(sizes[1:]) == min(sizes[1:]) < 40_000


def test_an_unknown_form_of_state_and_a_wrong_configuration_are_refused():
    with pytest.raises(ValueError, match="closed is 'both'"):
        book("both")
    with pytest.raises(ValueError, match="must not be negative"):
        book(grace_s=-1)
    with pytest.raises(ValueError):
        CandleBook.restore(b"nothing")
