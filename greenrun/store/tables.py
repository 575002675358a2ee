"""The records, as SQLModel classes, and their tables at the end, for statements that change or sum (docs/adr/0012).

Units are last in names, durations are seconds, enums are their lower-case values.
"""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Index, MetaData, Text, text
from sqlmodel import Field, SQLModel

from greenrun.store.columns import EpochSecond, Instant, Json, Packed

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Record(SQLModel):
    """Gives every table of greenrun its own metadata, apart from anybody else's SQLModel tables."""

    model_config = {"defer_build": True}  # nobody validates by them: of all validators none is built

    metadata: ClassVar[MetaData] = METADATA


class JobRecord(Record, table=True):
    """A job; `deadline_missed` makes sure that a missed limit is counted once; `after` is a list of `[job, on]`."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state", "state"),
        Index("ix_jobs_user_name", "user", "name"),
        Index("ix_jobs_user_project", "user", "project"),
        Index("ux_jobs_user_unique_key", "user", "unique_key", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: int = Field(default=None, primary_key=True)
    user: str
    uid: int
    state: str
    held: bool
    cancel_requested: bool
    deadline_missed: bool
    submitted_at: datetime = Field(sa_type=Instant)
    finished_at: datetime | None = Field(default=None, sa_type=Instant)
    reason_code: str | None = None
    reason_text: str | None = None
    command: list[str] = Field(sa_type=Json)
    workdir: str
    name: str
    project: str
    gpus: int
    gpu_model: str | None = None
    gpu_memory_gib: float | None = None
    shared: bool = Field(default=False, sa_column_kwargs={"server_default": text("0")})
    duration_s: float
    duration_source: str
    duration_note: str | None = None
    time_limit_s: float | None = None
    finish_by: datetime | None = Field(default=None, sa_type=Instant)
    max_delay_s: float | None = None
    start_after: datetime | None = Field(default=None, sa_type=Instant)
    start_now: bool
    expire: bool
    priority: int
    power_w: float | None = None
    power_note: str | None = None
    min_saving: float | None = None
    run_below_g_per_kwh: float | None = None
    retries: int
    retry_on: list[int] = Field(sa_type=Json, sa_column_kwargs={"server_default": text("'[]'")})
    retry_at: datetime | None = Field(default=None, sa_type=Instant)
    requeued_at: datetime | None = Field(default=None, sa_type=Instant)
    counted_from: int = Field(sa_column_kwargs={"server_default": text("1")})
    over_budget: bool = Field(default=False, sa_column_kwargs={"server_default": text("0")})
    grace_s: float
    interruptible: bool
    min_run_s: float
    restart_cost_s: float
    checkpoint_signal: str
    checkpoint_exit_code: int
    progress_s: float
    after: list[list[Any]] = Field(sa_type=Json)
    array: dict[str, Any] | None = Field(default=None, sa_type=Json)
    env: dict[str, str] = Field(sa_type=Json)
    env_file: str | None = None
    umask: str | None = None
    limits: dict[str, str] = Field(sa_type=Json, sa_column_kwargs={"server_default": text("'{}'")})
    log: str | None = None
    unique_key: str | None = None
    labels: dict[str, str] = Field(sa_type=Json)
    git_commit: str | None = None
    gpu_ids: str | None = None
    noted_files: dict[str, str] = Field(sa_type=Json, sa_column_kwargs={"server_default": text("'{}'")})
    stop_on: list[str] = Field(sa_type=Json, sa_column_kwargs={"server_default": text("'[]'")})
    notify: list[str] = Field(sa_type=Json, sa_column_kwargs={"server_default": text("'[]'")})
    memory_gib: float | None = None
    cpus: float | None = None
    io_weight: int | None = None
    power_cap: str | None = None
    power_cap_note: str | None = None
    container: str | None = None


class RunRecord(Record, table=True):
    """One execution of a job; a job has at most one without an outcome. `work` is what it last said to have done.

    `ran_s` is by a clock that nobody can set, where the executor has told that.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ux_runs_job_id_number", "job_id", "number", unique=True),
        Index("ux_runs_live", "job_id", unique=True, sqlite_where=text("outcome IS NULL")),
        Index("ix_runs_ended_at", "ended_at"),
        {"sqlite_autoincrement": True},
    )

    id: int = Field(default=None, primary_key=True)
    job_id: int = Field(foreign_key="jobs.id")
    number: int
    token: str
    devices: list[str] = Field(sa_type=Json)
    claimed_at: datetime = Field(sa_type=Instant)
    started_at: datetime | None = Field(default=None, sa_type=Instant)
    ended_at: datetime | None = Field(default=None, sa_type=Instant)
    ran_s: float | None = None
    outcome: str | None = None
    exit_code: int | None = None
    log: str | None = None
    image: str | None = None
    work: float | None = None
    work_unit: str | None = None
    work_at: datetime | None = Field(default=None, sa_type=Instant)


class SubmissionRecord(Record, table=True):
    """The jobs that a request added, by the user's key for it; `digest` tells whether a request is the same one."""

    __tablename__ = "submissions"

    user: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    digest: str
    at: datetime = Field(sa_type=Instant, index=True)
    jobs: list[int] = Field(sa_type=Json)


class LeaseRecord(Record, table=True):
    """A device that a live run holds; the key keeps two runs from holding one device."""

    __tablename__ = "leases"

    device: str = Field(primary_key=True)
    run_id: int = Field(foreign_key="runs.id", index=True)


class DrainRecord(Record, table=True):
    """A device on which nothing is to be started, or "" for the whole machine: as whose wish, since when and why."""

    __tablename__ = "drains"

    device: str = Field(primary_key=True)
    user: str
    since: datetime = Field(sa_type=Instant)
    reason: str


class PowerLimitRecord(Record, table=True):
    """A GPU's power limit set for a run; it is here before it is set, and holds until there is an `until`."""

    __tablename__ = "power_limits"
    __table_args__ = (
        Index("ux_power_limits_device", "device", unique=True, sqlite_where=text("until IS NULL")),
        Index("ix_power_limits_run_id", "run_id"),
    )

    id: int = Field(default=None, primary_key=True)
    device: str
    source: str
    run_id: int = Field(foreign_key="runs.id")
    found_w: float
    set_w: float
    since: datetime = Field(sa_type=Instant)
    intensity_g_per_kwh: float
    threshold_g_per_kwh: float
    kept_at: datetime | None = Field(default=None, sa_type=Instant)
    until: datetime | None = Field(default=None, sa_type=Instant)
    end: str | None = None
    work_before: float | None = None
    work_after: float | None = None


class ReservationRecord(Record, table=True):
    """GPUs that no job gets over a span of time: made by whom, for whom and why."""

    __tablename__ = "reservations"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: int | None = Field(default=None, primary_key=True)
    devices: list[str] = Field(sa_type=Json)
    start: datetime = Field(sa_type=Instant)
    end: datetime = Field(sa_type=Instant)
    user: str
    for_user: str | None = None
    reason: str


class CredentialRecord(Record, table=True):
    """A session or a token: of its secret there is only the digest (`greenrun.core.credentials.Credential`)."""

    __tablename__ = "credentials"
    __table_args__ = (Index("ux_credentials_digest", "digest", unique=True), {"sqlite_autoincrement": True})

    id: int | None = Field(default=None, primary_key=True)
    kind: str
    digest: str
    uid: int
    user: str
    name: str
    scope: str
    made_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant)
    last_used_at: datetime | None = Field(default=None, sa_type=Instant)
    last_address: str | None = None


class EventRecord(Record, table=True):
    """One change: who, when, from where, and what changed.

    Rows are only added; triggers see to it (migration 0013), and that none is deleted unless a later one says so.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_deleted", "id", sqlite_where=text("kind = 'events_deleted'")),
        {"sqlite_autoincrement": True},
    )

    id: int = Field(default=None, primary_key=True)
    at: datetime = Field(sa_type=Instant)
    actor: str
    kind: str
    job_id: int | None = Field(default=None, foreign_key="jobs.id", index=True)
    run_id: int | None = Field(default=None, foreign_key="runs.id")
    detail: dict[str, Any] = Field(sa_type=Json)
    uid: int | None = None
    pid: int | None = None
    address: str | None = None
    before: dict[str, Any] | None = Field(default=None, sa_type=Json)
    after: dict[str, Any] | None = Field(default=None, sa_type=Json)


class HookRecord(Record, table=True):
    """How far the events were looked through for a hook that is told of some of them."""

    __tablename__ = "hooks"

    name: str = Field(primary_key=True)
    event_id: int


class NotificationRecord(Record, table=True):
    """An event that a hook has yet to be told of, since when it is tried, how often it was, and when it is again."""

    __tablename__ = "notifications"
    __table_args__ = (Index("ux_notifications_hook_event_id", "hook", "event_id", unique=True),)

    id: int = Field(default=None, primary_key=True)
    hook: str
    event_id: int
    since: datetime = Field(sa_type=Instant)
    tries: int
    next_at: datetime = Field(sa_type=Instant)


class KnownValueRecord(Record, table=True):
    """What the daemon last found of its settings and devices, by subject, so that it can tell what has changed."""

    __tablename__ = "known_values"

    subject: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    value: str = Field(sa_type=Text)


class SeriesRecord(Record, table=True):
    """Where intensities come from; "" is "not stated", because NULLs would not be unique."""

    __tablename__ = "series"
    __table_args__ = (Index("ux_series", "provider", "zone", "signal", "accounting", "basis", unique=True),)

    id: int = Field(default=None, primary_key=True)
    provider: str
    zone: str
    signal: str
    accounting: str
    basis: str


class ForecastRecord(Record, table=True):
    """A forecast as issued, last found unchanged at `confirmed_at`; its slots are `[start_s, end_s, g/kWh, kind]`."""

    __tablename__ = "forecasts"

    id: int = Field(default=None, primary_key=True)
    series_id: int = Field(foreign_key="series.id", index=True)
    issued_at: datetime | None = Field(default=None, sa_type=Instant)
    fetched_at: datetime = Field(sa_type=Instant)
    confirmed_at: datetime = Field(sa_type=Instant, index=True)
    rung: str
    digest: str
    slots: str = Field(sa_type=Packed)


class IntensityRecord(Record, table=True):
    """One revision of a measured slot, last found unchanged at `confirmed_at`; the one fetched last holds."""

    __tablename__ = "intensities"
    __table_args__ = (Index("ix_intensities_series_id_ended_at", "series_id", "ended_at"),)

    id: int = Field(default=None, primary_key=True)
    series_id: int = Field(foreign_key="series.id")
    started_at: datetime = Field(sa_type=Instant)
    ended_at: datetime = Field(sa_type=Instant)
    intensity_g_per_kwh: float
    kind: str
    fetched_at: datetime = Field(sa_type=Instant)
    confirmed_at: datetime = Field(sa_type=Instant)


class ElectricityPriceRecord(Record, table=True):
    """What a kWh cost over an interval, as a source told; the one fetched last holds."""

    __tablename__ = "electricity_prices"

    source: str = Field(primary_key=True)
    started_at: datetime = Field(primary_key=True, sa_type=Instant)
    ended_at: datetime = Field(sa_type=Instant)
    price_per_kwh: float
    currency: str
    fetched_at: datetime = Field(sa_type=Instant)


class PlanRecord(Record, table=True):
    """The last plan, in the only row, and the release of greenrun that wrote it."""

    __tablename__ = "plans"
    __table_args__ = (CheckConstraint("id = 1", name="only_row"),)

    id: int = Field(primary_key=True)
    release: str
    saved_at: datetime = Field(sa_type=Instant)
    plan: str = Field(sa_type=Text)


class AnchorRecord(Record, table=True):
    """An instant that must not change once it is known (a replay's beginning)."""

    __tablename__ = "anchors"

    key: str = Field(primary_key=True)
    at: datetime = Field(sa_type=Instant)


class SliceRecord(Record, table=True):
    """Energy of one device over an interval with its prices; where the clock was set back, a device may have two.

    A device that several runs use at once has a slice for each of them; their shares add up to 1. One that is `merged`
    stays as it is; `peak_w` is the highest mean power of those that it was made of.

    The prices are the ledger (`greenrun.store.ledger.slice_prices`, and the view `ledger` for whoever reads the file).
    Each is put in once, at its `_at`, and never changed. Booked and settled are the average's, marginal is that of one
    more kWh, baseline what it would have emitted earlier.
    """

    __tablename__ = "slices"
    __table_args__ = (
        CheckConstraint("ended_at > started_at", name="interval"),
        CheckConstraint("energy_j IS NOT NULL OR quality = 'unknown'", name="energy"),
        Index("ix_slices_unmerged", "run_id", "started_at", sqlite_where=text("merged = 0")),
    )

    id: int = Field(default=None, primary_key=True)
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
    split_j: float = Field(default=0.0, sa_column_kwargs={"server_default": text("0.0")})
    merged: bool = Field(default=False, sa_column_kwargs={"server_default": text("0")})
    peak_w: float | None = None
    booked_at: datetime | None = Field(default=None, sa_type=EpochSecond)
    booked_g_per_kwh: float | None = None
    booked_g: float | None = None
    booked_kind: str | None = None
    booked_series_id: int | None = Field(default=None, foreign_key="series.id")
    settled_at: datetime | None = Field(default=None, sa_type=EpochSecond)
    settled_g_per_kwh: float | None = None
    settled_g: float | None = None
    settled_kind: str | None = None
    settled_series_id: int | None = Field(default=None, foreign_key="series.id")
    marginal_at: datetime | None = Field(default=None, sa_type=EpochSecond)
    marginal_g_per_kwh: float | None = None
    marginal_g: float | None = None
    marginal_kind: str | None = None
    marginal_series_id: int | None = Field(default=None, foreign_key="series.id")
    baseline_at: datetime | None = Field(default=None, sa_type=EpochSecond)
    baseline_g_per_kwh: float | None = None
    baseline_g: float | None = None
    baseline_kind: str | None = None
    baseline_series_id: int | None = Field(default=None, foreign_key="series.id")


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


class LineageRecord(Record, table=True):
    """The mark of the last commit and that of the one before (`greenrun.store.lineage`), in a single row."""

    __tablename__ = "lineage"

    id: int = Field(default=None, primary_key=True)
    mark: str


JOBS = METADATA.tables["jobs"]
RUNS = METADATA.tables["runs"]
SUBMISSIONS = METADATA.tables["submissions"]
LEASES = METADATA.tables["leases"]
DRAINS = METADATA.tables["drains"]
POWER_LIMITS = METADATA.tables["power_limits"]
RESERVATIONS = METADATA.tables["reservations"]
CREDENTIALS = METADATA.tables["credentials"]
EVENTS = METADATA.tables["events"]
HOOKS = METADATA.tables["hooks"]
NOTIFICATIONS = METADATA.tables["notifications"]
KNOWN_VALUES = METADATA.tables["known_values"]
SERIES = METADATA.tables["series"]
FORECASTS = METADATA.tables["forecasts"]
INTENSITIES = METADATA.tables["intensities"]
ELECTRICITY_PRICES = METADATA.tables["electricity_prices"]
PLANS = METADATA.tables["plans"]
ANCHORS = METADATA.tables["anchors"]
SLICES = METADATA.tables["slices"]
UNSETTLED = METADATA.tables["unsettled"]
UNSETTLED_MARGINAL = METADATA.tables["unsettled_marginal"]
BASELINES = METADATA.tables["baselines"]
MARKS = METADATA.tables["device_marks"]
COUNTERS = METADATA.tables["counters"]
