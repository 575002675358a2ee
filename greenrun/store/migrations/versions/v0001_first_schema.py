"""The schema of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    _jobs()
    _grid()
    _books()
    _planner()


def _jobs() -> None:
    """Jobs, their runs, the devices that runs hold, and what happened when."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("uid", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("deadline_missed", sa.Boolean(), nullable=False),
        sa.Column("submitted_at", sa.String(), nullable=False),
        sa.Column("finished_at", sa.String()),
        sa.Column("reason_code", sa.String()),
        sa.Column("reason_text", sa.String()),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("workdir", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("gpu_model", sa.String()),
        sa.Column("gpu_memory_gib", sa.Float()),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("duration_source", sa.String(), nullable=False),
        sa.Column("duration_note", sa.String()),
        sa.Column("time_limit_s", sa.Float()),
        sa.Column("finish_by", sa.String()),
        sa.Column("max_delay_s", sa.Float()),
        sa.Column("start_after", sa.String()),
        sa.Column("start_now", sa.Boolean(), nullable=False),
        sa.Column("expire", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("power_w", sa.Float()),
        sa.Column("power_note", sa.String()),
        sa.Column("min_saving", sa.Float()),
        sa.Column("run_below_g_per_kwh", sa.Float()),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("grace_s", sa.Float(), nullable=False),
        sa.Column("interruptible", sa.Boolean(), nullable=False),
        sa.Column("min_run_s", sa.Float(), nullable=False),
        sa.Column("restart_cost_s", sa.Float(), nullable=False),
        sa.Column("checkpoint_signal", sa.String(), nullable=False),
        sa.Column("checkpoint_exit_code", sa.Integer(), nullable=False),
        sa.Column("progress_s", sa.Float(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("array", sa.Text()),
        sa.Column("env", sa.Text(), nullable=False),
        sa.Column("env_file", sa.String()),
        sa.Column("log", sa.String()),
        sa.Column("unique_key", sa.String()),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("git_commit", sa.String()),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.create_index("ix_jobs_user_name", "jobs", ["user", "name"])
    op.create_index("ix_jobs_user_project", "jobs", ["user", "project"])
    op.create_index("ux_jobs_user_unique_key", "jobs", ["user", "unique_key"], unique=True)
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.String(), nullable=False),
        sa.Column("started_at", sa.String()),
        sa.Column("ended_at", sa.String()),
        sa.Column("outcome", sa.String()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("log", sa.String()),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_runs_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_ended_at", "runs", ["ended_at"])
    op.create_index("ux_runs_job_id_number", "runs", ["job_id", "number"], unique=True)
    op.create_index("ux_runs_live", "runs", ["job_id"], unique=True, sqlite_where=sa.text("outcome IS NULL"))
    op.create_table(
        "leases",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_leases_run_id"),
        sa.PrimaryKeyConstraint("device", name="pk_leases"),
    )
    op.create_index("ix_leases_run_id", "leases", ["run_id"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("job_id", sa.Integer()),
        sa.Column("run_id", sa.Integer()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_events_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_job_id", "events", ["job_id"])


def _grid() -> None:
    """Forecasts as issued and measured intensities."""
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("signal", sa.String(), nullable=False),
        sa.Column("accounting", sa.String(), nullable=False),
        sa.Column("basis", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
    )
    op.create_index("ux_series", "series", ["provider", "zone", "signal", "accounting", "basis"], unique=True)
    op.create_table(
        "forecasts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("issued_at", sa.String()),
        sa.Column("fetched_at", sa.String(), nullable=False),
        sa.Column("confirmed_at", sa.String(), nullable=False),
        sa.Column("rung", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("slots", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_forecasts_series_id"),
        sa.PrimaryKeyConstraint("id", name="pk_forecasts"),
    )
    op.create_index("ix_forecasts_confirmed_at", "forecasts", ["confirmed_at"])
    op.create_index("ix_forecasts_series_id", "forecasts", ["series_id"])
    op.create_table(
        "intensities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("fetched_at", sa.String(), nullable=False),
        sa.Column("confirmed_at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_intensities_series_id"),
        sa.PrimaryKeyConstraint("id", name="pk_intensities"),
    )
    op.create_index("ix_intensities_series_id_ended_at", "intensities", ["series_id", "ended_at"])


def _books() -> None:
    """Energy slices, their prices, and the totals."""
    op.create_table(
        "slices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("component", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer()),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.Column("energy_j", sa.Float()),
        sa.Column("quality", sa.String(), nullable=False),
        sa.Column("pue", sa.Float(), nullable=False),
        sa.CheckConstraint("energy_j IS NOT NULL OR quality = 'unknown'", name="ck_slices_energy"),
        sa.CheckConstraint("ended_at > started_at", name="ck_slices_interval"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_slices_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_slices"),
    )
    op.create_index("ix_slices_run_id", "slices", ["run_id"])
    op.create_index("ix_slices_started_at", "slices", ["started_at"])
    op.create_table(
        "ledger",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slice_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("intensity_g_per_kwh", sa.Float()),
        sa.Column("emissions_g", sa.Float()),
        sa.Column("intensity_kind", sa.String()),
        sa.Column("series_id", sa.Integer()),
        sa.CheckConstraint("stage IN ('booked', 'settled')", name="ck_ledger_stage"),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name="fk_ledger_series_id"),
        sa.ForeignKeyConstraint(["slice_id"], ["slices.id"], name="fk_ledger_slice_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger"),
    )
    op.create_index("ux_ledger_slice_id_stage", "ledger", ["slice_id", "stage"], unique=True)
    op.create_table(
        "unsettled",
        sa.Column("slice_id", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["slice_id"], ["slices.id"], name="fk_unsettled_slice_id"),
        sa.PrimaryKeyConstraint("slice_id", name="pk_unsettled"),
    )
    op.create_index("ix_unsettled_ended_at", "unsettled", ["ended_at"])
    op.create_table(
        "device_marks",
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("energy_j", sa.Float(), nullable=False),
        sa.Column("counter", sa.String(), nullable=False),
        sa.Column("session", sa.String(), nullable=False),
        sa.Column("held_w", sa.Float()),
        sa.Column("idle_w", sa.Float()),
        sa.Column("since_run", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("device", name="pk_device_marks"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name="pk_counters"),
    )


def _planner() -> None:
    """What the planner and a replay must find again after a restart."""
    op.create_table(
        "plans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(), nullable=False),
        sa.Column("saved_at", sa.String(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_plans_only_row"),
        sa.PrimaryKeyConstraint("id", name="pk_plans"),
    )
    op.create_table(
        "anchors",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_anchors"),
    )
