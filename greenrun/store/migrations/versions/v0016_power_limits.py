"""Power limits of GPUs that are set for runs, and what jobs allow of them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns, with nothing allowed to earlier jobs, and the table."""
    op.add_column("jobs", sa.Column("power_cap", sa.String()))
    op.add_column("jobs", sa.Column("power_cap_note", sa.String()))
    op.create_table(
        "power_limits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("found_w", sa.Float(), nullable=False),
        sa.Column("set_w", sa.Float(), nullable=False),
        sa.Column("since", sa.String(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float(), nullable=False),
        sa.Column("threshold_g_per_kwh", sa.Float(), nullable=False),
        sa.Column("kept_at", sa.String()),
        sa.Column("until", sa.String()),
        sa.Column("end", sa.String()),
        sa.Column("work_before", sa.Float()),
        sa.Column("work_after", sa.Float()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    is_open = sa.text("until IS NULL")
    op.create_index("ux_power_limits_device", "power_limits", ["device"], unique=True, sqlite_where=is_open)
    op.create_index("ix_power_limits_run_id", "power_limits", ["run_id"])
