"""Making the database anew from the log, and comparing databases by what they hold."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice

import msgspec
from sqlalchemy import Column, Connection, delete, select

from infra.db.connect import database_at, writing
from infra.db.projector import Applied, project
from infra.db.schema import migrate
from infra.db.tables import metadata, positions
from streams.log import Log
from streams.records import Record
from streams.topics import PROJECTED

CHUNK_RECORDS = 2_000


def rebuild(log: Log, url: str) -> Applied:
    """Replace all content by what the derived streams of `log` say, from the earliest record they hold.

    One transaction: readers see the old content until it ends, and all of it stays when it fails or is
    killed. A projector that runs beside it waits, then goes on behind the rebuilt positions.
    """
    migrate(url)
    engine = database_at(url)
    total = Applied()
    with writing(engine).begin() as connection:
        _empty(connection)
        records = _derived(log)
        while chunk := list(islice(records, CHUNK_RECORDS)):
            total += project(connection, chunk)
    engine.dispose()
    return total


def _empty(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        metadata.drop_all(connection)
        metadata.create_all(connection)
        return
    # PostgreSQL's readers would wait for dropped tables; the lock is for the projector, which begins there
    connection.exec_driver_sql(f"LOCK TABLE {positions.name} IN EXCLUSIVE MODE")
    for table in metadata.sorted_tables:
        connection.execute(delete(table))


def _derived(log: Log) -> Iterator[Record]:
    for topic in PROJECTED:
        for partition in range(log.partitions):
            yield from log.read(topic, partition, log.earliest(topic, partition))


def content_hash(url: str, *, content: bool = False) -> str:
    """SHA-256 over all rows of all tables in the order of their keys.

    Equal hashes mean equal databases, also of different dialects. `content=True` leaves out what is not
    content (design rule 3): causes, offsets and positions, checkpoints, notices about the machinery; then two
    runs over the same input in other batches, or with a writer that was killed, are equal.
    """
    digest = sha256()
    engine = database_at(url)
    with engine.connect().execution_options(yield_per=1_000) as connection:
        for table in sorted(metadata.tables.values(), key=lambda table: table.name):
            if content and not _is_content(table.info):
                continue
            columns: list[Column[object]] = [c for c in table.columns if not content or _is_content(c.info)]
            digest.update(f"{table.name}\n".encode())
            for row in connection.execute(select(*columns).order_by(*table.primary_key.columns)):
                digest.update(msgspec.json.encode(tuple(row)) + b"\n")
    engine.dispose()
    return digest.hexdigest()


def _is_content(info: dict[str, object]) -> bool:
    return bool(info.get("content", True))
