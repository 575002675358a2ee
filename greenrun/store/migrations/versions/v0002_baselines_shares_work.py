"""Shares of devices, utilisation, work done, baselines, marginal prices and the price of electricity."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what reports of a settled month need; what was booked before has a share of 1, and knows no utilisation."""
    op.add_column("jobs", sa.Column("stop_on", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    op.add_column("runs", sa.Column("work", sa.Float()))
    op.add_column("runs", sa.Column("work_unit", sa.String()))
    op.add_column("runs", sa.Column("work_at", sa.String()))
    op.add_column("slices", sa.Column("share", sa.Float(), nullable=False, server_default=sa.text("1.0")))
    op.add_column("slices", sa.Column("busy_s", sa.Float()))
    with op.batch_alter_table("ledger") as ledger:
        ledger.drop_constraint("ck_ledger_stage", type_="check")
        ledger.create_check_constraint("ck_ledger_stage", "stage IN ('booked', 'settled', 'marginal', 'baseline')")
    _baselines()
    _unsettled_marginal()
    _electricity_prices()


def _baselines() -> None:
    op.create_table(
        "baselines",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.Column("at", sa.String()),
        sa.Column("why", sa.String()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_baselines_run_id"),
        sa.PrimaryKeyConstraint("run_id", name="pk_baselines"),
    )
    op.create_index("ix_baselines_ended_at", "baselines", ["ended_at"])
    op.create_index("ix_baselines_waiting", "baselines", ["run_id"], sqlite_where=sa.text("at IS NULL"))


def _unsettled_marginal() -> None:
    op.create_table(
        "unsettled_marginal",
        sa.Column("slice_id", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["slice_id"], ["slices.id"], name="fk_unsettled_marginal_slice_id"),
        sa.PrimaryKeyConstraint("slice_id", name="pk_unsettled_marginal"),
    )
    op.create_index("ix_unsettled_marginal_ended_at", "unsettled_marginal", ["ended_at"])


def _electricity_prices() -> None:
    op.create_table(
        "electricity_prices",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.Column("price_per_kwh", sa.Float(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("fetched_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", "started_at", name="pk_electricity_prices"),
    )
