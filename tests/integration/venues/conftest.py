"""A log, the fake exchanges, and no waits, for tests of what is collected from them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from infra.exchange.venues import filling, provider, rest
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
def no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What failed is tried again at once, and a clock that a test moves is looked at often."""
    monkeypatch.setattr(rest, "LOOK_S", 0.02)
    monkeypatch.setattr(provider, "PAUSE_LOOK_S", 0.02)
    for name in ("LOOK_S", "AGAIN_S", "FAILED_S"):
        monkeypatch.setattr(filling, name, 0.02)
    with stamina.set_testing(True, attempts=10**9):
        yield


@pytest.fixture(params=[*NUMBERED, Bybit], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[FakeVenue]:
    return request.param


@pytest.fixture(params=NUMBERED, ids=lambda kind: kind.name)
def numbered(request: pytest.FixtureRequest) -> type[FakeVenue]:
    """Of those whose trade ids go on by one."""
    return request.param
