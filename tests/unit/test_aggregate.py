"""`aggregate_to_timeframe`: what people hand in, what they get back, and what they are told."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.aggregate import aggregate_to_timeframe
from projections.fold.candles import TIMEFRAMES

NAMES = ["timestamp", "open", "high", "low", "close", "volume"]
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())


def ticks(*rows):
    return [
        {"timestamp": NOON + timedelta(seconds=s), "price": price, "size": size} for s, price, size in rows
    ]


def candles(*arguments, **options):
    return [
        tuple(candle[name] for name in NAMES[1:]) for candle in aggregate_to_timeframe(*arguments, **options)
    ]


def test_candles_are_labelled_with_their_end_and_closed_on_the_right():
    got = list(aggregate_to_timeframe(ticks((1, 10.5, 1.0), (300, 11.0, 2.0), (301, 9.0, 0.5)), "5m"))
    assert [list(candle) for candle in got] == [NAMES, NAMES]
    assert [str(candle["timestamp"]) for candle in got] == [
        "2024-01-01 12:05:00+00:00",
        "2024-01-01 12:10:00+00:00",
    ]
    assert candles(ticks((1, 10.5, 1.0), (300, 11.0, 2.0), (301, 9.0, 0.5)), "5m") == [
        (10.5, 11.0, 10.5, 11.0, 3.0),
        (9.0, 9.0, 9.0, 9.0, 0.5),
    ]


def test_left_closed_candles_take_the_trade_on_their_start():
    assert candles(ticks((0, 1, 1), (60, 2, 1)), "1m", closed="left") == [(1, 1, 1, 1, 1), (2, 2, 2, 2, 1)]


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_the_unfinished_last_candle_is_included_and_nothing_after_it(timeframe):
    end = NOON + pd.Timedelta(3, "h")
    got = list(aggregate_to_timeframe(ticks((0.5, 1, 1), (3 * 3600 - 1, 2, 1)), timeframe))
    assert got[-1]["close"] == 2
    assert end <= got[-1]["timestamp"] < end + pd.Timedelta(1, "D")
    assert sum(candle["volume"] for candle in got) == 2


def test_minutes_without_trades_are_flat_with_volume_zero():
    got = candles(ticks((1, "1.5", "2"), (200, "1.7", "1")), "1m")
    flat = (Decimal("1.5"),) * 4
    assert got == [(*flat, 2), (*flat, 0), (*flat, 0), (*(Decimal("1.7"),) * 4, 1)]
    assert all(isinstance(value, Decimal) for candle in got for value in candle)


def test_trades_may_come_in_any_order_and_equal_times_keep_theirs():
    rows = ticks((5, 3, 1), (1, 1, 1), (5, 4, 1), (1, 2, 1))
    assert candles(rows, "1m") == [(1, 4, 1, 4, 4)]


def test_floats_are_summed_as_the_decimals_they_show():
    rows = ticks(*[(1, 100.1, 0.1)] * 10, (2, 100.3, 0.7))
    assert candles(rows, "1m") == [(100.1, 100.3, 100.1, 100.3, 1.7)]


def test_strings_and_decimals_stay_exact_however_long():
    rows = ticks(
        (1, "0.1234567890123456789", "1e-20"), (2, Decimal("123456789012345678901"), Decimal(10) ** 20)
    )
    (first, high, _, _, volume) = candles(rows, "1m")[0]
    assert (str(first), str(high)) == ("0.1234567890123456789", "123456789012345678901")
    assert volume == Decimal("100000000000000000000.00000000000000000001")


def test_ints_give_ints_also_beyond_64_bits():
    got = candles(ticks((1, 7, 2**62), (2, 7, 2**62), (3, 7, 2**62)), "1m")
    assert got == [(7, 7, 7, 7, 3 * 2**62)]
    assert candles(ticks((1, 10**30, 10**30)), "1m") == [(10**30,) * 5]


def test_a_negative_size_is_a_sale():
    assert candles(ticks((1, 5, -3), (2, 5, 4)), "1m") == [(5, 5, 5, 5, 7)]


TIMES = {
    "seconds": [NOON_S, NOON_S + 1],
    "float seconds": [NOON_S + 0.25, NOON_S + 1.5],
    "milliseconds": [NOON_S * 1000, NOON_S * 1000 + 1],
    "microseconds": [NOON_S * 10**6, NOON_S * 10**6 + 1],
    "nanoseconds": [NOON_S * 10**9, NOON_S * 10**9 + 1],
    "ISO": ["2024-01-01T12:00:00Z", "2024-01-01T12:00:00.5+00:00"],
    "ISO without a zone": ["2024-01-01 12:00:00", "2024-01-01 12:00:01"],
    "datetimes": [NOON, (NOON + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=5)))],
    "datetime64": np.array(["2024-01-01T12:00:00", "2024-01-01T12:00:00.1"], "datetime64[ms]"),
}


@pytest.mark.parametrize("form", TIMES)
def test_times_are_taken_in_every_usual_form(form):
    columns = {"time": TIMES[form], "price": [1, 2], "qty": [1, 1]}
    ends = [c["timestamp"] for c in aggregate_to_timeframe(columns, "1m", closed="left")]
    assert ends == [pd.Timestamp("2024-01-01T12:01:00Z")]
    assert candles(columns, "1m", closed="left") == [(1, 2, 1, 2, 2)]


@pytest.mark.parametrize("size", ["size", "amount", "volume", "quantity", "Qty"])
def test_frames_columns_and_structured_arrays_give_the_same_as_rows(size):
    frame = pd.DataFrame({"Price": [1.5, 2.5], size: [1.0, 2.0], "timestamp": [NOON_S, NOON_S + 1]})
    expected = [(1.5, 2.5, 1.5, 2.5, 3.0)]
    assert candles(frame, "1m", closed="left") == expected
    assert candles(frame.to_dict("records"), "1m", closed="left") == expected
    assert candles(frame.to_dict("list"), "1m", closed="left") == expected
    assert candles(frame.to_records(index=False), "1m", closed="left") == expected
    frame.index = pd.DatetimeIndex(pd.to_datetime(frame.pop("timestamp"), unit="s"))
    assert candles(frame.rename_axis(None), "1m", closed="left") == expected


def test_no_ticks_give_no_candles():
    assert candles([], "1m") == []
    assert candles(pd.DataFrame({"time": [], "price": [], "size": []}), "1m") == []


@pytest.mark.parametrize(
    ("rows", "timeframe", "words"),
    [
        (ticks((1, 1, 1)), "2m", "timeframe '2m' is unknown; it must be one of 1m, 5m"),
        ([{"timestamp": NOON, "price": 1}], "1m", "no column with the size among timestamp, price"),
        ([*ticks((1, 1, 1)), {"timestamp": NOON, "price": 1}], "1m", "row 1: 'size' is missing"),
        ([1], "1m", "row 0: 1 is no mapping"),
        (ticks((1, 1.0, 1), (2, float("nan"), 1)), "1m", "row 1: price nan is not a number"),
        (ticks((1, 1.0, 1), (2, 0.0, 1)), "1m", "row 1: price 0.0 is not positive"),
        (ticks((1, 1, 1), (2, -5, 1)), "1m", "row 1: price -5 is not positive"),
        (ticks((1, "1", 1), (2, "x", 1)), "1m", "row 1: price 'x' is not a number"),
        (ticks((1, 1, 1), (2, None, 1)), "1m", "row 1: price None is not a number"),
        (ticks((1, 1, True), (2, 1, True)), "1m", "row 0: size True is not a number"),
        (ticks((1, 1, 1), (2, 1, 0)), "1m", "row 1: size 0 is zero"),
        (ticks((1, 1, "1e5000")), "1m", "row 0: size '1e5000' has more than 1000 digits"),
        ({"time": [NOON_S, -1], "price": [1, 1], "size": [1, 1]}, "1m", "row 1: time -1 is before 1970"),
        (
            {"time": ["2024-01-01", "soon"], "price": [1, 1], "size": [1, 1]},
            "1m",
            "row 1: time 'soon' is no time",
        ),
        ({"time": [NOON, None], "price": [1, 1], "size": [1, 1]}, "1m", "row 1: time NaT is missing"),
        ({"time": [1e18, np.nan], "price": [1, 1], "size": [1, 1]}, "1m", "row 1: time nan is missing"),
        ({"time": [2**62 + 1], "price": [1], "size": [1]}, "1m", "row 0: time .* is after the year 2116"),
        (
            {"time": [NOON_S], "price": [1, 2], "size": [1]},
            "1m",
            "columns differ in length: 1 times, 2 prices",
        ),
    ],
)
def test_bad_input_is_refused_by_row_and_value(rows, timeframe, words):
    with pytest.raises(ValueError, match=words):
        aggregate_to_timeframe(rows, timeframe)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="closed is 'both'"):
        list(aggregate_to_timeframe(ticks((1, 1, 1)), "1m", closed="both"))


decimals = st.decimals("1e-12", "1e9", allow_nan=False, places=9).filter(bool)
floats = st.one_of(st.floats(1e-12, 1e12), st.integers(1, 10**12).map(lambda n: n / 10**6))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 900), decimals | floats, decimals | floats), min_size=1, max_size=30)
)
def test_volumes_are_the_correctly_rounded_exact_sums(rows):
    def kind(values):
        return Decimal if any(isinstance(value, Decimal) for value in values) else float

    frame = pd.DataFrame(aggregate_to_timeframe(ticks(*rows), "1m"))
    price_kind, size_kind = kind([row[1] for row in rows]), kind([row[2] for row in rows])
    for candle in frame.to_dict("records"):
        end = (candle["timestamp"] - NOON).total_seconds()
        inside = [row for row in rows if end - 60 < row[0] <= end]
        exact = sum((Fraction(str(size)) for _, _, size in inside), Fraction(0))
        expected = float(exact) if size_kind is float else exact
        assert (candle["volume"] if size_kind is float else Fraction(candle["volume"])) == expected
        if inside:
            assert candle["high"] == max(price_kind(str(price)) for _, price, _ in inside)
