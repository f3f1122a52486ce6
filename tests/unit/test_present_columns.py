"""Columns are shown exactly as single values are, whatever their sign, scale or precision."""

import csv
import io
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from api.columns import CANDLES, DECIMAL
from api.http.formats import arrow_of, csv_of
from infra.present.columns import decimal_strings, decimals, iso_strings
from infra.present.facts import CANDLE_COLUMNS
from infra.present.values import decimal_string, iso

OHLC = ("open", "high", "low", "close")
INT64 = np.iinfo(np.int64)
MINUTE_NS = 60_000_000_000
EDGES = (0, 1, -1, 9, -9, 10, -10, 99, -100, 10**8, -(10**8), 10**18, INT64.max, INT64.min, INT64.min + 1)


def integers(chosen: random.Random, rows: int) -> np.ndarray:
    drawn = [chosen.randint(-(10**size), 10**size) for size in chosen.choices(range(1, 19), k=rows)]
    return np.array([*EDGES, *drawn], np.int64)


@pytest.mark.parametrize("scale", [-3, -1, 0, 1, 2, 8, 18, 19, 25])
def test_decimals_read_as_single_ones(scale: int) -> None:
    values = integers(random.Random(scale), 2_000)
    expected = [decimal_string(value, scale) for value in values.tolist()]
    assert decimal_strings(values, scale).to_pylist() == expected


@pytest.mark.parametrize("scale", [-1, 0, 2, 8, 18])
def test_binary_decimals_have_the_value_of_the_text(scale: int) -> None:
    values = integers(random.Random(scale), 500) // 10  # 20 digits of whole numbers are what the type holds
    expected = [Decimal(decimal_string(value, scale)) for value in values.tolist()]
    assert decimals(values, scale, pa.decimal128(*DECIMAL)).to_pylist() == expected


def test_a_decimal_that_the_type_cannot_hold_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        decimals(np.array([1]), 19, pa.decimal128(*DECIMAL))


def test_times_have_the_decimals_that_each_needs() -> None:
    chosen = random.Random(1)
    whole = [chosen.randrange(-(2**33), 2**33) for _ in range(500)]
    times = [s * 10**9 + f for s in whole for f in (0, 1, 10**3, 10**6, chosen.randrange(10**9))]
    times += [0, -1, int(INT64.max), int(INT64.min) + 1]
    assert iso_strings(np.array(times)).to_pylist() == [iso(time) for time in times]


def candle_rows(rows: int) -> list[tuple[Any, ...]]:
    """Of a market whose steps were made finer twice."""
    chosen, made = random.Random(7), []
    for number in range(rows):
        scales = (number * 3 // rows, 8 + (number > rows // 2))
        prices = [chosen.randint(-(10**9), 10**12) for _ in OHLC]
        end = number * MINUTE_NS + chosen.choice((0, 1, 1_000, 1_000_000))
        volume, trades = chosen.choice((0, 10**15)), chosen.randrange(100)
        row = (end, "1m", 0, *prices, volume, trades, *scales, number % 3 == 0, number % 5 == 0)
        made.append(row)
    return made


def row_by_row(rows: list[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CANDLES)
    for row in rows:
        have = dict(zip(CANDLE_COLUMNS, row, strict=True))
        prices = [decimal_string(have[name], have["price_scale"]) for name in OHLC]
        flags = [str(have[name]).lower() for name in ("empty", "incomplete")]
        volume = decimal_string(have["volume"], have["size_scale"])
        head = [iso(have["timestamp"]), have["timeframe"], have["revision"]]
        writer.writerow([*head, *prices, volume, have["trades"], *flags])
    return text.getvalue().encode()


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_an_export_by_columns_is_the_one_row_by_row(chunk: int) -> None:
    rows: list[Any] = candle_rows(500)
    chunks = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
    text = b"".join(csv_of(chunks))
    assert text == row_by_row(rows)
    table = pa.ipc.open_stream(b"".join(arrow_of(chunks))).read_all()
    assert table.schema.names == list(CANDLES)
    lines = list(csv.DictReader(io.StringIO(text.decode())))
    for name in (*OHLC, "volume"):
        assert table[name].to_pylist() == [Decimal(line[name]) for line in lines]
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [row[0] for row in rows]
    assert table["empty"].to_pylist() == [line["empty"] == "true" for line in lines]


def test_an_export_of_nothing_is_a_header() -> None:
    assert b"".join(csv_of([[]])) == row_by_row([])
    assert pa.ipc.open_stream(b"".join(arrow_of([[]]))).read_all().num_rows == 0
