"""A job's own program and script as they were when it was submitted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; of earlier jobs no files were noted."""
    op.add_column("jobs", sa.Column("noted_files", sa.Text(), nullable=False, server_default=sa.text("'{}'")))
