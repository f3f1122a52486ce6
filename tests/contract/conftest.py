"""The homes that every contract test runs on: `log_home()` makes a fresh one and gives its URL."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

LogHome = Callable[[], str]


@pytest.fixture(params=["embedded"])
def log_home(request: pytest.FixtureRequest, tmp_path: Path) -> LogHome:
    """A factory of empty logs; a URL may be opened again, also by another process."""
    if request.param == "embedded":
        numbers = count()
        return lambda: f"embedded://{tmp_path}/log-{next(numbers)}"
    raise AssertionError(f"no such home: {request.param}")
