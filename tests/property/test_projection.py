"""However the records reach the database, it holds the same."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.db.projector import DatabaseSink
from infra.db.schema import migrate
from infra.upkeep.rebuild import content_hash, rebuild
from streams.records import Record
from tests.derived import as_log, recorded
from tests.services.postgres import Postgres

NewDatabase = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """The URL of an empty database that is gone afterwards."""
    server: Postgres | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
    folder, numbers = tmp_path_factory.mktemp("databases"), count()

    @contextmanager
    def make() -> Iterator[str]:
        if server is None:
            file = folder / f"{next(numbers)}.db"
            yield f"sqlite:///{file}"
            file.unlink()
            return
        url = server.fresh()
        yield url
        server.give_back(url)

    return make


def interleaved(records: list[Record], rng: Random) -> list[Record]:
    """Another order of all records that keeps that of each (topic, partition)."""
    turns = [(record.topic, record.partition) for record in records]
    rng.shuffle(turns)
    queues = {place: iter([r for r in records if (r.topic, r.partition) == place]) for place in set(turns)}
    return [next(queues[place]) for place in turns]


def deliver(sink: DatabaseSink, records: list[Record], rng: Random) -> None:
    """Apply the records in batches of any size; after some batches the last ones come again."""
    place = 0
    while place < len(records):
        size = rng.choice((1, 7, 20, 50))
        sink.apply(records[place : place + size])
        place = max(0, place + size - rng.choice((0, 0, 0, 5, 40)))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_batching_any_interleaving_and_any_repeats_give_the_rebuilt_database(
    new_database: NewDatabase, seed: int
) -> None:
    rng = Random(seed)
    records = recorded(seed, journal_records=8)
    with TemporaryDirectory() as folder, new_database() as live, new_database() as fresh:
        migrate(live)
        sink = DatabaseSink(live)
        deliver(sink, interleaved(records, rng), rng)
        sink.close()
        log = as_log(records, Path(folder) / "log")
        rebuild(log, fresh)
        log.close()
        assert content_hash(live) == content_hash(fresh)
