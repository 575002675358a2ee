"""The prices of slices in their rows, which takes a third of the room; whoever reads the file finds them in a view.

Forecasts are compressed. Runs have their length by a clock that nobody can set; of earlier ones it is not known.

A table of its own had a row, an index entry and an instant as text for each price, of which a slice has three.
"""

from zlib import compress

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

STAGES = ("booked", "settled", "marginal", "baseline")
CACHE_KIB = 200_000  # each price is looked up by its slice
KEPT = (
    *("id", "device", "component", "run_id", "started_at", "ended_at", "energy_j", "quality", "pue", "share"),
    *("busy_s", "split_j", "merged", "peak_w"),
)


def upgrade() -> None:
    """Write the slices anew, each with its prices: once through both tables, as a change in place splits each page."""
    op.add_column("runs", sa.Column("ran_s", sa.Float()))
    connection = op.get_bind()
    cache = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql(f"PRAGMA cache_size = -{CACHE_KIB}")
    op.create_table(
        "new_slices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("component", sa.String(), nullable=False),
        sa.Column("run_id", sa.Integer()),
        sa.Column("started_at", sa.String(), nullable=False),
        sa.Column("ended_at", sa.String(), nullable=False),
        sa.Column("energy_j", sa.Float()),
        sa.Column("quality", sa.String(), nullable=False),
        sa.Column("pue", sa.Float(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False, server_default=sa.text("1.0")),
        sa.Column("busy_s", sa.Float()),
        sa.Column("split_j", sa.Float(), nullable=False, server_default=sa.text("0.0")),
        sa.Column("merged", sa.Boolean(), nullable=False, server_default=sa.text("0")),
        sa.Column("peak_w", sa.Float()),
        *(column for stage in STAGES for column in _price(stage)),
        sa.CheckConstraint("energy_j IS NOT NULL OR quality = 'unknown'", name="ck_slices_energy"),
        sa.CheckConstraint("ended_at > started_at", name="ck_slices_interval"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_slices_run_id"),
        *(
            sa.ForeignKeyConstraint([f"{stage}_series_id"], ["series.id"], name=f"fk_slices_{stage}_series_id")
            for stage in STAGES
        ),
        sa.PrimaryKeyConstraint("id", name="pk_slices"),
    )
    connection.exec_driver_sql(_copied())
    op.drop_table("ledger")
    op.drop_table("slices")
    op.rename_table("new_slices", "slices")
    op.create_index("ix_slices_run_id", "slices", ["run_id"])
    op.create_index("ix_slices_started_at", "slices", ["started_at"])
    op.create_index("ix_slices_unmerged", "slices", ["run_id", "started_at"], sqlite_where=sa.text("merged = 0"))
    connection.exec_driver_sql(_view())
    connection.connection.create_function("packed", 1, lambda text: compress(text.encode()), deterministic=True)
    connection.exec_driver_sql("UPDATE forecasts SET slots = packed(slots) WHERE typeof(slots) = 'text'")
    connection.exec_driver_sql(f"PRAGMA cache_size = {cache}")


def _price(stage: str) -> tuple[sa.Column[object], ...]:
    return (
        sa.Column(f"{stage}_at", sa.Integer()),
        sa.Column(f"{stage}_g_per_kwh", sa.Float()),
        sa.Column(f"{stage}_g", sa.Float()),
        sa.Column(f"{stage}_kind", sa.String()),
        sa.Column(f"{stage}_series_id", sa.Integer()),
    )


def _copied() -> str:
    joins = "".join(
        f" LEFT JOIN ledger AS {stage} ON {stage}.slice_id = slices.id AND {stage}.stage = '{stage}'"
        for stage in STAGES
    )
    prices = "".join(
        f", CAST(strftime('%s', {stage}.at) AS INTEGER), {stage}.intensity_g_per_kwh, {stage}.emissions_g,"
        f" {stage}.intensity_kind, {stage}.series_id"
        for stage in STAGES
    )
    kept = ", ".join(f"slices.{name}" for name in KEPT)
    return f"INSERT INTO new_slices SELECT {kept}{prices} FROM slices{joins} ORDER BY slices.id"


def _view() -> str:
    """Return the statement for a view that has a row for each price, as the table had that was before it."""
    stages = " UNION ALL ".join(
        f"SELECT 4 * id + {number} AS id, id AS slice_id, '{stage}' AS stage,"
        f" strftime('%Y-%m-%dT%H:%M:%S.000000Z', {stage}_at, 'unixepoch') AS at,"
        f" {stage}_g_per_kwh AS intensity_g_per_kwh, {stage}_g AS emissions_g,"
        f" {stage}_kind AS intensity_kind, {stage}_series_id AS series_id"
        f" FROM slices WHERE {stage}_at IS NOT NULL"
        for number, stage in enumerate(STAGES)
    )
    return f"CREATE VIEW ledger AS {stages}"
