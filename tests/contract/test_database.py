"""What every database keeps: rows and positions together, each event once, one content from one log."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy import Engine, Table, event, inspect, select, text

from infra.db import queries, tables
from infra.db.channels import metadata as channels
from infra.db.engine import open_engine
from infra.db.projector import Applied, DatabaseSink, ProjectionError, ProjectionGapError
from infra.db.rebuild import content_hash, rebuild
from infra.db.rows import SYSTEM_EVENTS, Changes
from infra.db.schema import SchemaError, migrate, newest_revision, open_database
from infra.db.tables import metadata
from infra.present import decimal_string
from streams.codec import DERIVED_EVENTS
from streams.events import (
    Candle,
    Cause,
    Equity,
    Event,
    Fill,
    LateTick,
    Order,
    OrderClosed,
    Output,
    Signal,
)
from streams.log import Record
from streams.topics import BOTS, CANDLES, SIGNALS, SYSTEM, TRADES
from tests.contract.conftest import NewDatabase
from tests.derived import CASH, START_NS, as_log, bot_changed, candle, record, recorded

MARKET = "bitmex:BTC/USD:BTC"
MINUTE_NS = 60_000_000_000


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    """An empty database."""
    return new_database()


@pytest.fixture
def sink(url: str) -> Iterator[DatabaseSink]:
    migrate(url)
    sink = DatabaseSink(url)
    yield sink
    sink.close()


@pytest.fixture
def engine(url: str, sink: DatabaseSink) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


def one(topic: str, offset: int, *events: Any, cause: int | None = None, first: int = 0) -> Record:
    """A record of one market in partition 1; its cause is journal offset `cause`, if not its own."""
    indexes = tuple(range(first, first + len(events)))
    return record(topic, MARKET, offset, Output(1, offset if cause is None else cause, indexes, events))


def first_fill(offset: int = 5, index: int = 0, **changes: Any) -> Fill:
    ending = (250, 0, 20, 153_800, CASH - 154_050, "BTC", 1, 0, 8, 17)
    fill = Fill(1, START_NS + 9, Cause(1, offset, index), "buy", 130_010, 20, *ending)
    return replace(fill, **changes)


# ------------------------------------------------------------------ schema


def test_migrations_lead_to_exactly_the_tables_of_the_code(url: str, new_database: NewDatabase) -> None:
    migrate(url)
    engine = open_engine(url)
    made = open_engine(new_database())
    metadata.create_all(made)
    channels.create_all(made)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), [metadata, channels]) == []
    for table in (*metadata.tables, *channels.tables):
        migrated, direct = inspect(engine), inspect(made)
        assert migrated.get_pk_constraint(table) == direct.get_pk_constraint(table)
        assert [str(c) for c in migrated.get_columns(table)] == [str(c) for c in direct.get_columns(table)]
    assert migrated.has_table("alembic_version")
    engine.dispose()
    made.dispose()


def test_migrating_again_changes_nothing(url: str, sink: DatabaseSink) -> None:
    sink.apply([one(CANDLES, 0, candle(0))])
    before = content_hash(url)
    assert migrate(url) == migrate(url) == newest_revision()
    assert content_hash(url) == before


def test_a_database_that_is_not_migrated_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(SchemaError, match=r"revision none.*run `tcpdashboard migrate`"):
        DatabaseSink(url)


def test_a_database_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'mysql' is not supported; use sqlite"):
        open_engine("mysql://localhost/x")


@pytest.mark.parametrize(
    ("kind", "table"),
    [(Candle, "candles"), (LateTick, "late_ticks"), (Fill, "fills")],
)
def test_columns_stand_in_the_order_of_the_events_fields(kind: type[Event], table: str) -> None:
    names = [column.name.removesuffix("_ns") for column in metadata.tables[table].c]
    fields = list(kind.__struct_fields__)
    if kind is Fill:
        fields[2:3] = ["order_partition", "order_offset", "order_index"]
    assert [name for name in names if name != "market" and not name.startswith("cause_")] == fields


def test_every_derived_event_has_a_table() -> None:
    known = set(Changes()._add) | set(SYSTEM_EVENTS)
    assert known == set(DERIVED_EVENTS.values())


# ------------------------------------------------------------------ positions and repeats


def test_positions_move_with_the_rows(sink: DatabaseSink, engine: Engine) -> None:
    assert sink.positions() == {}
    applied = sink.apply([one(CANDLES, 0, candle(0)), one(CANDLES, 1, candle(1)), one(SIGNALS, 0)])
    assert sink.positions() == {(CANDLES, 1): 1, (SIGNALS, 1): 0}
    assert applied == (3, 0, 0, 0)
    assert len(list(queries.candles(engine, MARKET, "1m"))) == 2


def test_a_record_delivered_again_is_known(sink: DatabaseSink, engine: Engine) -> None:
    batch = [one(CANDLES, 0, candle(0)), one(CANDLES, 1, candle(1))]
    sink.apply(batch)
    assert sink.apply([*batch, one(CANDLES, 2, candle(2))]) == (1, 2, 0, 0)
    assert len(list(queries.candles(engine, MARKET, "1m"))) == 3


def test_a_repeat_written_by_a_worker_that_folded_again_is_hidden_and_counted(
    sink: DatabaseSink, engine: Engine
) -> None:
    sink.apply([one(CANDLES, 0, candle(0), cause=10), one(CANDLES, 1, candle(1), candle(2), cause=11)])
    again = [one(CANDLES, 2, candle(0), cause=10), one(CANDLES, 3, candle(1), candle(2), candle(3), cause=11)]
    assert sink.apply(again).repeats == 3
    assert sink.positions() == {(CANDLES, 1): 3}
    assert [row["timestamp"][14:16] for row in queries.candles(engine, MARKET, "1m")] == [
        "01",
        "02",
        "03",
        "04",
    ]


def test_events_of_markets_that_took_turns_in_one_journal_record_are_no_repeats(
    sink: DatabaseSink, engine: Engine
) -> None:
    other = "bitmex:ETH/USD:BTC"
    first = record(CANDLES, MARKET, 0, Output(1, 7, (0, 5), (candle(0), candle(1))))
    second = record(CANDLES, other, 1, Output(1, 7, (2, 4), (candle(0), candle(1))))
    assert sink.apply([first]).repeats == 0
    assert sink.apply([second]).repeats == 0
    assert len(list(queries.candles(engine, other, "1m"))) == 2
    again = [first._replace(offset=2), second._replace(offset=3)]
    assert sink.apply(again).repeats == 4


def test_a_hole_in_the_offsets_is_loud_and_applies_nothing(sink: DatabaseSink, url: str) -> None:
    sink.apply([one(CANDLES, 0, candle(0))])
    before = content_hash(url)
    with pytest.raises(ProjectionGapError, match=r"candles:1 up to offset 1, and got 3.*stored positions"):
        sink.apply([one(CANDLES, 1, candle(1)), one(CANDLES, 3, candle(3))])
    assert content_hash(url) == before


def test_without_a_position_any_offset_is_a_beginning(sink: DatabaseSink) -> None:
    sink.apply([one(CANDLES, 41, candle(0))])
    assert sink.positions() == {(CANDLES, 1): 41}


def test_a_row_that_no_position_accounts_for_is_loud(sink: DatabaseSink) -> None:
    sink.apply([one(CANDLES, 0, candle(0))])
    with pytest.raises(ProjectionError, match=r"table candles holds a row already.*tcpdashboard rebuild"):
        sink.apply([one(CANDLES, 1, candle(0))])


def test_a_database_of_another_log_is_refused(sink: DatabaseSink, tmp_path: Path) -> None:
    log = as_log([one(CANDLES, 0, candle(0))], tmp_path / "log")
    sink.apply([one(CANDLES, 0, candle(0))])
    sink.check(log)
    sink.apply([one(CANDLES, 1, candle(1))])
    with pytest.raises(ProjectionGapError, match=r"applied candles:1:1, but log .* ends before offset 1"):
        sink.check(log)


# ------------------------------------------------------------------ records that cannot be read


def test_a_value_that_no_column_holds_is_found_in_few_rows_and_in_many(
    sink: DatabaseSink, engine: Engine
) -> None:
    """`orders` and `bot_positions` are replaced, few rows by another statement than many."""
    for count, offset in ((3, 0), (300, 1)):
        order = Order(1, START_NS, "buy", 2**62, 130_005, 1, 0, "signal", Cause(1, 5, 4))
        huge = replace(order, size=2**63)
        bad = one(TRADES, 2 * offset, *(order for _ in range(count)), huge)
        good = one(TRADES, 2 * offset + 1, *(order for _ in range(count)))
        assert sink.apply([bad, good]).dead_letters == 1
    assert len(rows_of(engine, tables.orders)) == 303


def test_texts_of_every_kind_come_back_as_they_were(sink: DatabaseSink, engine: Engine) -> None:
    words = [
        "",
        "\\N",
        "\\.",
        "NULL",
        'a "b", c',
        "two\nlines\r\n\ttab",
        "žluťoučký 🐎",
        "'; DROP TABLE bots",
    ]
    events = [replace(bot_changed(bot, MARKET), words=text) for bot, text in enumerate(words * 10, start=1)]
    sink.apply([one(BOTS, 0, *events)])
    assert [row["words"] for row in queries.bots(engine)] == words * 10
    order = Order(1, START_NS, "buy", 2, 130_005, 1, 0, "signal", None)
    orders = [replace(order, reason=text) for text in words * 10]
    sink.apply([one(TRADES, 0, *orders)])
    assert [row["reason"] for row in rows_of(engine, tables.orders)] == words * 10
    assert {row["signal_offset"] for row in rows_of(engine, tables.orders)} == {None}
    signals = [
        Signal(1, START_NS, "1m", 1.0, 1e-300, {"x": 1 / 3}, 5, 1, "refused", text) for text in words * 10
    ]
    sink.apply([one(SIGNALS, 0, *signals)])
    assert [row["code"] for row in queries.signals(engine, 1)] == words * 10


def test_a_nul_in_somebodys_words_is_replaced(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(BOTS, 0, replace(bot_changed(1, MARKET), words="a\0b"))])
    assert (queries.bot(engine, 1) or {})["words"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (one(CANDLES, 1)._replace(value=b"\x93garbage"), "not an event record"),
        (one(CANDLES, 1, replace(candle(1), volume=2**63)), "9223372036854775808 exceeds 64 bits"),
        (one(CANDLES, 1, candle(1))._replace(key=b"bitmex"), "key 'bitmex' is not venue:symbol"),
        (one(CANDLES, 1, candle(1))._replace(key=None), "key '' is not venue:symbol"),
        (
            record(CANDLES, MARKET, 1, Output(3, 1, (0,), (candle(1),)))._replace(partition=1),
            "partition 3, not 1",
        ),
        (record(CANDLES, MARKET, 1, Output(1, 1, (0, 1), (candle(1),))), "1 events with 2 indexes"),
    ],
    ids=["garbage", "overflow", "key", "no-key", "partition", "indexes"],
)
def test_a_record_that_cannot_be_read_becomes_a_dead_letter_and_the_others_go_on(
    sink: DatabaseSink, engine: Engine, bad: Record, words: str
) -> None:
    applied = sink.apply([one(CANDLES, 0, candle(0)), bad, one(CANDLES, 2, candle(2))])
    assert applied.dead_letters == 1
    assert sink.positions() == {(CANDLES, 1): 2}
    assert len(list(queries.candles(engine, MARKET, "1m"))) == 2
    (letter,) = system_events(engine)
    assert (letter["type"], letter["cause_offset"]) == ("dead_letter.v1", -1)
    said = msgspec.json.decode(letter["event"])
    assert (said["topic"], said["partition"], said["offset"]) == (CANDLES, 1, 1)
    assert words in said["error"]


# ------------------------------------------------------------------ what the tables say

PARTS = ("partition", "offset", "index")


def rows_of(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """All rows in the order of their key."""
    with engine.connect() as connection:
        found = connection.execute(select(table).order_by(*table.primary_key.columns))
        return [dict(row._mapping) for row in found]


def system_events(engine: Engine) -> list[dict[str, Any]]:
    return rows_of(engine, tables.system_events)


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


# ------------------------------------------------------------------ rebuild


def test_a_rebuilt_database_equals_the_one_built_live(
    sink: DatabaseSink, url: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    records = recorded(1)
    for start in range(0, len(records), 7):
        sink.apply(records[start : start + 7])
    log = as_log(records, tmp_path / "log")
    fresh = new_database()
    applied = rebuild(log, fresh)
    assert applied.records == len(records)
    assert applied.repeats > 0
    assert applied.dead_letters > 0
    assert content_hash(fresh) == content_hash(url)


def test_rebuild_replaces_what_somebody_changed(sink: DatabaseSink, url: str, tmp_path: Path) -> None:
    records = recorded(2)
    sink.apply(records)
    before = content_hash(url)
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE fills SET fee = 0"))
        connection.execute(text("DELETE FROM candles"))
    assert content_hash(url) != before
    rebuild(as_log(records, tmp_path / "log"), url)
    assert content_hash(url) == before


def test_a_projector_goes_on_after_a_rebuild_beside_it(sink: DatabaseSink, url: str, tmp_path: Path) -> None:
    records = [one(CANDLES, offset, candle(offset)) for offset in range(6)]
    sink.apply(records[:2])
    rebuild(as_log(records[:5], tmp_path / "log"), url)
    assert sink.apply(records[2:]) == (1, 3, 0, 0)


def test_readers_see_the_old_content_of_a_rebuild_and_a_projector_waits_for_its_end(
    sink: DatabaseSink, engine: Engine, url: str, tmp_path: Path
) -> None:
    records = [one(CANDLES, offset, candle(offset)) for offset in range(6)]
    sink.apply(records[:3])
    applied: list[Applied] = []
    beside = Thread(target=lambda: applied.append(sink.apply(records[3:])))

    class Midway:
        """A log that is read in the middle of a rebuild."""

        partitions = 2

        def earliest(self, _topic: str, _partition: int) -> int:
            return 0

        def read(self, topic: str, partition: int, _start: int) -> Iterator[Record]:
            if (topic, partition) == (CANDLES, 1):
                yield from records[:5]
            elif (topic, partition) == (SYSTEM, 1):
                assert len(list(queries.candles(engine, MARKET, "1m"))) == 3
                beside.start()
                _wait_until_somebody_waits(engine)

    rebuild(Midway(), url)  # type: ignore[arg-type] - all of a log that it reads
    beside.join()
    assert applied == [(1, 2, 0, 0)]


def _wait_until_somebody_waits(engine: Engine) -> None:
    """On PostgreSQL, which says so."""
    waiting = 0
    while engine.dialect.name == "postgresql" and not waiting:
        with engine.connect() as connection:
            waiting = connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one()


def test_content_is_the_same_after_crashes_of_the_engine(
    sink: DatabaseSink, url: str, new_database: NewDatabase
) -> None:
    sink.apply(recorded(3, crashes=True))
    calm = new_database()
    migrate(calm)
    DatabaseSink(calm).apply(recorded(3, crashes=False))
    assert content_hash(url, content=True) == content_hash(calm, content=True)
    assert content_hash(url) != content_hash(calm)


# ------------------------------------------------------------------ crashes

APPLY = """
import sys
from infra.db.projector import DatabaseSink
from tests.derived import recorded

sink = DatabaseSink(sys.argv[1])
at = sink.positions()
for record in recorded(4, journal_records=150):
    if record.offset > at.get((record.topic, record.partition), -1):
        sink.apply([record])
        print(".", end="", flush=True)
"""


@pytest.mark.crash
def test_a_killed_projector_leaves_rows_and_positions_that_agree(url: str, new_database: NewDatabase) -> None:
    migrate(url)
    records = recorded(4, journal_records=150)
    for commits in (3, 40, 155):
        command = [sys.executable, "-c", APPLY, url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        assert len(process.stdout.read(commits)) == commits
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert content_hash(url) == _hash_of_prefix(records, url, new_database())


def _hash_of_prefix(records: list[Record], url: str, twin: str) -> str:
    """The content hash of the database `twin` when it is given just what `url`'s positions say."""
    at = DatabaseSink(url).positions()
    migrate(twin)
    DatabaseSink(twin).apply([r for r in records if r.offset <= at.get((r.topic, r.partition), -1)])
    return content_hash(twin)


def test_notices_of_the_machinery_are_kept_each_by_its_place(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([r for r in recorded(5) if r.topic == SYSTEM])
    notices = system_events(engine)
    assert {notice["type"] for notice in notices} == {"worker_started.v1", "source_hole.v1"}
    assert len([n for n in notices if n["cause_offset"] < 0]) > 1
