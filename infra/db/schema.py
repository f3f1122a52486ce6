"""Bringing a database to this version's tables, and refusing one that is not there yet."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select

from infra.db.engine import open_engine, writing

MIGRATION_LOCK = 0x7C9D
"""PostgreSQL's advisory lock under which one process migrates and the others wait."""


class SchemaError(Exception):
    """The database's tables are not those of this version; `revision` is what it has, None: no tables yet."""

    def __init__(self, words: str, revision: str | None) -> None:
        super().__init__(words)
        self.revision = revision


def alembic_config() -> Config:
    """Alembic's configuration, with the migrations of the installed package."""
    config = Config()
    config.set_main_option("script_location", "infra.db:migrations")
    return config


def migrate(url: str) -> str:
    """Create or upgrade the tables; returns the revision reached. Harmless when repeated, also at once."""
    engine = open_engine(url)
    config = alembic_config()
    with writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    return newest_revision()


def newest_revision() -> str:
    return str(ScriptDirectory.from_config(alembic_config()).get_current_head())


def open_database(url: str) -> Engine:
    """An engine on a database whose tables are those of this version. Raises `SchemaError`."""
    engine = open_engine(url)
    with engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
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
