"""Kill the workers, freeze them, kill the broker: what the log says equals the pure fold, byte for byte.

`CRASH_FOLD=module:factory` puts another fold in place of the toy, `CRASH_KILLS` makes the runs longer.
"""

import importlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.agents.engine import Fold
from streams.backends import open_log
from streams.log import Log
from tests.crash.processes import Workers, env_int
from tests.crash.toy import TOPICS, ToySink, expected, journal, recorded
from tests.services.kafka import Kafka

pytestmark = pytest.mark.crash

KILLS = env_int("CRASH_KILLS", 8)


class Case:
    """A log, workers on it, and a journal that grows."""

    def __init__(self, log: Log, folder: Path, fold: str, seed: int, with_sink: bool) -> None:
        self.log = log
        self.random = random.Random(seed)
        self.sink_path = folder / "sink.db" if with_sink else None
        self.workers = Workers(log, folder, fold, self.sink_path)
        module, _, name = fold.partition(":")
        self.factory: Callable[[int, bytes | None], Fold] = getattr(importlib.import_module(module), name)
        self._next = 1

    def feed(self, count: int) -> None:
        """Append in small batches, as a collector does."""
        entries = journal(range(self._next, self._next + count), self.log.partitions)
        self._next += count
        for at in range(0, count, 20):
            self.log.append(entries[at : at + 20])

    def feed_and_meet(self, count: int) -> None:
        """Feed, and return at a random moment of the work on it."""
        before = self.workers.candles()
        self.feed(count)
        self.workers.wait_for_candles(before + self.random.randint(1, count * 3 // 4))

    def is_complete(self) -> bool:
        return recorded(self.log, TOPICS)[0] == expected(self.log, self.factory)

    def is_projected(self) -> bool:
        if self.sink_path is None:
            return True
        sink = ToySink(self.sink_path)
        try:
            return sink.contents() == expected(self.log, self.factory)
        finally:
            sink.close()

    def check(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Everything arrives, nothing else does, and the workers end in order."""
        self.workers.until(self.is_complete, "outputs equal to the pure fold", 60)
        self.workers.until(self.is_projected, "a sink equal to the pure fold", 60)
        self.workers.until(self.workers.are_ready, "workers that are ready", 60)
        codes = self.workers.stop_all()
        assert codes == [0] * len(codes), self.workers.tails()
        assert self.is_complete()
        outputs, repeats = recorded(self.log, TOPICS)
        total = sum(map(len, outputs.values()))
        with capsys.disabled():
            print(f" [{total} outputs, {repeats} repeats, {self.workers.epoch} starts,", end="")
            print(f" {self.workers.ended} ended themselves]", end="")


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Case]]:
    cases: list[Case] = []

    def make(url: str, fold: str = "small", with_sink: bool = True) -> Case:
        fold = os.environ.get("CRASH_FOLD", f"tests.crash.toy:{fold}")
        log = open_log(url, partitions=4)
        cases.append(Case(log, tmp_path, fold, len(request.node.name), with_sink))
        return cases[-1]

    yield make
    for made in cases:
        made.workers.kill_all()
        made.log.close()


@pytest.mark.parametrize("fold", ["small", "large"])
def test_embedded_worker_killed_at_random_moments_loses_and_invents_nothing(
    case: Callable[..., Case], fold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = case(f"embedded://{tmp_path}/log", fold)
    for _ in range(KILLS):
        run.workers.start("w1")
        run.feed_and_meet(run.random.randint(20, 400))
        run.feed_and_meet(run.random.randint(20, 400))
        run.workers.kill("w1")
    run.workers.start("w1")
    run.check(capsys)


@pytest.mark.kafka
def test_kafka_workers_killed_at_random_moments_lose_and_invent_nothing(
    case: Callable[..., Case], kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    run = case(f"kafka://{kafka.bootstrap}/killed")
    run.workers.start("w1")
    run.workers.start("w2")
    for _ in range(KILLS):
        run.feed_and_meet(run.random.randint(20, 400))
        name = run.random.choice(["w1", "w2"])
        run.workers.kill(name)
        run.workers.start(name)
    run.check(capsys)


@pytest.mark.kafka
def test_kafka_worker_frozen_past_its_session_writes_the_same_bytes_or_ends(
    case: Callable[..., Case], kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    run = case(f"kafka://{kafka.bootstrap}/frozen", with_sink=False)
    run.workers.start("w1")
    run.workers.start("w2")
    for name in ("w1", "w2"):
        run.feed_and_meet(400)
        run.workers.freeze(name)
        run.feed(200)
        run.workers.until(run.is_complete, f"the other takes over from {name}", 60)
        run.workers.thaw(name)
    run.feed(200)
    run.check(capsys)


@pytest.mark.kafka
def test_kafka_broker_killed_at_a_random_moment_loses_and_invents_nothing(
    case: Callable[..., Case], kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    run = case(f"kafka://{kafka.bootstrap}/broker")
    run.workers.start("w1")
    run.workers.start("w2")
    run.feed_and_meet(2000)
    kafka.kill9()
    kafka.start()
    run.feed(200)
    run.check(capsys)


def test_second_process_that_folds_an_embedded_log_is_refused_and_told_by_whom(
    case: Callable[..., Case], tmp_path: Path
) -> None:
    run = case(f"embedded://{tmp_path}/log")
    run.workers.start("w1")
    run.feed_and_meet(20)
    run.workers.start("w2")
    code = run.workers.wait("w2")
    assert code == 1
    assert "is being folded by worker w1 (pid" in run.workers.tails()
