"""Who beside the derived streams knows how far they went: snapshots, the workers' commits, the database.

A derived record is in the log before any of them counts it. So a stream that ends before what they say was
cut; without them, streams that were deleted would look like streams that nobody has written yet.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from infra.db import tables
from infra.db.connect import database_at
from infra.process.errors import one_line
from projections.audit.verify import Witness
from streams.log import Log
from streams.snapshots import latest
from streams.topics import DERIVED, GROUP, JOURNAL

Warn = Callable[[str], None]


def witnesses(log: Log, database_url: str, warn: Warn) -> Callable[[int], Iterable[Witness]]:
    """The witnesses of each partition; `warn` is told of a database that could not be asked."""
    committed = log.committed(GROUP)
    projected = _projected(database_url, warn)

    def of(partition: int) -> Iterator[Witness]:
        snapshot = latest(log, partition, warn)
        if snapshot is not None:
            yield Witness("the newest snapshot", dict.fromkeys(DERIVED, snapshot.sent), {})
        # commits follow the acknowledgement of the outputs, and name the offset that is due next
        folded: dict[str, int] = dict.fromkeys(DERIVED, committed.get((JOURNAL, partition), 0) - 1)
        read = {topic: committed.get((topic, partition), 0) - 1 for topic in DERIVED}
        yield Witness("the workers' commit", folded, read)
        mine = [row for row in projected if row.partition == partition]
        # of its last cause it may have read some outputs only
        folded = {row.topic: row.cause_offset - 1 for row in mine}
        yield Witness("the database", folded, {row.topic: row.offset for row in mine})

    return of


def _projected(url: str, warn: Warn) -> list[Any]:
    """The positions of the projections. What the mirror has counted is none: it outlives a `rebuild`."""
    parsed = make_url(url)
    name = parsed.render_as_string()
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        warn(f"there is no database {name}: it could not be asked how far it read")
        return []
    engine = database_at(url)
    try:
        with engine.connect() as connection:
            if inspect(connection).has_table(tables.positions.name):
                return list(connection.execute(select(tables.positions)))
    except SQLAlchemyError as error:
        warn(f"database {name} could not be asked how far it read: {one_line(error)}")
    finally:
        engine.dispose()
    return []
