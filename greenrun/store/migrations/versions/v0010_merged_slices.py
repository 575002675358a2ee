"""Slices that are merged once nothing can change them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns; no earlier slice is merged yet: the daemon does that by and by."""
    op.add_column("slices", sa.Column("merged", sa.Boolean(), nullable=False, server_default=sa.text("0")))
    op.add_column("slices", sa.Column("peak_w", sa.Float()))
    op.create_index(
        "ix_slices_unmerged", "slices", ["run_id", "started_at"], unique=False, sqlite_where=sa.text("merged = 0")
    )
