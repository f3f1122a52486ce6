"""Columns become exact integers; what cannot be exact is marked, never rounded."""

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.exchange import convert, forms
from streams.events import RowKind
from streams.ticks import NO_ID

FEW = settings(max_examples=80, deadline=None)


def by_decimal(value, scale: int) -> int | None:
    """The definition, with fractions of Python's own."""
    number = Decimal(str(value))
    if not number.is_finite():
        return None
    numerator, denominator = number.as_integer_ratio()
    if (numerator * 10**scale) % denominator:
        return None
    scaled = numerator * 10**scale // denominator
    return scaled if abs(scaled) <= 2**63 - 1 else None


def got(converted: convert.Converted) -> list[int | None]:
    return [int(v) if ok else None for v, ok in zip(converted.values, converted.ok, strict=True)]


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str)), st.integers(0, 9))
@FEW
def test_texts_become_their_decimal_value_or_nothing(texts, scale):
    column = pa.array(texts, pa.string())
    assert got(convert.decimals(column, scale)) == [by_decimal(t, scale) for t in texts]


@given(st.lists(st.floats(width=64)), st.integers(0, 12))
@FEW
def test_floats_become_their_shortest_decimal_or_nothing(floats, scale):
    column = pa.array(floats, pa.float64())
    assert got(convert.decimals(column, scale)) == [
        by_decimal(x, scale) if math.isfinite(x) else None for x in floats
    ]


@given(st.lists(st.integers(-(10**15), 10**15)), st.integers(0, 8))
@FEW
def test_floats_of_decimals_give_those_decimals_back(numbers, scale):
    column = pa.array([float(Decimal(n).scaleb(-scale)) for n in numbers], pa.float64())
    assert got(convert.decimals(column, scale)) == numbers


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)), st.integers(0, 6))
@FEW
def test_single_precision_floats_mean_their_own_shortest_decimal(floats, scale):
    column = pa.array(floats, pa.float32())
    expected = [by_decimal(np.float32(x), scale) for x in floats]
    assert got(convert.decimals(column, scale)) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.integers(0, 9))
@FEW
def test_integers_are_scaled_or_refused_never_wrapped(numbers, scale):
    column = pa.array(numbers, pa.int64())
    assert got(convert.decimals(column, scale)) == [by_decimal(n, scale) for n in numbers]


def test_unsigned_integers_beyond_int64_are_refused():
    column = pa.array([1, 2**63, 2**64 - 1], pa.uint64())
    assert got(convert.decimals(column, 0)) == [1, None, None]


def test_decimal_columns_and_slices_keep_their_rows():
    column = pa.array([Decimal("1.10"), None, Decimal("-2.25"), Decimal("3.00")])
    assert got(convert.decimals(column.slice(1), 2)) == [None, -225, 300]
    assert got(convert.decimals(column.slice(1), 1)) == [None, None, 30]


@pytest.mark.parametrize("text", ["", "abc", "NaN", "inf", "1_000", "0x10", "1e400", "1.5.1", "--1"])
def test_texts_that_are_no_number_are_not_ok_and_their_neighbours_are(text):
    assert got(convert.decimals(pa.array(["1.5", text, "2"]), 1)) == [15, None, 20]


def test_exponents_spaces_and_trailing_zeros_are_read():
    texts = pa.array(["1e2", "1.5E-1", " 7 ", "2.5000000000", "+3"])
    assert got(convert.decimals(texts, 2)) == [10000, 15, 700, 250, 300]


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1385337600, "s"),
        ("1385337600.5", "s"),
        (1514764802610, "ms"),
        (1514764802610123, "us"),
        (1514764802610123456, "ns"),
        ("2018-01-01T00:00:02Z", "iso"),
    ],
)
def test_the_unit_of_a_time_is_known_by_its_magnitude(value, unit):
    assert forms.time_unit(value) == unit


T = 1514764802610000000


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        (pa.array([T // 10**6]), "ms"),
        (pa.array([T // 10**3]), "us"),
        (pa.array([T]), "ns"),
        (pa.array([str(T // 10**6)]), "ms"),
        (pa.array(["1514764802.61"]), "s"),
        (pa.array([1514764802.61]), "s"),
        (pa.array([float(T // 10**6)]), "ms"),
        (pa.array(["2018-01-01T00:00:02.610Z"]), "iso"),
        (pa.array(["2018-01-01 00:00:02.61"]), "iso"),
        (pa.array(["2018-01-01T01:00:02.610+01:00"]), "iso"),
        (pa.array(["2018-01-01D00:00:02.610000000"]), "iso"),
        (pa.array([T // 10**6]).cast(pa.timestamp("ms")), "iso"),
        (pa.array([T]).cast(pa.timestamp("ns", "UTC")), "iso"),
    ],
)
def test_times_of_every_form_become_nanoseconds(column, unit):
    assert got(convert.times(column, unit)) == [T]


def test_one_wrong_time_spoils_no_other():
    texts = pa.array(["2018-01-01T00:00:02.610Z", "yesterday", None, "2018-01-01 00:00:02.610"])
    assert got(convert.times(texts, "iso")) == [T, None, None, T]
    assert got(convert.times(pa.array([0, -5, 2**62, 1]), "s")) == [None, None, None, 10**9]
    assert got(convert.times(pa.array([math.nan, math.inf, 1e300]), "s")) == [None, None, None]


def test_sides_are_the_takers():
    words = pa.array(["buy", "Sell", "B", "s", None, "?"])
    kinds, ok = convert.sides(words, maker=False)
    assert ok.tolist() == [True] * 5 + [False]
    assert kinds[:5].tolist() == [
        RowKind.BUY, RowKind.SELL, RowKind.BUY, RowKind.SELL, RowKind.TRADE,
    ]  # fmt: skip


@pytest.mark.parametrize("column", [pa.array([True, False]), pa.array(["True", "false"]), pa.array([1, 0])])
def test_a_buyer_who_is_the_maker_means_a_seller_who_takes(column):
    assert convert.sides(column, maker=True).values.tolist() == [RowKind.SELL, RowKind.BUY]


def test_ids_are_whole_numbers_or_absent():
    assert got(convert.ids(pa.array(["7", None, "8", "x", "-1"]))) == [7, NO_ID, 8, None, None]
