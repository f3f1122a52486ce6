"""Peak memory of what reads the whole log, at two lengths of it: it must not grow with the log.

Run by `python -m tests.bench.bench_memory`. Each in a process of its own on the embedded log, with two bots:
the whole worker catching up, then replay, verify, and the database made anew from the log. The peak is the
process's `VmHWM`, libraries and compiled code included.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.process.settings import Settings, load_settings
from infra.upkeep.rebuild import rebuild
from infra.worker.root import work
from streams.backends import open_log
from tests.bench import journals
from tests.bench.bench_pipeline import replayed, verified
from tests.bench.timing import in_fresh_process, peak_mb

RECORD_ROWS = 500
TIMES = (2, 8)


def worker(settings: Settings) -> None:
    work(settings, until=lambda progress: progress.caught_up)


def replay(settings: Settings) -> None:
    replayed(open_log(settings.log_url), journals.strategies())


def verify(settings: Settings) -> None:
    verified(open_log(settings.log_url), journals.strategies())


def rebuilt(settings: Settings) -> None:
    rebuild(open_log(settings.log_url), f"sqlite:///{settings.home}/rebuilt.db")


JOBS: dict[str, Callable[[Settings], None]] = {
    "worker, catching up": worker,
    "replay": replay,
    "verify": verify,
    "rebuild": rebuilt,
}


def settings_of(home: Path) -> Settings:
    return load_settings({"TCPD_HOME": str(home), "TCPD_KERNELS": str(journals.KERNELS)})


def write(home: Path, times: int) -> int:
    """A journal; its ticks."""
    log = open_log(settings_of(home).log_url, partitions=1)
    market, ticks = journals.trades(times)
    journals.append(log, journals.with_two_bots(market, journals.strategies()))
    journals.append(log, journals.batches(market, ticks, RECORD_ROWS), sequence=1)
    return ticks.rows


def peak(job: str, home: Path) -> float:
    logging.basicConfig(level=logging.WARNING)
    JOBS[job](settings_of(home))
    return peak_mb()


def main() -> None:
    print(f"{journals.source()}, {RECORD_ROWS} a record, two bots: peak MB of a process")
    for times in TIMES:
        with TemporaryDirectory() as home:
            ticks = in_fresh_process(write, Path(home), times)
            for job in JOBS:
                mb = in_fresh_process(peak, job, Path(home))
                print(f"{ticks:12,} ticks  {job:22s} {mb:6.0f}", flush=True)


if __name__ == "__main__":
    main()
