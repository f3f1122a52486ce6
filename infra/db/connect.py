"""Connecting to the database: one SQLAlchemy engine a process, by URL."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from infra.db.bulk import listen_for_copy
from streams.files import disk_is_full

BUSY_TIMEOUT_MS = 60_000
"""How long a SQLite writer waits for another; a rebuild holds the lock for its whole length."""
WAL_STEP_S = 0.01
PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""How long (seconds, the last in ms) until a PostgreSQL server that says nothing is taken for gone; the URL's
own settings win."""
ABANDONED_S = 120
"""PostgreSQL ends a writing transaction whose client says nothing for so long, as one whose machine is gone:
its locks hold up the worker that took over."""
_FILE = "file"
"""Of a pooled connection to SQLite: which file it has open."""
WRITE = {"tcpd_write": True}
"""Execution option of a connection that is going to write."""


def database_at(url: str) -> Engine:
    """The database of `sqlite:///path` or `postgresql+psycopg2://…`; creates no tables.

    Raises `ValueError` for another dialect.
    """
    parsed = make_url(url)
    dialect = parsed.get_backend_name()
    if dialect not in ("sqlite", "postgresql"):
        raise ValueError(
            f"database URL {parsed.render_as_string()}: {dialect!r} is not supported;"
            " use sqlite:///PATH or postgresql+psycopg2://USER@HOST/NAME"
        )
    if dialect == "sqlite":
        database = create_engine(parsed)
        event.listen(database, "connect", _configure_sqlite)
        event.listen(database, "connect", _note_file)
        event.listen(database, "handle_error", _say_full)
        event.listen(database, "begin", _begin_sqlite)
    else:
        database = create_engine(parsed, connect_args=PATIENCE | dict(parsed.query))
        event.listen(database, "begin", _begin_postgresql)
        listen_for_copy(database)
    return database


class DatabaseGoneError(SQLAlchemyError):
    """The file of an open SQLite database was deleted or replaced: what is written goes nowhere."""


class DiskFullError(SQLAlchemyError):
    """There is no room for what an SQLite database was to write."""


def writing(database: Engine) -> Engine:
    """The same database, whose transactions write.

    On SQLite they take the write lock at their begin: one that begins by reading and then writes fails at
    once, without waiting, when another process wrote in between.
    """
    return database.execution_options(**WRITE)


def is_out_of_reach(error: DBAPIError, database: Engine) -> bool:
    """Whether the server could not be reached, went away or had no room: what waiting may mend.

    For SQLite never: what it calls operational is a file that is damaged, full or of another program.
    """
    if database.dialect.name == "sqlite":
        return False
    return error.connection_invalidated or isinstance(error, OperationalError)


def use_wal(connection: sqlite3.Connection) -> None:
    """Have a file written ahead from now on; a file that is stays so.

    The switch fails at once where another process works on the file, such as one that switches it as well:
    SQLite's own waiting does not cover it.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1_000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(WAL_STEP_S)


def _configure_sqlite(connection: Any, _record: object) -> None:
    # the driver's implicit BEGIN leaves schema changes outside the transaction; `_begin_sqlite` replaces it
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
    use_wal(connection)
    for pragma in (
        # a power cut may undo the last transactions, positions and rows together: they are projected again
        "synchronous=NORMAL",
        "cache_size=-65536",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _note_file(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
    record.info[_FILE] = _identity(path)


def _say_full(context: ExceptionContext) -> None:
    error, engine = context.original_exception, context.engine
    url = engine.url if engine is not None else None
    if (
        url is None
        or not isinstance(error, sqlite3.Error)
        or not disk_is_full(error, Path(url.database or "/"))
    ):
        return
    raise DiskFullError(
        f"database {url.render_as_string()}: the disk is full: nothing of this was written;"
        " free space, start again"
    )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _begin_sqlite(connection: Connection) -> None:
    path = str(connection.engine.url.database or "")
    if path not in ("", ":memory:") and _identity(path) != connection.info[_FILE]:
        raise DatabaseGoneError(
            f"database {connection.engine.url.render_as_string()} was deleted or replaced while it was open:"
            " start again, `tcpdashboard up` makes it anew from the log"
        )
    write = connection.get_execution_options().get("tcpd_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("tcpd_write"):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{ABANDONED_S}s'")
