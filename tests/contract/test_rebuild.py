"""One content from one log: rebuilt, after crashes of the engine, and after the projector was killed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import Engine, text

from infra.db.connect import database_at
from infra.db.projector import Applied, DatabaseSink
from infra.db.schema import migrate
from infra.upkeep.rebuild import content_hash, rebuild
from streams.records import Record
from streams.topics import CANDLES, SYSTEM
from tests.contract.conftest import NewDatabase
from tests.contract.database_rows import candles, one
from tests.derived import as_log, candle, recorded
from tests.programs import piped


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
    engine = database_at(url)
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
                assert len(candles(engine)) == 3
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
        with piped(sys.executable, "-c", APPLY, url) as process:
            assert process.stdout is not None
            assert len(process.stdout.read(commits)) == commits
        wait_for_the_last_commit(url)
        assert content_hash(url) == _hash_of_prefix(records, url, new_database())


def wait_for_the_last_commit(url: str) -> None:
    """PostgreSQL ends what a client that was killed had asked of it."""
    engine = database_at(url)
    if engine.dialect.name == "postgresql":
        others = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        with engine.connect() as connection:
            while connection.execute(others).scalar_one():
                connection.rollback()  # it sees what it saw at its begin
    engine.dispose()


def _hash_of_prefix(records: list[Record], url: str, twin: str) -> str:
    """The content hash of the database `twin` when it is given just what `url`'s positions say."""
    at = DatabaseSink(url).positions()
    migrate(twin)
    DatabaseSink(twin).apply([r for r in records if r.offset <= at.get((r.topic, r.partition), -1)])
    return content_hash(twin)
