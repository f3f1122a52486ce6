"""Ticks a second of the fold alone, of cold reads, of replay and of verify, without Faust.

Run by `python -m tests.bench.bench_pipeline`. *fold*: `Pipeline.fold` over journal records in memory, which
decodes, folds, encodes what follows, and chains the hashes. *cold read*: the log's file is dropped from the
page cache, opened anew, and each record decoded to columns. *replay*: the same read, warm, and folded.
*replay and write*: what follows is appended to the log too, as by `tcpdashboard replay`. *verify*: replay
compared record by record with what is recorded, as by `tcpdashboard verify`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from infra.upkeep.fresh_home import fold_home
from projections.audit.verify import verify
from projections.fold.pipeline import Pipeline
from projections.replay import fresh, replay
from projections.strategies.code import Strategies
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import TickBatch
from streams.log import Log
from streams.records import Record
from streams.snapshots import latest
from streams.ticks import unpack
from streams.topics import JOURNAL
from tests.bench import journals
from tests.bench.timing import ROUNDS, best, headline, show, timed
from tests.journal import begun

RECORD_ROWS = (500, 5_000)
"""As a busy feed sends them, and as `import` writes them."""
TIMES = 4
MARKETS = 8
"""Of the journal that many markets share."""


def main() -> None:
    code = journals.strategies()
    market, ticks = journals.trades(TIMES)
    headline(f"{ticks.rows:,} {journals.source()}")
    for rows in RECORD_ROWS:
        size = f"{rows:,} a record"
        batches = list(journals.batches(market, ticks, rows))
        with_bots = journals.with_two_bots(market, code) + batches
        many, dealt = journals.interleaved(market, ticks, MARKETS, rows)
        fold(f"fold, no bots, {size}", ticks.rows, code, [(market.key, market), *batches])
        numbered = ticks._replace(id=np.arange(ticks.rows))
        with_ids = journals.batches(market, numbered, rows)
        fold(f"fold, trade ids, no bots, {size}", ticks.rows, code, [(market.key, market), *with_ids])
        fold(f"fold, two bots, {size}", ticks.rows, code, with_bots)
        fold(
            f"fold, {MARKETS} markets, no bots, {size}", ticks.rows, code, [(m.key, m) for m in many] + dealt
        )
        on_the_log(size, ticks.rows, code, with_bots)


def fold(name: str, ticks: int, code: Strategies, rows: Iterable[journals.Row]) -> None:
    entries = enumerate(journals.entries(rows), 1)
    records = [begun(), *(Record(JOURNAL, 0, at, e.time_ms, e.key, e.value, e.headers) for at, e in entries)]

    def run() -> None:
        pipeline = Pipeline(0, code)
        for record in records:
            pipeline.fold(record)

    show(name, ticks, best(run))


def on_the_log(size: str, ticks: int, code: Strategies, rows: list[journals.Row]) -> None:
    with TemporaryDirectory() as folder:
        url = f"embedded://{folder}"
        log = open_log(url, partitions=1)
        journals.append(log, rows)
        log.close()
        disk = sum(file.stat().st_size for file in Path(folder).iterdir())
        cold = []
        for _ in range(ROUNDS):
            drop_from_cache(Path(folder))
            cold.append(timed(lambda: read(url)))
        show(f"cold read, {size}", ticks, min(cold), f"{disk / ticks:.1f} bytes a tick on disk")
        log = open_log(url)
        show(f"replay, two bots, {size}", ticks, best(lambda: replayed(log, code)))
        show(f"replay and write, two bots, {size}", ticks, timed(lambda: fold_home(log, code)), "one round")
        show(f"verify, two bots, {size}", ticks, best(lambda: verified(log, code)))
        log.close()


def drop_from_cache(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(url: str) -> int:
    """Every tick of the journal as columns."""
    log = open_log(url)
    events = (decode_input(record.value).event for record in log.read(JOURNAL, 0))
    rows = sum(unpack(event).rows for event in events if isinstance(event, TickBatch))
    log.close()
    return rows


def replayed(log: Log, code: Strategies) -> None:
    for pipeline in fresh(log, code):
        for _ in replay(pipeline, log):
            pass


def verified(log: Log, code: Strategies) -> None:
    def stored(partition: int) -> tuple[int, bytes]:
        snapshot = latest(log, partition, print)
        assert snapshot is not None and snapshot.state is not None
        return snapshot.applied, snapshot.state

    result = verify(log, code, stored)
    assert result.equal, result.difference


if __name__ == "__main__":
    main()
