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

from api.cli.failures import CommandFailedError, refusing
from api.cli.output import say

SERVE = Path("tests/venues/serve.py")
FIRST = "BTC/USDT"
"""A market that each of them has."""
OF_A_HOME = ("TCPD_CONFIG", "TCPD_LOG_URL", "TCPD_DATABASE_URL", "TCPD_REDIS_URL", "TCPD_ANCHOR")
"""Settings that would lead made trades to where real ones are kept."""


@contextmanager
def faked(venues: Sequence[str], feeds: Sequence[str]) -> Generator[Sequence[str]]:
    """Fake exchanges at work, with a new home that is gone at the end. Gives what is to be collected:
    `feeds`, or one of each.

    What this process reads of its environment leads there. Raises `CommandFailedError`.
    """
    if not venues:
        yield feeds
        return
    _check(venues, feeds)
    if not SERVE.is_file() or find_spec("trustme") is None:
        raise CommandFailedError(
            "--fake: the fake exchanges are part of the tests: run this in the source folder, with what"
            " `make test` installs; or name a real exchange with --feed"
        )
    for name in OF_A_HOME:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="tcpdashboard-fake-") as home, _serving(venues) as reached_by:
        os.environ |= {"TCPD_HOME": home, **reached_by}
        words = " ".join(f"{name}={shlex.quote(os.environ[name])}" for name in ("TCPD_HOME", *reached_by))
        say(f"other commands see what is made here with {words}")
        yield feeds or [f"{venue}:{FIRST}" for venue in venues]


def _check(venues: Sequence[str], feeds: Sequence[str]) -> None:
    """Raises `CommandFailedError` for a venue that is not known, and a feed of one that is not made."""
    from infra.exchange.venues.known import by_venue, venue

    with refusing():
        for name in venues:
            venue(name)
        for name in by_venue(feeds):
            if name not in venues:
                raise ValueError(f"--feed {name}:…: {name} is not among the made ones; add --fake {name}")


@contextmanager
def _serving(venues: Sequence[str]) -> Generator[dict[str, str]]:
    """A child that ends when its standard input does, however this process ends; gives the settings by which
    it is reached."""
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
            yield dict(word.split("=", 1) for word in shlex.split(line)[1:])
        finally:
            child.stdin.close()
