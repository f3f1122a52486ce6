"""What must hold of a platform after all that was done to it."""

import msgspec

from infra.channels.reader import messages_since
from infra.channels.store import ChannelStore
from infra.db.projector import DatabaseSink
from infra.db.schema import migrate
from infra.upkeep.rebuild import content_hash, rebuild
from projections.audit.verify import verify
from projections.strategies.code import Strategies
from streams.log import Log
from streams.snapshots import latest
from streams.topics import PROJECTED, SIGNALS, SYSTEM, TRADES
from tests.crash.processes import Platform
from tests.subscriber import Subscriber


def is_projected(platform: Platform) -> bool:
    sink = DatabaseSink(platform.settings.database_url)
    reached = sink.positions()
    sink.close()
    places = [(topic, p) for topic in PROJECTED for p in range(platform.log.partitions)]
    return all(reached.get(place, -1) + 1 == platform.log.highwater(*place) for place in places)


def assert_same_journal(one: Platform, strategies: Strategies) -> None:
    """Every derived byte, every state and every table row is what the journal gives."""

    def stored(partition: int) -> tuple[int, bytes] | None:
        snapshot = latest(one.log, partition, print)
        return (snapshot.applied, snapshot.state) if snapshot and snapshot.state else None

    result = verify(one.log, strategies, stored)
    assert result.difference is None
    assert result.behind == 0
    assert result.compared[SIGNALS] > 100
    assert result.compared[TRADES] > 100
    project_the_rest(one)
    fresh = f"sqlite:///{one.folder}/rebuilt.db"
    migrate(fresh)
    rebuild(one.log, fresh)
    assert content_hash(one.settings.database_url) == content_hash(fresh)


def project_the_rest(one: Platform) -> None:
    """A worker's notice that it stopped comes after its projector; the next one would project it."""
    sink = DatabaseSink(one.settings.database_url)
    for (topic, partition), offset in sink.positions().items():
        assert topic == SYSTEM or one.log.highwater(topic, partition) == offset + 1
        sink.apply(list(one.log.read(topic, partition, offset + 1)))
    sink.close()


def assert_complete(log: Log, database: str, subscribers: dict[str, Subscriber], restarts: int) -> None:
    """Each saw its channel to the end, densely after each snapshot, and each `seq` with one content."""
    store = ChannelStore(database)
    for name, subscriber in subscribers.items():
        subscriber.wait_for(lambda s=subscriber, n=name: s.last == store.snapshot(n).seq, 60)
        assert len(subscriber.sessions) > restarts
        broken = [s for s in subscriber.sessions if not s.is_dense()]
        assert not broken, (name, [(s.seq, [m["seq"] for m in s.counted]) for s in broken])
        again = [msgspec.json.decode(m.text) for m in messages_since(log, store, name, 0)]
        assert [m["seq"] for m in again] == list(range(1, subscriber.last + 1))
        assert all(again[m["seq"] - 1] == m for m in subscriber.counted), name
        assert not any(m["type"] == "gap" for m in again)
    store.close()
