"""Alembic migrations; `greenrun.store.migrate` runs them at start, there is no alembic.ini."""
