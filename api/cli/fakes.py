"""`up --fake`: the fake exchanges of the tests, for who tries a feed without a network."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from api.cli.failures import CommandFailedError
from api.cli.output import say

SERVE = Path("tests/venues/serve.py")
FIRST = "BTC/USDT"
"""A market that each of them has."""
OF_A_HOME = ("TCPD_CONFIG", "TCPD_LOG_URL", "TCPD_DATABASE_URL", "TCPD_REDIS_URL", "TCPD_ANCHOR")
"""Settings that would lead made trades to where real ones are kept."""


@contextmanager
def faked(venues: Sequence[str]) -> Generator[list[str]]:
    """Fake exchanges at work, with a new home that is gone at the end; gives a feed of each, none for none.

    What this process reads of its environment leads there. Raises `CommandFailedError`.
    """
    if not venues:
        yield []
        return
    if not SERVE.is_file() or find_spec("trustme") is None:
        raise CommandFailedError(
            "--fake: the fake exchanges are part of the tests: run this in the source folder, with what"
            " `make test` installs; or name a real exchange with --feed"
        )
    for name in OF_A_HOME:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="tcpdashboard-fake-") as home, _serving(venues):
        os.environ["TCPD_HOME"] = home
        say(f"other commands see what is made here with TCPD_HOME={home}")
        yield [f"{venue}:{FIRST}" for venue in venues]


@contextmanager
def _serving(venues: Sequence[str]) -> Generator[None]:
    """A child that ends when its standard input does, however this process ends."""
    child = subprocess.Popen(
        [sys.executable, "-m", ".".join(SERVE.with_suffix("").parts), "--child", *venues],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us: it ends behind the last trade that was collected
    )
    with child:
        assert child.stdin is not None and child.stdout is not None, "both are pipes"
        try:
            line = child.stdout.readline()
            if not line:
                raise CommandFailedError("--fake: the fake exchanges did not start, see above")
            for word in shlex.split(line)[1:]:
                name, _, value = word.partition("=")
                os.environ[name] = value
            yield
        finally:
            child.stdin.close()
