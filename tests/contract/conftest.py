"""The homes and databases that every contract test runs on.

`log_home()` and `new_database()` each make a fresh one and give its URL. `sink` and `engine` are those of the
database at `url`.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from infra.db.projector import DatabaseSink
from infra.db.schema import migrate, open_database
from tests.services.kafka import Kafka
from tests.services.postgres import Postgres

LogHome = Callable[[], str]
NewDatabase = Callable[[], str]


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


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """A factory of empty databases of one kind."""
    if request.param == "sqlite":
        numbers = count()
        yield lambda: f"sqlite:///{tmp_path}/database-{next(numbers)}.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    made: list[str] = []

    def make() -> str:
        made.append(server.fresh())
        return made[-1]

    yield make
    for url in made:
        server.give_back(url)


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    """An empty database."""
    return new_database()


@pytest.fixture
def sink(url: str) -> Iterator[DatabaseSink]:
    migrate(url)
    sink = DatabaseSink(url)
    yield sink
    sink.close()


@pytest.fixture
def engine(url: str, sink: DatabaseSink) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()
