"""What every database is given: rows and positions together, each event once, what cannot be read aside."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import Engine, delete

from infra.db import tables
from infra.db.projector import DatabaseSink, ProjectionError, ProjectionGapError
from infra.upkeep.rebuild import content_hash
from streams.causes import Cause
from streams.records import Output, Record
from streams.topics import BOTS, CANDLES, SIGNALS, TRADES
from tests.contract.database_rows import MARKET, bot, bots, candles, one, rows_of, signals, system_events
from tests.derived import as_log, bot_changed, candle, order, record, signal


def test_positions_move_with_the_rows(sink: DatabaseSink, engine: Engine) -> None:
    assert sink.positions() == {}
    applied = sink.apply([one(CANDLES, 0, candle(0)), one(CANDLES, 1, candle(1)), one(SIGNALS, 0)])
    assert sink.positions() == {(CANDLES, 1): 1, (SIGNALS, 1): 0}
    assert applied == (3, 0, 0, 0)
    assert len(candles(engine)) == 2


def test_a_record_delivered_again_is_known(sink: DatabaseSink, engine: Engine) -> None:
    batch = [one(CANDLES, 0, candle(0)), one(CANDLES, 1, candle(1))]
    sink.apply(batch)
    assert sink.apply([*batch, one(CANDLES, 2, candle(2))]) == (1, 2, 0, 0)
    assert len(candles(engine)) == 3


def test_a_repeat_written_by_a_worker_that_folded_again_is_hidden_and_counted(
    sink: DatabaseSink, engine: Engine
) -> None:
    sink.apply([one(CANDLES, 0, candle(0), cause=10), one(CANDLES, 1, candle(1), candle(2), cause=11)])
    again = [one(CANDLES, 2, candle(0), cause=10), one(CANDLES, 3, candle(1), candle(2), candle(3), cause=11)]
    assert sink.apply(again).repeats == 3
    assert sink.positions() == {(CANDLES, 1): 3}
    assert [row["timestamp"][14:16] for row in candles(engine)] == [
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
    assert len(candles(engine, other)) == 2
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


def test_a_row_that_no_position_accounts_for_is_loud(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(CANDLES, 41, candle(0))])
    with engine.begin() as connection:
        connection.execute(delete(tables.positions))
    with pytest.raises(ProjectionError, match=r"table candles holds a row already.*tcpdashboard rebuild"):
        sink.apply([one(CANDLES, 41, candle(0))])


def test_a_record_that_gives_a_row_anew_becomes_a_dead_letter_and_the_others_go_on(
    sink: DatabaseSink, engine: Engine
) -> None:
    sink.apply([one(CANDLES, 0, candle(0))])
    again, twice = one(CANDLES, 1, candle(0)), one(CANDLES, 2, candle(1), candle(1))
    assert sink.apply([again, twice, one(CANDLES, 3, candle(2))]).dead_letters == 2
    assert sink.positions() == {(CANDLES, 1): 3}
    assert len(candles(engine)) == 2
    reasons = [msgspec.json.decode(letter["event"])["reason"] for letter in system_events(engine)]
    assert ["table candles holds a row already" in reason for reason in reasons] == [True, True]


def test_a_record_of_any_time_is_applied(sink: DatabaseSink, engine: Engine) -> None:
    """On Kafka it is whoever produces that says the time."""
    bad = one(CANDLES, 0)._replace(value=b"", time_ms=2**62)
    assert sink.apply([bad, bad._replace(offset=1, time_ms=-(2**62))]).dead_letters == 2
    assert [letter["timestamp"] for letter in system_events(engine)] == [2**63 - 1, -(2**63)]


def test_a_database_of_another_log_is_refused(sink: DatabaseSink, tmp_path: Path) -> None:
    log = as_log([one(CANDLES, 0, candle(0))], tmp_path / "log")
    sink.apply([one(CANDLES, 0, candle(0))])
    sink.check(log)
    sink.apply([one(CANDLES, 1, candle(1))])
    with pytest.raises(ProjectionGapError, match=r"applied candles:1:1, but log .* ends before offset 1"):
        sink.check(log)


def test_a_value_that_no_column_holds_is_found_in_few_rows_and_in_many(
    sink: DatabaseSink, engine: Engine
) -> None:
    """`orders` and `bot_positions` are replaced, few rows by another statement than many."""
    for count, offset in ((3, 0), (300, 1)):
        given = order(size=2**62, signal=Cause(1, 5, 4))
        huge = replace(given, size=2**63)
        bad = one(TRADES, 2 * offset, *(given for _ in range(count)), huge)
        good = one(TRADES, 2 * offset + 1, *(given for _ in range(count)))
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
    events = [
        bot_changed(bot, MARKET, message=text, name=text) for bot, text in enumerate(words * 10, start=1)
    ]
    sink.apply([one(BOTS, 0, *events)])
    assert [row["message"] for row in bots(engine)] == words * 10
    assert [row["name"] for row in bots(engine)] == words * 10
    sink.apply([one(TRADES, 0, *(order(reason=text) for text in words * 10))])
    assert [row["reason"] for row in rows_of(engine, tables.orders)] == words * 10
    assert {row["signal_offset"] for row in rows_of(engine, tables.orders)} == {None}
    made = [signal(previous=1e-300, values={text: 1 / 3}, code=text) for text in words * 10]
    sink.apply([one(SIGNALS, 0, *made)])
    assert [(row["code"], row["values"]) for row in signals(engine, 1)] == [
        (text, {text: 1 / 3}) for text in words * 10
    ]


def test_a_nul_in_somebodys_words_is_replaced(sink: DatabaseSink, engine: Engine) -> None:
    sink.apply([one(BOTS, 0, bot_changed(1, MARKET, message="a\0b", name="\0", tags=("\0",)))])
    row = bot(engine, 1)
    assert (row["message"], row["name"], row["tags"]) == ("a\ufffdb", "\ufffd", ["\0"])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (one(CANDLES, 1)._replace(value=b"\x93garbage"), "not an event record"),
        (one(CANDLES, 1, replace(candle(1), volume=2**63)), "Expected `int` <= 9223372036854775807"),
        (one(CANDLES, 1, candle(1))._replace(key=b"bitmex"), "key 'bitmex' is not venue:symbol"),
        (one(CANDLES, 1, candle(1))._replace(key=b"bitmex:" + b"x" * 5_000), "is not venue:symbol"),
        (one(CANDLES, 1, candle(1))._replace(key=None), "key '' is not venue:symbol"),
        (
            record(CANDLES, MARKET, 1, Output(3, 1, (0,), (candle(1),)))._replace(partition=1),
            "partition 3, not 1",
        ),
        (record(CANDLES, MARKET, 1, Output(1, 1, (0, 1), (candle(1),))), "1 events with 2 indexes"),
    ],
    ids=["garbage", "overflow", "key", "long-key", "no-key", "partition", "indexes"],
)
def test_a_record_that_cannot_be_read_becomes_a_dead_letter_and_the_others_go_on(
    sink: DatabaseSink, engine: Engine, bad: Record, words: str
) -> None:
    applied = sink.apply([one(CANDLES, 0, candle(0)), bad, one(CANDLES, 2, candle(2))])
    assert applied.dead_letters == 1
    assert sink.positions() == {(CANDLES, 1): 2}
    assert len(candles(engine)) == 2
    (letter,) = system_events(engine)
    assert (letter["type"], letter["cause_offset"]) == ("dead_letter.v1", -1)
    said = msgspec.json.decode(letter["event"])
    assert (said["topic"], said["partition"], said["offset"]) == (CANDLES, 1, 1)
    assert words in said["reason"]
