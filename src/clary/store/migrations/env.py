"""Alembic's entry: runs the steps on the connection that store/migrate.py has already opened and locked."""

from __future__ import annotations

from alembic import context

from clary.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
