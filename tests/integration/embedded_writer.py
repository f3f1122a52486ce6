"""A process for the tests of the embedded log: `append` or `fold`, until it is killed.

`append URL COUNT` appends COUNT records of 3 kB to partition 0 of `candles`, each synced, and kills itself.
`fold URL WHO` takes the fold lock, says so and waits for the end of its input.
"""

import os
import signal
import sys

from streams import topics
from streams.embedded.fold_lock import fold_lock
from streams.embedded.log import EmbeddedLog
from streams.records import Entry


def append(url: str, count: int) -> None:
    log = EmbeddedLog(url)
    for i in range(count):
        log.append([Entry(topics.CANDLES, b"k", b"%03d" % i + bytes(3_000), i, 0)])
    os.kill(os.getpid(), signal.SIGKILL)


def fold(url: str, who: str) -> None:
    with fold_lock(url, who):
        sys.stdout.write("folding\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    action, url, argument = sys.argv[1:]
    if action == "append":
        append(url, int(argument))
    else:
        fold(url, argument)
