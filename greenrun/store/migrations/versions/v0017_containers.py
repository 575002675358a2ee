"""The image in a container of which a job is to run, and which image each run was made of."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns; earlier jobs ran in no container."""
    op.add_column("jobs", sa.Column("container", sa.String()))
    op.add_column("runs", sa.Column("image", sa.String()))
