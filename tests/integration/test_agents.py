"""The agents in a worker process on an embedded log, with a toy fold; `tests/crash` kills them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.agents.app import FAILED
from streams.backends import open_log
from streams.log import Log
from streams.topics import CANDLES
from tests.crash.processes import Workers
from tests.crash.toy import TOPICS, ToySink, expected, journal, recorded, small

TOY = "tests.crash.toy:"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = open_log(f"embedded://{tmp_path}/log", partitions=4)
    yield made
    made.close()


@pytest.fixture
def workers(log: Log, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(log, tmp_path, TOY + "small", tmp_path / "sink.db")
    yield made
    made.kill_all()


def sqlite(tmp_path: Path, statement: str) -> None:
    with sqlite3.connect(tmp_path / "log" / "log.db") as db:
        db.execute(statement)
    db.close()


def test_outputs_and_sink_equal_the_pure_fold_and_a_restart_repeats_nothing(
    log: Log, workers: Workers, tmp_path: Path
) -> None:
    for numbers in (range(1, 300), range(300, 500), range(0)):
        log.append(journal(numbers, 4))
        assert workers.run() == 0, workers.tails()
        assert recorded(log, TOPICS) == (expected(log, small), 0)
    sink = ToySink(tmp_path / "sink.db")
    assert sink.contents() == expected(log, small)
    sink.close()


def test_outputs_carry_the_epoch_and_code_of_their_worker_in_headers(log: Log, workers: Workers) -> None:
    log.append(journal(range(1, 50), 4))
    assert workers.run() == 0, workers.tails()
    headers = {record.headers for topic in TOPICS for p in range(4) for record in log.read(topic, p)}
    assert headers == {(("epoch", b"1"), ("code", b"toy"))}


def test_fold_that_fails_ends_the_process_and_loses_nothing(log: Log, workers: Workers) -> None:
    log.append(journal(range(1, 200), 4))
    assert workers.run(TOY + "FailingFold") == FAILED
    assert "a fault of the fold" in workers.tails()
    assert workers.run(TOY + "small") == 0, workers.tails()
    assert recorded(log, TOPICS)[0] == expected(log, small)


def test_fold_that_understands_no_older_state_is_made_anew_without_repeating_outputs(
    log: Log, workers: Workers
) -> None:
    for numbers in (range(1, 200), range(200, 300)):
        log.append(journal(numbers, 4))
        assert workers.run(TOY + "picky") == 0, workers.tails()
    assert "is folded anew: state of another version" in workers.tails()
    assert recorded(log, TOPICS) == (expected(log, small), 0)


def test_hole_in_the_journal_ends_the_process(log: Log, workers: Workers, tmp_path: Path) -> None:
    log.append(journal(range(1, 200), 4))
    sqlite(tmp_path, "DELETE FROM records WHERE topic = 'journal' AND partition = 1 AND \"offset\" = 17")
    assert workers.run() == FAILED
    assert "engine: journal:1 goes from offset 16 to 18" in workers.tails()


def test_journal_that_lost_its_end_ends_the_process(log: Log, workers: Workers, tmp_path: Path) -> None:
    log.append(journal(range(1, 200), 4))
    assert workers.run() == 0, workers.tails()
    sqlite(tmp_path, "DELETE FROM records WHERE topic = 'journal' AND partition = 1 AND \"offset\" > 10")
    assert workers.run() == FAILED
    assert "partition 1 was folded up to" in workers.tails()


def test_journal_that_lost_its_beginning_ends_a_process_that_needs_it(
    log: Log, workers: Workers, tmp_path: Path
) -> None:
    log.append(journal(range(1, 200), 4))
    sqlite(tmp_path, "DELETE FROM records WHERE topic = 'journal' AND partition = 1 AND \"offset\" < 3")
    assert workers.run() == FAILED
    assert "partition 1 was folded up to -1, but the journal has [3," in workers.tails()


def test_sink_that_another_process_moved_ends_the_process(log: Log, workers: Workers, tmp_path: Path) -> None:
    log.append(journal(range(1, 50), 4))
    assert workers.run() == 0, workers.tails()
    workers.start("w1")
    workers.until(workers.are_ready, "a worker that is ready", 60)
    with sqlite3.connect(tmp_path / "sink.db") as db:
        db.execute("UPDATE positions SET at = at + 1")
    db.close()
    log.append(journal(range(50, 100), 4))
    assert workers.wait("w1") == FAILED
    assert "projector, applying" in workers.tails()


@pytest.fixture
def wide_log(tmp_path: Path) -> Iterator[Log]:
    """One fetch of its derived streams overflows Faust's queue."""
    made = open_log(f"embedded://{tmp_path}/log", partitions=24)
    yield made
    made.close()


@pytest.fixture
def wide_workers(wide_log: Log, tmp_path: Path) -> Iterator[Workers]:
    made = Workers(wide_log, tmp_path, TOY + "small", tmp_path / "sink.db")
    yield made
    made.kill_all()


def test_sink_that_is_away_is_waited_for_while_the_engine_folds_on(
    wide_log: Log, wide_workers: Workers, tmp_path: Path
) -> None:
    log, workers = wide_log, wide_workers
    numbers = [entry._replace(partition=n % 24) for n, entry in enumerate(journal(range(1, 8_000), 24))]
    log.append(numbers[:500])
    assert workers.run() == 0, workers.tails()
    log.append(numbers[500:7_200])
    assert Workers(log, tmp_path, TOY + "small", sink=None).run() == 0
    sink = ToySink(tmp_path / "sink.db")
    sink.away.touch()
    workers.start("w1")
    workers.until(lambda: "projecting waits" in workers.tails(), "a worker that waits", 60)
    log.append(numbers[7_200:])
    folded = sum(len(rows) for (topic, _), rows in expected(log, small).items() if topic == CANDLES)
    workers.wait_for_candles(folded)
    assert sum(map(len, sink.contents().values())) < 1_000
    sink.away.unlink()
    workers.until(lambda: sink.contents() == expected(log, small), "everything in the sink", 60)
    assert (workers.stop_all(), workers.ended) == ([0], 0), workers.tails()
    assert recorded(log, TOPICS) == (expected(log, small), 0)
    sink.close()
