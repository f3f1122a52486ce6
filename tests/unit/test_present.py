"""How integers, times and events look at the doors."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from infra.present.records import decoded
from infra.present.values import decimal_string, event_to_json, iso, parse_time
from streams.causes import Cause
from streams.codec import encode
from streams.events import (
    BACKFILL,
    CreateBot,
    Market,
    RowKind,
    RowMarket,
    Sizing,
)
from streams.journal import event_tag
from streams.records import Input, Record
from streams.ticks import Ticks, pack
from streams.topics import JOURNAL
from tests.derived import candle, checkpoint, equity, fill, order, signal
from tests.journal import batch, spot

TIME = 1_514_797_500_000_000_000
INT64 = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("value", "scale", "shown"),
    [
        (0, 0, "0"),
        (0, 2, "0.00"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (130_005, 1, "13000.5"),
        (-1_234, 3, "-1.234"),
        (7, 0, "7"),
        (-(2**63), 18, "-9.223372036854775808"),
    ],
)
def test_an_integer_with_a_scale_is_shown_exactly(value: int, scale: int, shown: str) -> None:
    assert decimal_string(value, scale) == shown


@pytest.mark.parametrize(
    ("time_ns", "shown"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (TIME, "2018-01-01T09:05:00Z"),
        (TIME + 7_000_000, "2018-01-01T09:05:00.007Z"),
        (TIME + 7_000, "2018-01-01T09:05:00.000007Z"),
        (TIME + 123_456_789, "2018-01-01T09:05:00.123456789Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_time_has_as_many_decimals_as_it_needs(time_ns: int, shown: str) -> None:
    assert iso(time_ns) == shown


@given(INT64)
def test_every_time_survives_the_way_through_text(time_ns: int) -> None:
    assert parse_time(iso(time_ns)) == time_ns


@given(st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)))
def test_times_are_those_of_the_standard_library(when: datetime) -> None:
    aware = when.replace(tzinfo=UTC)
    microseconds = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_time(aware.isoformat()) == microseconds * 1_000


@pytest.mark.parametrize(
    "text",
    [
        "2018-01-01T10:05:00+01:00",
        "2018-01-01T09:05",
        "2018-01-01 09:05:00",
        "2018-01-01T09:05:00.000000000Z",
        "20180101T090500Z",
    ],
)
def test_other_ways_to_write_a_time_are_read(text: str) -> None:
    assert parse_time(text) == TIME


def test_a_date_is_its_midnight_in_utc() -> None:
    assert iso(parse_time("2018-01-01")) == "2018-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2018-13-01", "1514797500", "2018-01-01T09:05:00.1234567891Z"]
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"time .* (write it as 2018-01-01T09:05:00Z|whole nanoseconds)"):
        parse_time(text)


def test_money_sizes_and_prices_are_shown_at_the_events_own_scales() -> None:
    money = {"realised_pnl": -1, "position": -20, "cost": 15, "cash": 99, "size_scale": 2}
    event = fill(timestamp=TIME, size=2_000, closes=3, **money)
    assert event_to_json(event) == {
        "bot_id": 1,
        "timestamp": "2018-01-01T09:05:00Z",
        "order_id": "1:5:0",
        "side": "buy",
        "price": "13001.0",
        "size": "20.00",
        "fee": "0.00000250",
        "fee_currency": "BTC",
        "realised_pnl": "-0.00000001",
        "position": "-0.20",
        "cost": "0.00000015",
        "cash": "0.00000099",
        "price_scale": 1,
        "size_scale": 2,
        "cash_scale": 8,
        "row": 17,
        "opens": 0,
        "closes": 3,
    }
    assert event_tag(event) == "fill.v1"


def test_what_is_not_content_can_be_left_out() -> None:
    shown, content = event_to_json(candle()), event_to_json(candle(), content_only=True)
    assert shown.keys() - content.keys() == {"first_offset", "last_offset"}
    event = order(signal=Cause(1, 2, 3))
    assert event_to_json(event)["signal"] == "1:2:3"
    assert "signal" not in event_to_json(event, content_only=True)
    assert event_to_json(checkpoint(), content_only=True) == {}


def test_columns_of_money_are_lists_of_decimals() -> None:
    shown = event_to_json(equity(1, 2, cash=(100, 200), position=(-5, 0), cash_scale=2))
    assert (shown["bot_id"], shown["cash"], shown["position"]) == ([1, 2], ["1.00", "2.00"], ["-5", "0"])


def test_rates_parameters_and_sizings_are_readable() -> None:
    market = Market(
        venue="bitmex",
        symbol="BTC/USD:BTC",
        base="BTC",
        quote="USD",
        settle="BTC",
        contract="inverse",
        price_scale=1,
        size_scale=0,
        cash_scale=8,
        price_step=5,
        size_step=1,
        min_size=1,
        fee=75_000,
        multiplier=5,
        multiplier_scale=1,
    )
    shown = event_to_json(market)
    assert (shown["fee"], shown["price_step"], shown["min_size"]) == ("0.00075000", "0.5", "1")
    assert (shown["multiplier"], shown["status"]) == ("0.5", "trading")
    sizing = Sizing("cash", 150, 2)
    command = CreateBot(
        request="r", who="w", at=TIME, bot_id=1, market="m:s", timeframe="1m", strategy="sma_cross",
        code_hash="c0de", code_check="", params={"fast": 7, "slow": 0.5}, sizing=sizing, short=False,
        cash=100, cash_scale=2,
    )  # fmt: skip
    shown = event_to_json(command)
    assert (shown["params"], shown["cash"]) == ({"fast": 7, "slow": 0.5}, "1.00")
    assert shown["sizing"] == "cash:1.50"


def test_indicator_values_stay_numbers() -> None:
    shown = event_to_json(signal(values={"fast": 0.1}, price=5, price_scale=0))
    assert (shown["values"], shown["target"], shown["price"]) == ({"fast": 0.1}, 1.0, "5")
    assert json.loads(json.dumps(shown)) == shown


def test_a_batch_of_ticks_is_a_list_of_rows() -> None:
    markets = (RowMarket("sim:A/USD", 1, 0), RowMarket("sim:B/USD", 2, 3))
    kinds = [RowKind.BUY, RowKind.SELL | BACKFILL, RowKind.CLOCK]
    ticks = Ticks(
        np.array([0, 1, 1], np.uint16),
        np.array(kinds, np.uint8),
        np.array([TIME, TIME + 1, TIME + 1_000_000], np.int64),
        np.array([105, 105, 0], np.int64),
        np.array([7, 7, 0], np.int64),
        np.array([-1, 99, -1], np.int64),
    )
    shown = event_to_json(pack(markets, ticks, first_row=40))
    assert shown["first_row"] == 40
    assert shown["rows"] == [
        {
            "market": "sim:A/USD",
            "kind": "buy",
            "time": "2018-01-01T09:05:00Z",
            "price": "10.5",
            "size": "7",
            "id": None,
            "backfill": False,
        },
        {
            "market": "sim:B/USD",
            "kind": "sell",
            "time": "2018-01-01T09:05:00.000000001Z",
            "price": "1.05",
            "size": "0.007",
            "id": 99,
            "backfill": True,
        },
        {"market": "sim:B/USD", "kind": "clock", "time": "2018-01-01T09:05:00.001Z"},
    ]


def test_a_batch_whose_columns_lie_is_shown_as_undecodable() -> None:
    lying = replace(batch(spot(), [(1, 100, 5)]), rows=10**15)
    ((_, kind, event),) = decoded(Record(JOURNAL, 0, 1, 0, b"k", encode(Input("s", 0, 0, lying))))
    assert kind == "undecodable"
    assert "column 'kind' has 1 bytes" in event["reason"]
