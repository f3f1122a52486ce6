"""Run by alembic, on the connection that `infra.db.schema.migrate` hands in, inside its transaction."""

from alembic import context

from infra.channels.store import metadata as channels
from infra.db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=[metadata, channels])
context.run_migrations()
