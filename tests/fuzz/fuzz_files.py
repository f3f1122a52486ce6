"""Hostile files through the import: `python -m tests.fuzz.fuzz_files [--seconds S | --count N] [--seed S]`.

Each is read as it is and, where a row ends that, with its bad rows skipped. A refusal names the file; of what
is read every row is accounted for, and what is appended is in candles, a repeat or too late. What escapes is
printed with the seed that repeats it; the seed at work is printed first, for a process that a signal ends.
"""

import argparse
import tempfile
import time
from pathlib import Path

from infra.exchange.files import Imported, OldFileError
from infra.exchange.forms import FileOptions
from infra.exchange.pieces import FileReadError
from infra.exchange.trade_file import BadRowError
from infra.strategies.registry import Strategies, load_strategies
from projections.fold.pipeline import Pipeline
from streams.backends import open_log
from streams.codec import decode_input
from streams.events import Candle, DeadLetter, LateTick, Repeats, TickBatch
from streams.log import Log
from streams.ticks import trades, unpack
from streams.topics import JOURNAL
from tests.fuzz.hostile_files import hostile_file
from tests.journal import fold, of
from tests.programs import KERNELS
from tests.trade_files import import_file, market_of

SECONDS = 300.0
ONLY = FileOptions(only="AAAUSD")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    strategies = load_strategies(KERNELS, ())
    end, read = time.monotonic() + given.seconds, 0
    for seed in range(given.seed, given.seed + given.count):
        if time.monotonic() > end:
            break
        print(f"seed {seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            read += check(seed, Path(folder), strategies)
    print(f"{read:,} rows accounted for")


def check(seed: int, folder: Path, strategies: Strategies) -> int:
    """Import a file; returns how many rows were read. Raises what escapes."""
    path = folder / "trades"
    path.write_bytes(hostile_file(seed))
    log = open_log(f"embedded://{folder}/log", partitions=1)
    try:
        done = _imported(log, path)
        if done is None:
            return 0
        appended = _accounted(log, strategies)
        assert appended >= done.appended, f"{done} of {appended}"
        return done.rows
    finally:
        log.close()


def _imported(log: Log, path: Path) -> Imported | None:
    """What the file gave at its last attempt; None where it was refused."""
    done = None
    for options in (FileOptions(), ONLY):
        try:
            market = market_of(path, "v", "A/USD", options=options)
        except FileReadError as error:
            assert str(error).startswith(f"{path}: "), error
            continue
        for skip_bad in (False, True):
            try:
                done = import_file(log, path, market, options, skip_bad=skip_bad)
            except (BadRowError, FileReadError, OldFileError) as error:
                assert str(error).startswith(f"{path}: "), error
    return done


def _accounted(log: Log, strategies: Strategies) -> int:
    """How many trades the journal holds, each of which the fold accounts for."""
    pipeline = Pipeline(0, strategies)
    counted = late = repeats = 0
    minutes: dict[int, int] = {}
    for item in fold(pipeline, log.read(JOURNAL, 0)):
        assert not of([item], DeadLetter), item
        minutes |= {c.timestamp: c.trades for c in of([item], Candle) if c.timeframe == "1m"}
        late += len(of([item], LateTick))
        repeats += sum(event.trades for event in of([item], Repeats))
    for market in pipeline.view().markets.values():
        forming = market.forming()
        counted += 0 if forming is None else int(forming["trades"])
    counted += sum(minutes.values())
    held = sum(_trades(log))
    assert held == counted + repeats + late, f"{held} = {counted} + {repeats} + {late}"
    return held


def _trades(log: Log) -> list[int]:
    """Of each batch of the journal."""
    return [
        trades(unpack(event).kind)
        for record in log.read(JOURNAL, 0)
        if isinstance(event := decode_input(record.value).event, TickBatch)
    ]


if __name__ == "__main__":
    main()
