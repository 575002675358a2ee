"""How much memory, CPU and disk a job may use."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; earlier jobs have no limits."""
    op.add_column("jobs", sa.Column("memory_gib", sa.Float()))
    op.add_column("jobs", sa.Column("cpus", sa.Float()))
    op.add_column("jobs", sa.Column("io_weight", sa.Integer()))
