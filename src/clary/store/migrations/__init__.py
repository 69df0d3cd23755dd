"""Alembic's scripts, run from code (store/migrate.py): there is no alembic.ini."""
