"""The number of the run from which a job's retries are counted, in place of the instant of its last requeue."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; of jobs that were requeued before, those runs count that were claimed since, as they did."""
    op.add_column("jobs", sa.Column("counted_from", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.execute(
        """
        UPDATE jobs SET counted_from = 1 + coalesce(
            (SELECT max(number) FROM runs WHERE job_id = jobs.id AND claimed_at < jobs.requeued_at), 0)
        WHERE requeued_at IS NOT NULL
        """
    )
