"""Which jobs are content with a part of a GPU."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column: every earlier job has whole GPUs."""
    op.add_column("jobs", sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.text("0")))
