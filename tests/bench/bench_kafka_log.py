"""Records a second into and out of a real Kafka: one broker and one client on this machine.

Run by `python -m tests.bench.bench_kafka_log`. A record holds columns of ticks, which compress as real ones
do; 2 kB are about 60 ticks, 20 kB about 600.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from streams import topics
from streams.backends import open_log
from streams.log import Log
from streams.records import Entry
from tests.services.kafka import Kafka, KafkaMissingError

TICK_BYTES = 33
RECORDS = {2_000: 20_000, 20_000: 4_000}
BATCHES = (1, 10, 100, 1_000)
LONE_RECORDS = 500


def tick_columns(size_bytes: int) -> bytes:
    """Kind, time, price, size and id of as many ticks as fit."""
    rng, rows = np.random.default_rng(1), size_bytes // TICK_BYTES
    time = 1_700_000_000_000_000_000 + np.cumsum(rng.integers(0, 10**9, rows))
    price = 100_000 + np.cumsum(rng.integers(-2, 3, rows))
    columns = (time, price, rng.integers(1, 10**6, rows), np.arange(rows))
    return rng.integers(0, 3, rows, dtype=np.uint8).tobytes() + b"".join(c.tobytes() for c in columns)


def append_rate(log: Log, value: bytes, batch: int) -> float:
    count = RECORDS[round(len(value), -3)] if batch >= 100 else LONE_RECORDS * min(batch, 4)
    entries = [Entry(topics.JOURNAL, b"market %d" % i, value, 1_700_000_000_000) for i in range(count)]
    start = perf_counter()
    for first in range(0, count, batch):
        log.append(entries[first : first + batch])
    return count / (perf_counter() - start)


def read_rate(log: Log) -> float:
    start = perf_counter()
    count = sum(1 for partition in range(log.partitions) for _ in log.read(topics.JOURNAL, partition))
    return count / (perf_counter() - start)


def main() -> None:
    with TemporaryDirectory() as folder:
        try:
            broker = Kafka(Path(folder))
        except KafkaMissingError as error:
            sys.exit(str(error))
        start = perf_counter()
        broker.start()
        try:
            print(f"broker formatted and started     {perf_counter() - start:10.1f} s")
            for size_bytes in RECORDS:
                log = open_log(f"kafka://{broker.bootstrap}/bench-{size_bytes}")
                value = tick_columns(size_bytes)
                for batch in BATCHES:
                    rate = append_rate(log, value, batch)
                    print(f"append {size_bytes:6,} B, {batch:5,} a call   {rate:10,.0f} records/s")
                print(f"read   {size_bytes:6,} B                 {read_rate(log):10,.0f} records/s")
                log.close()
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
