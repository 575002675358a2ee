"""The umask and the resource limits of who submitted a job."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; earlier jobs run with those of the daemon."""
    op.add_column("jobs", sa.Column("umask", sa.String(), nullable=True))
    op.add_column("jobs", sa.Column("limits", sa.Text(), nullable=False, server_default=sa.text("'{}'")))
