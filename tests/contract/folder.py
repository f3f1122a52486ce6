"""A process that holds the right to fold, until it is killed: `folder.py URL WORKER LOCKS`."""

import sys
from pathlib import Path

from streams.backends import backend_of


def main(url: str, worker: str, locks: Path) -> None:
    with backend_of(url).folding(worker, locks):
        sys.stdout.write("folding\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
