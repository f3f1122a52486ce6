"""A writer to be killed: appends `NAME:0` … to partition 0, printing what is acknowledged."""

import sys

from streams import topics
from streams.backends import open_log
from streams.records import Entry


def main(url: str, name: str, count: int) -> None:
    log = open_log(url)
    for i in range(count):
        log.append([Entry(topics.CANDLES, name.encode(), f"{name}:{i}".encode(), i, 0)])
        sys.stdout.write(f"{i}\n")
        sys.stdout.flush()
    log.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
