"""What a worker relies on in Faust and its transports, on either home."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP, StreamT

from streams.agents.app import App, make_app, raw_topic, run_worker
from streams.agents.consuming import assigned, resume_behind, unacknowledged
from streams.agents.engine import Engine, Fold
from streams.agents.projector import Projector
from streams.backends import open_log
from streams.log import Log
from streams.topics import JOURNAL
from tests.contract.conftest import LogHome
from tests.crash.toy import TOPICS, ToySink, expected, journal, small


@pytest.fixture
def log(log_home: LogHome) -> Iterator[Log]:
    """One journal partition with a few records."""
    made = open_log(log_home(), partitions=1)
    made.append(journal(range(1, 20), 1))
    yield made
    made.close()


@pytest.fixture
def app(log: Log, tmp_path: Path) -> App:
    return make_app(log.url, worker="one", datadir=tmp_path / "faust")


def read_to_the_end(app: App, log: Log) -> list[int]:
    """The offsets of the journal that an agent gets."""
    seen: list[int] = []

    async def reader(stream: StreamT[Any]) -> None:
        async for event in unacknowledged(stream):
            seen.append(event.message.offset)

    app.agent(raw_topic(app, JOURNAL), name="reader")(reader)
    run_worker(app, log, [], until=lambda: log.highwater(JOURNAL, 0) - 1 in seen)
    return seen


def test_what_is_fetched_while_partitions_are_assigned_comes_again_also_from_the_beginning(
    app: App, log: Log
) -> None:
    async def fetch_too_early(*_: Any, **__: Any) -> None:
        places = assigned(app, (JOURNAL,))
        await resume_behind(app, dict.fromkeys(places, -1))
        await app.consumer.seek_wait(dict.fromkeys(places, 3))  # where a fetch of three records leaves it

    app.on_rebalance_complete.connect(fetch_too_early)
    assert read_to_the_end(app, log) == list(range(log.highwater(JOURNAL, 0)))


def test_a_commit_of_a_partition_that_has_gone_to_others_ends_nobody(app: App, log: Log) -> None:
    async def commit_too_late(*_: Any, **__: Any) -> None:
        await resume_behind(app, {TP(app.topic_of(JOURNAL), 7): 5})

    app.on_rebalance_complete.connect(commit_too_late)
    assert read_to_the_end(app, log) == list(range(log.highwater(JOURNAL, 0)))


def test_nothing_is_fetched_while_partitions_are_taken_over_though_the_flow_went_on(
    app: App, log: Log, tmp_path: Path
) -> None:
    """As it does where a former assignment was taken over late, after this one had begun."""
    flowing: list[bool] = []

    class Looking(ToySink):
        def positions(self) -> Mapping[tuple[str, int], int]:
            flowing.append(app.consumer.flow_active)
            return super().positions()

    def fold_of(partition: int, state: bytes | None) -> Fold:
        flowing.append(app.consumer.flow_active)
        return small(partition, state)

    async def go_on(*_: Any, **__: Any) -> None:
        app.consumer.resume_flow()
        app.flow_control.resume()

    sink = Looking(tmp_path / "sink.db")
    engine = Engine(app, log, fold_of, epoch=1, code="toy")
    projector = Projector(app, log, sink, TOPICS)
    app.on_partitions_assigned.connect(go_on)
    run_worker(app, log, [engine, projector], until=lambda: engine.is_at_end() and projector.is_at_end())
    assert flowing[:2] == [False, False]
    assert sink.contents() == expected(log, small)
    sink.close()
