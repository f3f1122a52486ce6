"""What the tables of every database say."""

from typing import Any

from sqlalchemy import Engine, event

from infra.db import queries, tables
from infra.db.projector import DatabaseSink
from infra.present.values import decimal_string
from streams.causes import Cause
from streams.events import Candle, Equity, Order, OrderClosed, Signal
from streams.topics import BOTS, CANDLES, SIGNALS, SYSTEM, TRADES
from tests.contract.database_rows import MARKET, MINUTE_NS, first_fill, one, rows_of, system_events
from tests.derived import START_NS, bot_changed, candle, recorded

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
    newest = list(queries.candles(engine, MARKET, "1m"))
    assert [(row["timestamp"], row["revision"]) for row in newest] == [
        ("2018-01-01T00:01:00Z", 1),
        ("2018-01-01T00:02:00Z", 0),
    ]
    assert list(newest[0].items()) == [
        ("timestamp", "2018-01-01T00:01:00Z"),
        *(("open", "13999.5"), ("high", "14001.0"), ("low", "13998.0"), ("close", "14000.0")),
        *(("volume", "1234"), ("trades", 7), ("revision", 1), ("empty", False), ("incomplete", True)),
    ]
    assert [row["revision"] for row in queries.candles(engine, MARKET, "1m", revisions=True)] == [0, 1, 0]


def test_a_range_of_candles_begins_after_from_and_ends_with_to(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(CANDLES, 0, *(candle(minute) for minute in range(5)))])
    chosen = queries.candles(engine, MARKET, "1m", START_NS + MINUTE_NS, START_NS + 3 * MINUTE_NS)
    assert [row["timestamp"] for row in chosen] == ["2018-01-01T00:02:00Z", "2018-01-01T00:03:00Z"]


def test_an_order_is_followed_to_its_end_through_any_batches(sink: DatabaseSink, engine: Engine) -> None:
    order = Order(1, START_NS, "buy", 20, 130_005, 1, 0, "signal", Cause(1, 5, 4))
    sink.apply([one(TRADES, 0, order, order, order, cause=5)])
    half = first_fill(size=8)
    grown = first_fill(size=120, size_scale=1)
    sink.apply([one(TRADES, 1, half, first_fill(index=1), cause=6)])
    assert [row["status"] for row in orders(engine)] == ["partial", "filled", "pending"]
    cancelled = OrderClosed(1, START_NS + 30, Cause(1, 5, 2), "cancelled", "new_signal")
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
    assert (row := queries.bot(engine, 1)) and (row["cash"], row["position"]) == ("10000.00000000", "0")
    sink.apply([one(TRADES, 0, first_fill(realised=-40), first_fill(realised=100), cause=5)])
    sink.apply([one(TRADES, 1, first_fill(realised=7, fee=1, cash_scale=9, cash=5, position=0), cause=6)])
    row = queries.bot(engine, 1)
    assert row is not None
    assert (row["realised_pnl"], row["fees"], row["cash"]) == ("0.000000607", "0.000005001", "0.000000005")
    assert (row["position"], row["status"], row["sizing"]) == ("0", "running", "equity:0.5")


def test_the_newest_state_of_each_bot_is_shown(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(BOTS, 0, bot_changed(1, MARKET), bot_changed(2, MARKET, "halted"))])
    sink.apply([one(BOTS, 1, bot_changed(1, MARKET, "stopped"), bot_changed(1, MARKET, "halted"))])
    assert [(row["bot_id"], row["status"], row["cause"]) for row in queries.bots(engine)] == [
        (1, "halted", "1:1:1"),
        (2, "halted", "1:0:1"),
    ]
    assert (queries.bot(engine, 1) or {})["symbol"] == "BTC/USD:BTC"
    assert queries.bot(engine, 3) is None
    assert list(queries.markets(engine)) == [{"market": MARKET, "venue": "bitmex", "symbol": "BTC/USD:BTC"}]


def test_a_trade_is_traced_to_its_signal_its_candle_and_the_journal(
    sink: DatabaseSink, engine: Engine
) -> None:
    seen: Candle = candle(0, offset=3)
    signal_ = Signal(1, seen.end, "1m", 1.0, 0.0, {"fast": 0.1, "slow": 0.25}, 130_005, 1, "executed", "")
    order = Order(1, seen.end, "buy", 20, 130_005, 1, 0, "signal", Cause(1, 4, 1))
    sink.apply([one(CANDLES, 0, seen, cause=4), one(SIGNALS, 0, signal_, cause=4, first=1)])
    sink.apply([one(TRADES, 0, order, cause=4, first=2), one(TRADES, 1, first_fill(4, 2), cause=5)])
    (row,) = queries.trades(engine, 1, lineage=True)
    assert list(row.items()) == [
        ("time", "2018-01-01T00:00:00.000000009Z"),
        *(("bot_id", 1), ("order_id", "1:4:2"), ("side", "buy"), ("price", "13001.0"), ("size", "20")),
        *(("fee", "0.00000250"), ("fee_currency", "BTC"), ("realised_pnl", "0.00000000"), ("position", "20")),
        *(("cause", "1:5:0"), ("signal", "1:4:1"), ("candle", f"{MARKET} 1m 2018-01-01T00:01:00Z")),
        *(("candle_rows", "1:3-3"), ("row", "1:5:17")),
    ]
    (shown,) = queries.signals(engine, 1)
    assert shown["values"] == {"fast": 0.1, "slow": 0.25}


def test_equity_is_a_row_a_bot(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(BOTS, 0, Equity(START_NS, (1, 2), (10_00, 20_00), (-3, 0), (10_50, 20_00), 2, 0))])
    assert list(queries.equity(engine, 1)) == [
        {
            "time": "2018-01-01T00:00:00Z",
            "bot_id": 1,
            "cash": "10.00",
            "position": "-3",
            "equity": "10.50",
            "cause": "1:0:0",
        }
    ]


def test_notices_of_the_machinery_are_kept_each_by_its_place(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([r for r in recorded(5) if r.topic == SYSTEM])
    notices = system_events(engine)
    assert {notice["type"] for notice in notices} == {"worker_started.v1", "source_hole.v1"}
    assert len([n for n in notices if n["cause_offset"] < 0]) > 1
