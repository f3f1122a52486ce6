"""However the records reach the database, it holds the same."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.db.projector import DatabaseSink
from infra.db.rebuild import content_hash, rebuild
from infra.db.schema import migrate
from streams.log import Record
from tests.derived import as_log, recorded


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
def test_any_batching_any_interleaving_and_any_repeats_give_the_rebuilt_database(seed: int) -> None:
    rng = Random(seed)
    records = recorded(seed, journal_records=8)
    with TemporaryDirectory() as folder:
        live, fresh = f"sqlite:///{folder}/live.db", f"sqlite:///{folder}/fresh.db"
        migrate(live)
        sink = DatabaseSink(live)
        deliver(sink, interleaved(records, rng), rng)
        sink.close()
        log = as_log(records, Path(folder) / "log")
        rebuild(log, fresh)
        log.close()
        assert content_hash(live) == content_hash(fresh)
