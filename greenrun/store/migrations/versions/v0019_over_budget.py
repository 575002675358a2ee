"""Which jobs an admin lets go over their budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the column: none of the earlier jobs was let."""
    op.add_column("jobs", sa.Column("over_budget", sa.Boolean(), nullable=False, server_default=sa.text("0")))
