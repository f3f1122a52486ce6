"""Bringing a database to this version's tables, and refusing one that is not there yet."""

import logging
import re
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from infra.db.engine import is_out_of_reach, open_engine, writing
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

    def __init__(self, words: str, revision: str | None) -> None:
        super().__init__(words)
        self.revision = revision


def migrate(url: str) -> str:
    """Create or upgrade the tables; returns the revision reached. Harmless when repeated, also at once."""
    from alembic import command  # noqa: PLC0415 - who opens a database seldom migrates it, and this takes long
    from alembic.config import Config  # noqa: PLC0415 - as above

    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    return newest_revision()


def migrate_when_reachable(url: str) -> str:
    """`migrate`, after waiting for a server that is away, which is logged once.

    Raises at once what waiting does not mend, such as a wrong password or an unknown database.
    """
    waits = False
    while True:
        try:
            return migrate(url)
        except DBAPIError as error:
            engine = open_engine(url)
            reason = one_line(error)
            refused = _REFUSED.search(reason) and not _PASSING.search(reason)
            if refused or not is_out_of_reach(error, engine):
                raise
            if not waits:
                logger.warning("waiting for database %s: %s", make_url(url).render_as_string(), reason)
            waits = True
        time.sleep(RETRY_S)


def newest_revision() -> str:
    """That of this version's tables: the files of the migrations begin with theirs, in order."""
    return max(file.name.partition("_")[0] for file in (MIGRATIONS / "versions").glob("*.py"))


def _revision(connection: Connection) -> str | None:
    """That of the database's tables; None: there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(text("SELECT version_num FROM alembic_version"))


def open_database(url: str) -> Engine:
    """An engine on a database whose tables are those of this version. Raises `SchemaError`."""
    engine = open_engine(url)
    with engine.connect() as connection:
        revision = _revision(connection)
    newest = newest_revision()
    if revision != newest:
        shown = engine.url.render_as_string()
        engine.dispose()
        raise SchemaError(
            f"database {shown} is at revision {revision or 'none'}, this version needs {newest}:"
            " run `tcpdashboard migrate`",
            revision,
        )
    return engine
