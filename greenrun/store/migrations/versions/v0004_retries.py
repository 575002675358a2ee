"""Pauses between retries, the exit codes that are retried, and jobs that were made to run again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; earlier jobs are in no pause, are retried on any exit code, and were not requeued."""
    op.add_column("jobs", sa.Column("retry_on", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.add_column("jobs", sa.Column("retry_at", sa.String(), nullable=True))
    op.add_column("jobs", sa.Column("requeued_at", sa.String(), nullable=True))
