"""Submissions by the key of their request, so that one that is sent again is not done twice."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table of submissions; those before it had no key."""
    op.create_table(
        "submissions",
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("jobs", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user", "key", name="pk_submissions"),
    )
    op.create_index("ix_submissions_at", "submissions", ["at"])
