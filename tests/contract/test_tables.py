"""What the tables of every database say."""

from typing import Any

from sqlalchemy import Engine, event

from infra.db import queries, tables
from infra.db.pages import Window
from infra.db.projector import DatabaseSink
from infra.present import facts
from infra.present.values import decimal_string
from streams.causes import Cause
from streams.topics import BOTS, CANDLES, SIGNALS, SYSTEM, TRADES
from tests.contract.database_rows import (
    MARKET,
    MINUTE_NS,
    bot,
    bots,
    candles,
    first_fill,
    marks,
    one,
    rows_of,
    signals,
    system_events,
)
from tests.derived import START_NS, bot_changed, candle, equity, order, order_closed, recorded, signal

PARTS = ("partition", "offset", "index")


def orders(engine: Engine) -> list[dict[str, Any]]:
    """With sizes as decimals."""
    return [
        row | {name: decimal_string(row[name], row["size_scale"]) for name in ("size", "filled")}
        for row in rows_of(engine, tables.orders)
    ]


def test_the_newest_revision_of_a_candle_is_shown_unless_all_are_asked_for(
    sink: DatabaseSink, engine: Engine
) -> None:
    sink.apply(
        [one(CANDLES, 0, candle(0), candle(1)), one(CANDLES, 1, candle(0, revision=1, close=14_000_0))]
    )
    newest = candles(engine)
    assert [(row["timestamp"], row["revision"]) for row in newest] == [
        ("2018-01-01T00:01:00Z", 1),
        ("2018-01-01T00:02:00Z", 0),
    ]
    assert list(newest[0].items()) == [
        *(("timestamp", "2018-01-01T00:01:00Z"), ("timeframe", "1m"), ("revision", 1)),
        *(("open", "13999.5"), ("high", "14001.0"), ("low", "13998.0"), ("close", "14000.0")),
        *(("volume", "1234"), ("trades", 7), ("empty", False), ("incomplete", True)),
    ]
    assert [row["revision"] for row in candles(engine, revisions=True)] == [0, 1, 0]


def test_a_range_of_candles_begins_after_from_and_ends_with_to(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(CANDLES, 0, *(candle(minute) for minute in range(5)))])
    chosen = candles(engine, MARKET, START_NS + MINUTE_NS, START_NS + 3 * MINUTE_NS)
    assert [row["timestamp"] for row in chosen] == ["2018-01-01T00:02:00Z", "2018-01-01T00:03:00Z"]


def test_an_order_is_followed_to_its_end_through_any_batches(sink: DatabaseSink, engine: Engine) -> None:
    made = order(signal=Cause(1, 5, 4))
    sink.apply([one(TRADES, 0, made, made, made, cause=5)])
    half = first_fill(size=8)
    grown = first_fill(size=120, size_scale=1)
    sink.apply([one(TRADES, 1, half, first_fill(index=1), cause=6)])
    assert [row["status"] for row in orders(engine)] == ["partial", "filled", "pending"]
    cancelled = order_closed(timestamp=START_NS + 30, order_id=Cause(1, 5, 2))
    sink.apply([one(TRADES, 2, grown, cancelled, cause=7)])
    rows = orders(engine)
    assert [(row["status"], row["code"], row["size"], row["filled"]) for row in rows] == [
        ("filled", "", "20.0", "20.0"),
        ("filled", "", "20", "20"),
        ("cancelled", "new_signal", "20", "0"),
    ]
    assert {tuple(row[f"signal_{part}"] for part in PARTS) for row in rows} == {(1, 5, 4)}


def test_an_earlier_order_is_found_by_its_key_however_many_there_are(
    sink: DatabaseSink, engine: Engine
) -> None:
    statements: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    sink.apply([one(TRADES, 0, first_fill(4, 0), first_fill(4, 1), cause=5)])
    event.remove(Engine, "before_cursor_execute", listen)
    ((reading, keys),) = [s for s in statements if "orders.status" in s[0] and s[0].startswith("WITH")]
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {reading}", keys)]
        assert "SCAN orders" not in plan
        assert [step for step in plan if step.startswith("SEARCH orders USING PRIMARY KEY (bot_id=? AND")]
        return
    with engine.connect() as connection:
        # a table of two rows is sooner read as a whole; the question is whether there is another way
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = [row[0].strip() for row in connection.exec_driver_sql(f"EXPLAIN {reading}", keys)]
    assert [step for step in plan if "Index Scan using pk_orders on orders" in step]
    assert [step for step in plan if step.startswith("Index Cond: ((bot_id = ") and "cause_index = " in step]


def test_fills_add_up_in_the_bots_position_when_a_scale_grows(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(BOTS, 0, bot_changed(1, MARKET))])
    assert (bot(engine, 1)["cash"], bot(engine, 1)["position"]) == ("10000.00000000", "0")
    sink.apply([one(TRADES, 0, first_fill(realised_pnl=-40), first_fill(realised_pnl=100), cause=5)])
    sink.apply([one(TRADES, 1, first_fill(realised_pnl=7, fee=1, cash_scale=9, cash=5, position=0), cause=6)])
    row = bot(engine, 1)
    assert (row["realised_pnl"], row["fees"], row["cash"]) == ("0.000000607", "0.000005001", "0.000000005")
    assert (row["position"], row["status"], row["sizing"]) == ("0", "running", "equity:0.5")


def test_the_newest_state_of_each_bot_is_shown(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(BOTS, 0, bot_changed(1, MARKET), bot_changed(2, MARKET, status="halted"))])
    sink.apply(
        [one(BOTS, 1, bot_changed(1, MARKET, status="stopped"), bot_changed(1, MARKET, status="halted"))]
    )
    assert [(row["bot_id"], row["status"], row["cause"]) for row in bots(engine)] == [
        (1, "halted", "1:1:1"),
        (2, "halted", "1:0:1"),
    ]
    assert (bot(engine, 1)["venue"], bot(engine, 1)["symbol"]) == ("bitmex", "BTC/USD:BTC")
    assert queries.bot(engine, 3) is None
    assert queries.markets(engine) == [MARKET]


def test_a_trade_is_traced_to_its_signal_its_candle_and_the_journal(
    sink: DatabaseSink, engine: Engine
) -> None:
    seen = candle(0, offset=3)
    decided = signal(timestamp=seen.timestamp, candle=Cause(1, 4, 0))
    ordered = order(timestamp=seen.timestamp, signal=Cause(1, 4, 1))
    sink.apply([one(CANDLES, 0, seen, cause=4), one(SIGNALS, 0, decided, cause=4, first=1)])
    sink.apply([one(TRADES, 0, ordered, cause=4, first=2), one(TRADES, 1, first_fill(4, 2), cause=5)])
    (row,) = queries.fills(engine, 1, Window(), lineage=True).rows
    assert list((facts.fill(row) | facts.lineage(row)).items()) == [
        *(("bot_id", 1), ("timestamp", "2018-01-01T00:00:00.000000009Z"), ("order_id", "1:4:2")),
        *(("side", "buy"), ("price", "13001.0"), ("size", "20")),
        *(("fee", "0.00000250"), ("fee_currency", "BTC"), ("realised_pnl", "0.00000000"), ("position", "20")),
        *(("cost", "0.00153800"), ("cash", "9999.99845950"), ("opens", 0), ("closes", 0)),
        *(("cause", "1:5:0"), ("signal", "1:4:1"), ("candle", "1:4:0")),
        *(("candle_timestamp", "2018-01-01T00:01:00Z"), ("candle_records", "1:3-3"), ("trade", "1:5:17")),
    ]
    (shown,) = signals(engine, 1)
    assert (shown["values"], shown["candle"]) == ({"fast": 0.1, "slow": 0.25}, "1:4:0")


def test_a_signal_that_no_candle_made_ends_the_lineage(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(SIGNALS, 0, signal(origin="external"), cause=4)])
    sink.apply([one(TRADES, 0, order(signal=Cause(1, 4, 0)), cause=4, first=1)])
    sink.apply([one(TRADES, 1, first_fill(4, 1), cause=5)])
    (row,) = queries.fills(engine, 1, Window(), lineage=True).rows
    assert list(facts.lineage(row).values()) == ["1:4:0", None, None, None, "1:5:17"]


def test_equity_is_a_row_a_bot(sink: DatabaseSink, engine: Engine) -> None:
    given = {"cash": (10_00, 20_00), "position": (-3, 0), "equity": (10_50, 20_00), "peak": (11_00, 20_00)}
    made = equity(1, 2, **given, unrealised_pnl=(-50, 0), cash_scale=2)
    sink.apply([one(BOTS, 0, made)])
    assert marks(engine, 1) == [
        {
            "timestamp": "2018-01-01T00:00:00Z",
            "mark_price": "13000.5",
            "bot_id": 1,
            "cash": "10.00",
            "position": "-3",
            "equity": "10.50",
            "unrealised_pnl": "-0.50",
            "peak": "11.00",
            "cause": "1:0:0",
        }
    ]


def test_notices_of_the_machinery_are_kept_each_by_its_place(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([r for r in recorded(5) if r.topic == SYSTEM])
    notices = system_events(engine)
    assert {notice["type"] for notice in notices} == {
        "worker_started.v1", "source_hole.v1", "ids_reused.v1", "repeats.v1"
    }  # fmt: skip
    assert len([n for n in notices if n["cause_offset"] < 0]) > 1
