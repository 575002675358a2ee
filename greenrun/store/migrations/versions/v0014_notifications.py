"""What jobs are told of through the site's hooks, and what the hooks have yet to be told of."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column, with nothing told of earlier jobs, and the tables."""
    op.add_column("jobs", sa.Column("notify", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.create_table(
        "hooks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hook", sa.String(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_notifications_hook_event_id", "notifications", ["hook", "event_id"], unique=True)
