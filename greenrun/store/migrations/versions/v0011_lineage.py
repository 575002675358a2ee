"""A mark of each commit, by which a database and SQLite's log beside it are known to belong together."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the table with its row; nothing is known of the commits before."""
    op.create_table(
        "lineage",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("mark", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    first = "INSERT INTO lineage VALUES (1, 'commit:' || lower(hex(randomblob(8))) || ':0000000000000000')"
    op.get_bind().exec_driver_sql(first)
