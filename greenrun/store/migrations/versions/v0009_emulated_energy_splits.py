"""Emulated energy as a grade of its own, and how far the energy of a gap may be off for each of those that share it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; of earlier gaps no bounds are kept. What emulated GPUs used had been graded as measured."""
    op.add_column("slices", sa.Column("split_j", sa.Float(), nullable=False, server_default=sa.text("0.0")))
    op.execute("UPDATE slices SET quality = 'emulated' WHERE device LIKE 'EMULATED-%' AND quality = 'measured'")
