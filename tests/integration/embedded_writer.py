"""A process for the tests of the embedded log: `embedded_writer.py URL COUNT`.

It appends COUNT records of 3 kB to partition 0 of `candles`, each synced, and kills itself.
"""

import os
import signal
import sys

from streams import topics
from streams.embedded.log import EmbeddedLog
from streams.records import Entry


def append(url: str, count: int) -> None:
    log = EmbeddedLog(url)
    for i in range(count):
        log.append([Entry(topics.CANDLES, b"k", b"%03d" % i + bytes(3_000), i, 0)])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    append(sys.argv[1], int(sys.argv[2]))
