"""A log, the fake exchanges, and short waits, for tests of what is collected from them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.exchange import collector
from infra.exchange.venues import filling, line, provider, rest
from streams.backends import open_log
from streams.log import Log
from tests.venues.binance import Binance
from tests.venues.bybit import Bybit
from tests.venues.fake import FakeVenue
from tests.venues.okx import Okx

NUMBERED = [Binance, Okx]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/log", partitions=1)
    yield log
    log.close()


@pytest.fixture
def other_log(tmp_path: Path) -> Iterator[Log]:
    log = open_log(f"embedded://{tmp_path}/other", partitions=1)
    yield log
    log.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again soon, and a clock that a test moves is looked at often."""
    for module, names in {
        collector: ("CLOCK_S", "WAIT_S_MAX"),
        filling: ("LOOK_S", "AGAIN_S", "LEFT_OUT_S", "FAILED_S"),
        line: ("FIRST_WAIT_S", "WAIT_S_MAX", "JITTER_S"),
        provider: ("PAUSE_LOOK_S",),
        rest: ("LOOK_S",),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, 0.02)


@pytest.fixture(params=[*NUMBERED, Bybit], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[FakeVenue]:
    return request.param


@pytest.fixture(params=NUMBERED, ids=lambda kind: kind.name)
def numbered(request: pytest.FixtureRequest) -> type[FakeVenue]:
    """Of those whose trade ids go on by one."""
    return request.param
