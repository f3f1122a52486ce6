"""Bringing a database to this version's tables, and refusing one that is not there yet."""

import logging
import re
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from infra.db.connect import database_at, is_out_of_reach, writing
from infra.process.errors import one_line

logger = logging.getLogger(__name__)

MIGRATION_LOCK = 0x7C9D
"""PostgreSQL's advisory lock under which one process migrates and the others wait."""
RETRY_S = 1.0
MIGRATIONS = Path(__file__).with_name("migrations")
_PASSING = re.compile(
    r"starting up|not yet accepting|shutting down|recovery mode|too many|connection slots"
    r"|administrator command"
)
_REFUSED = re.compile(r"FATAL:|no password supplied")
"""In what PostgreSQL's client says of a connection that failed: it gives no code for it."""


class SchemaError(Exception):
    """The database's tables are not those of this version; `revision` is what it has, None: no tables yet."""

    def __init__(self, message: str, revision: str | None) -> None:
        super().__init__(message)
        self.revision = revision


def migrate(url: str) -> str:
    """Create or upgrade the tables; returns the revision reached. Harmless when repeated, also at once.

    Raises `SchemaError` for tables that this version does not know.
    """
    database = database_at(url)
    newest = newest_revision()
    with writing(database).begin() as connection:
        if _check_known(connection) != newest:
            _upgrade(connection)
    database.dispose()
    return newest


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - who opens a database seldom migrates it, and this takes long
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def migrate_when_reachable(url: str) -> str:
    """`migrate`, after waiting for a server that is away, which is logged once.

    Raises at once what waiting does not mend, such as a wrong password or an unknown database.
    """
    waits = False
    while True:
        try:
            return migrate(url)
        except DBAPIError as error:
            database = database_at(url)
            reason = one_line(error)
            refused = _REFUSED.search(reason) and not _PASSING.search(reason)
            if refused or not is_out_of_reach(error, database):
                raise
            if not waits:
                logger.warning("waiting for database %s: %s", make_url(url).render_as_string(), reason)
            waits = True
        time.sleep(RETRY_S)


def newest_revision() -> str:
    """That of this version's tables."""
    return max(_revisions())


def _revisions() -> set[str]:
    """Of all migrations: the names of their files, in order."""
    return {file.stem for file in (MIGRATIONS / "versions").glob("*.py")}


def _revision(connection: Connection) -> str | None:
    """That of the database's tables; None: there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def open_database(url: str) -> Engine:
    """An database on a database whose tables are those of this version. Raises `SchemaError`."""
    database = database_at(url)
    with database.connect() as connection:
        revision = _check_known(connection)
    newest = newest_revision()
    if revision != newest:
        shown = database.url.render_as_string()
        database.dispose()
        raise SchemaError(
            f"database {shown} is at revision {revision or 'none'}, this version needs {newest}:"
            " run `tcpdashboard migrate`",
            revision,
        )
    return database


def _check_known(connection: Connection) -> str | None:
    """The database's revision. Raises `SchemaError` for one that this version does not know."""
    revision = _revision(connection)
    if revision is not None and revision not in _revisions():
        shown = connection.engine.url.render_as_string()
        raise SchemaError(
            f"database {shown} has tables of another release (revision {revision}): name another database, or"
            " put this one away, and run `tcpdashboard rebuild`, which makes it of the log",
            revision,
        )
    return revision
