"""The homes that every contract test runs on: `log_home()` makes a fresh one and gives its URL."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from tests.services.kafka import Kafka

LogHome = Callable[[], str]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def log_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogHome]:
    """A factory of empty logs; a URL may be opened again, also by another process."""
    numbers = count()
    if request.param == "embedded":
        yield lambda: f"embedded://{tmp_path}/log-{next(numbers)}"
        return
    broker: Kafka = request.getfixturevalue("kafka")
    prefix = f"test-{uuid4().hex}"
    yield lambda: f"kafka://{broker.bootstrap}/{prefix}.{next(numbers)}"
    broker.delete_topics(prefix)
