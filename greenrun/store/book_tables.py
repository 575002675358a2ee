"""The tables of the books: slices, their prices, the marks and the totals; others import them from tables.py."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlmodel import Field

from greenrun.store.columns import Instant, Json
from greenrun.store.metadata import METADATA, Record


class SliceRecord(Record, table=True):
    """Energy of one device over an interval; where the clock was set back, a device may have two for one hour.

    A device that several runs use at once has a slice for each of them; their shares add up to 1.
    """

    __tablename__ = "slices"
    __table_args__ = (
        CheckConstraint("ended_at > started_at", name="interval"),
        CheckConstraint("energy_j IS NOT NULL OR quality = 'unknown'", name="energy"),
    )

    id: int | None = Field(default=None, primary_key=True)
    device: str
    component: str
    run_id: int | None = Field(default=None, foreign_key="runs.id", index=True)
    started_at: datetime = Field(sa_type=Instant, index=True)
    ended_at: datetime = Field(sa_type=Instant)
    energy_j: float | None = None
    quality: str
    pue: float
    share: float = Field(sa_column_kwargs={"server_default": text("1.0")})
    busy_s: float | None = None


class LedgerRecord(Record, table=True):
    """A price of a slice, each stage once; rows are only added.

    Booked and settled are the average's, marginal is that of one more kWh, baseline what it would have emitted earlier.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        Index("ux_ledger_slice_id_stage", "slice_id", "stage", unique=True),
        CheckConstraint("stage IN ('booked', 'settled', 'marginal', 'baseline')", name="stage"),
    )

    id: int | None = Field(default=None, primary_key=True)
    slice_id: int = Field(foreign_key="slices.id")
    stage: str
    at: datetime = Field(sa_type=Instant)
    intensity_g_per_kwh: float | None = None
    emissions_g: float | None = None
    intensity_kind: str | None = None
    series_id: int | None = Field(default=None, foreign_key="series.id")


class UnsettledRecord(Record, table=True):
    """The slices that wait for their settled price, so that finding them does not mean reading the whole ledger."""

    __tablename__ = "unsettled"

    slice_id: int = Field(primary_key=True, foreign_key="slices.id")
    ended_at: datetime = Field(sa_type=Instant, index=True)


class UnsettledMarginalRecord(Record, table=True):
    """The slices that wait for their marginal price, where there is a source of one."""

    __tablename__ = "unsettled_marginal"

    slice_id: int = Field(primary_key=True, foreign_key="slices.id")
    ended_at: datetime = Field(sa_type=Instant, index=True)


class BaselineRecord(Record, table=True):
    """Where a run that ended would have been, had its job started as soon as it could.

    `at` is when it was compared with that, once all of it had been settled; `why` says what kept it from being so.
    """

    __tablename__ = "baselines"
    __table_args__ = (Index("ix_baselines_waiting", "run_id", sqlite_where=text("at IS NULL")),)

    run_id: int = Field(primary_key=True, foreign_key="runs.id")
    started_at: datetime = Field(sa_type=Instant)
    ended_at: datetime = Field(sa_type=Instant, index=True)
    at: datetime | None = Field(default=None, sa_type=Instant)
    why: str | None = None


class MarkRecord(Record, table=True):
    """How far a device's energy is booked; its next slice begins there, which keeps energy from being booked twice."""

    __tablename__ = "device_marks"

    device: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Instant)
    energy_j: float
    counter: str
    session: str
    held_w: float | None = None
    idle_w: float | None = None
    since_run: int


class CounterRecord(Record, table=True):
    """A monotonic total that outlives restarts."""

    __tablename__ = "counters"

    name: str = Field(primary_key=True)
    labels: dict[str, str] = Field(primary_key=True, sa_type=Json)
    value: float


SLICES = METADATA.tables["slices"]
LEDGER = METADATA.tables["ledger"]
UNSETTLED = METADATA.tables["unsettled"]
UNSETTLED_MARGINAL = METADATA.tables["unsettled_marginal"]
BASELINES = METADATA.tables["baselines"]
MARKS = METADATA.tables["device_marks"]
COUNTERS = METADATA.tables["counters"]
