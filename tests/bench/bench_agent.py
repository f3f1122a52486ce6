"""Ticks a second through the Faust agents, on the embedded log and on a real Kafka.

Run by `python -m tests.bench.bench_agent`. A journal of 500 ticks a record and two bots waits in the log; a
worker in a fresh process and home folds it. *engine*: the engine agent alone; its outputs and snapshots are
acknowledged by the log. *engine and projector*: the whole worker, `infra.worker.root.work`, which also reads
the derived streams again and writes them to SQLite.

The clock runs from the first look at which a record is folded to the look at which everything is acknowledged
(and projected); it looks ten times a second, and does not count what was folded before the first look. Not
included: the start of the process and of Faust, and writing the journal. On Kafka the broker runs on the same
cores.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.process.settings import Settings, load_settings
from infra.worker.measured import Folding, MeasuredFold
from infra.worker.root import Progress, work
from projections.fold.pipeline import Pipeline
from streams.agents.app import make_app, run_worker
from streams.agents.engine import Engine
from streams.backends import open_log
from streams.topics import JOURNAL
from tests.bench import journals
from tests.bench.timing import Timed, headline, in_fresh_process, load, show
from tests.services.kafka import Kafka, KafkaMissingError

RECORD_ROWS = 500
TIMES = 20
ROUNDS = 3
HEAD_RECORDS = 3
"""The market and the two bots."""


class Watch:
    """Looks at a worker: from the first folded record that it sees to the end."""

    def __init__(self) -> None:
        self.load = load()
        self.first: tuple[int, float, float] | None = None
        self.taken = Timed(0.0, 0.0, 0.0)

    def look(self, applied: int, *, done: bool) -> bool:
        if self.first is None:
            if applied >= HEAD_RECORDS:
                self.first = applied, time.perf_counter(), time.process_time()
        elif done:
            _, wall, cpu = self.first
            self.taken = Timed(time.perf_counter() - wall, time.process_time() - cpu, self.load)
        return self.first is not None and done


def engine(settings: Settings, watch: Watch) -> None:
    log = open_log(settings.log_url)
    code = journals.strategies()

    def fold_of(number: int, state: bytes | None) -> MeasuredFold:
        pipeline = Pipeline(number, code)
        if state is not None:
            pipeline.restore(state)
        return MeasuredFold(pipeline, Folding(), lambda: None)

    app = make_app(settings.log_url, worker=settings.worker, datadir=settings.home / "faust")
    agent = Engine(app, log, fold_of, epoch=1, code="bench")

    def until() -> bool:
        return watch.look(agent.applied.get(0, -1), done=agent.is_at_end())

    run_worker(app, log, [agent], until)
    log.close()


def engine_and_projector(settings: Settings, watch: Watch) -> None:
    def until(progress: Progress) -> bool:
        return watch.look(progress.applied.get(0, -1), done=progress.caught_up)

    work(settings, until=until)


WORKERS = {"engine": engine, "engine and projector": engine_and_projector}


def run(worker: str, home: Path, url: str | None) -> tuple[int, Timed]:
    """Ticks counted, and the time they took."""
    logging.basicConfig(level=logging.WARNING)
    home.mkdir(exist_ok=True)
    environ = {"TCPD_HOME": str(home), "TCPD_KERNELS": str(journals.KERNELS)}
    settings = load_settings(environ | ({} if url is None else {"TCPD_LOG_URL": url}))
    log = open_log(settings.log_url, partitions=1)
    market, ticks = journals.trades(TIMES)
    journals.append(log, journals.with_two_bots(market, journals.strategies()))
    journals.append(log, journals.batches(market, ticks, RECORD_ROWS), sequence=1)
    end = log.highwater(JOURNAL, 0)
    log.close()
    watch = Watch()
    WORKERS[worker](settings, watch)
    assert watch.first is not None
    return (end - 1 - watch.first[0]) * RECORD_ROWS, watch.taken


def best_of_fresh(worker: str, url_of: Callable[[int], str | None]) -> tuple[int, Timed]:
    """The best round by ticks a second, each in a process and a home of its own."""
    rounds = []
    for number in range(ROUNDS):
        with TemporaryDirectory() as home:
            rounds.append(in_fresh_process(run, worker, Path(home), url_of(number)))
    return max(rounds, key=lambda r: r[0] / r[1].wall_s)


def main() -> None:
    headline(f"{journals.source()}, {RECORD_ROWS} a record, two bots, best of {ROUNDS} processes")
    for worker in WORKERS:
        show(f"embedded, {worker}", *best_of_fresh(worker, lambda number: None))
    with TemporaryDirectory() as folder:
        try:
            broker = Kafka(Path(folder)).start()
        except KafkaMissingError as error:
            print(f"Kafka is left out: {error}")
            return
        try:
            for worker in WORKERS:
                topics = partial("kafka://{0}/{1}-{2}".format, broker.bootstrap, worker.replace(" ", "-"))
                show(f"Kafka, {worker}", *best_of_fresh(worker, topics))
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
