"""What is drained, and in which form a job is told its GPUs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the table of what is drained, which is nothing yet, and the form, which jobs did not state."""
    op.add_column("jobs", sa.Column("gpu_ids", sa.String()))
    op.create_table(
        "drains",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_drains"),
    )
