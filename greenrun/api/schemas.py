"""The JSON that the API answers with: units in names, instants in UTC with Z, null for unknown and never NaN."""

from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, PlainSerializer

from greenrun.core.energy import Component, Quality
from greenrun.core.intensity import Accounting, Basis, Kind, Rung, Signal
from greenrun.core.job import After, Anomaly, DurationSource, Outcome, PowerSource, State
from greenrun.core.reasons import ReasonCode


def instant_text(instant: datetime) -> str:
    """Return an aware instant as ISO 8601 in UTC with Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


Instant = Annotated[datetime, PlainSerializer(instant_text, return_type=str, when_used="json")]
Number = Annotated[float | None, BeforeValidator(_finite_or_none)]


class ReasonOut(BaseModel):
    """Why something is as it is: a stable code, and a sentence for people."""

    code: ReasonCode
    text: str


class PieceOut(BaseModel):
    """An interval in which a job is meant to run."""

    start: Instant
    end: Instant


class PlannedOut(BaseModel):
    """When a job is planned to run; `start_now_g` is what it would emit if it started at once.

    `pieces` are the intervals of a job that is to be suspended in between; of any other it is empty. `promised` is when
    it was to run as first planned, `put_offs` how often it was put off since; null for a job that is to start at once.
    """

    start: Instant
    end: Instant
    g_per_kwh: Number
    start_now_g_per_kwh: Number
    expected_g: Number
    start_now_g: Number
    pieces: list[PieceOut]
    promised: PieceOut | None
    put_offs: int


class AnomalyOut(BaseModel):
    """An anomaly of a run; `until` is null while it goes on, and where it went on to the run's end."""

    anomaly: Anomaly
    since: Instant
    until: Instant | None
    text: str


class RunOut(BaseModel):
    """One execution of a job, with what the books know of it now.

    `baseline_emissions_g` is what it would have emitted, had its job started as soon as it could, and `avoided_g` how much
    more that is than what it did; both null until that is booked, some time after it ended.
    `work` is what the run itself said last that it had done; what that took is null where its energy is not all known.
    """

    id: int
    number: int
    started_at: Instant | None
    ended_at: Instant | None
    outcome: Outcome | None
    exit_code: int | None
    devices: list[str]
    energy_j: Number
    energy_quality: Quality
    emissions_g: Number
    emissions_settled_g: Number
    baseline_emissions_g: Number
    avoided_g: Number
    gpu_utilization: Number
    gpu_utilization_coverage: Number
    work: Number
    work_unit: str | None
    work_at: Instant | None
    work_per_kwh: Number
    energy_per_work_j: Number
    anomalies: list[AnomalyOut]
    log: str | None


class AfterOut(BaseModel):
    """A job that another one waits for: until it has succeeded (`ok`), or ended in any way (`any`)."""

    job: int
    on: After


class ArrayOut(BaseModel):
    """A job's place in its array, all of whose jobs have the same `key`."""

    key: str
    index: int
    size: int
    at_once: int | None


class JobOut(BaseModel):
    """A job; `id` is null for one that was only tried (`dry_run`). Values of its environment are never told.

    What belongs to checkpoints is null where the job is not interruptible.
    """

    id: int | None
    name: str
    project: str
    user: str
    state: State
    reason: ReasonOut | None
    command: list[str]
    gpus: int
    gpu_model: str | None
    gpu_memory_gib: float | None
    duration_s: float
    duration_source: DurationSource
    duration_note: str | None
    time_limit_s: float | None
    finish_by: Instant | None
    max_delay_s: float | None
    start_after: Instant | None
    start_now: bool
    expire: bool
    priority: int
    power_w: float | None
    power_source: PowerSource
    power_note: str | None
    min_saving: float | None
    run_below_g_per_kwh: float | None
    retries: int
    grace_s: float
    interruptible: bool
    min_run_s: float | None
    restart_cost_s: float | None
    checkpoint_signal: str | None
    checkpoint_exit_code: int | None
    progress_s: float | None
    after: list[AfterOut]
    array: ArrayOut | None
    held: bool
    cancel_requested: bool
    submitted_at: Instant
    finished_at: Instant | None
    planned: PlannedOut | None
    runs: list[RunOut]
    labels: dict[str, str]
    env_names: list[str]
    env_file: str | None
    log: str | None
    workdir: str
    unique_key: str | None
    git_commit: str | None
    stop_on: list[Anomaly]


class ExplainOut(BaseModel):
    """Why a job is where it is, in codes and in sentences."""

    job: int
    state: State
    reason: ReasonOut | None
    sentences: list[str]
    planned: PlannedOut | None
    duration_s: float
    duration_source: DurationSource
    earliest_start: Instant
    latest_start: Instant


class EventOut(BaseModel):
    """One change of a job."""

    id: int
    at: Instant
    actor: str
    kind: str
    job: int | None
    run: int | None
    detail: dict[str, Any]


class PlacementOut(PlannedOut):
    """A job's place in the plan."""

    job: int
    gpus: int
    late: bool
    reason: ReasonOut


class WaitingOut(BaseModel):
    """A job without a place in the plan."""

    job: int
    reason: ReasonOut


class PlanOut(BaseModel):
    """The latest plan, its bound, and what starting everything at once would emit."""

    made_at: Instant
    horizon_end: Instant | None
    gap_ratio: Number
    bound_g: Number
    expected_g: Number
    start_at_once_g: Number
    placements: list[PlacementOut]
    waiting: list[WaitingOut]


class SlotOut(BaseModel):
    """The mean intensity over `[start, end)`."""

    start: Instant
    end: Instant
    g_per_kwh: float
    kind: Kind


class ForecastOut(BaseModel):
    """What is gone by from now on; with rung `none` that is nothing, and the fields of a forecast are null.

    `zone` is null when the settings name none. `rung` is how far down the ladder of fallbacks this stands, and `why`
    says it in a sentence; `age_s` is how long ago the source said it, null below `stale`.
    """

    zone: str | None
    provider: str | None = None
    signal: Signal | None = None
    accounting: Accounting | None = None
    basis: Basis | None = None
    issued_at: Instant | None = None
    fetched_at: Instant | None = None
    step_s: Number = None
    rung: Rung = Rung.NONE
    age_s: Number = None
    why: str | None = None
    slots: list[SlotOut] = []


class DeviceOut(BaseModel):
    """A device of this host, and who has it: a run of this daemon, or somebody outside it.

    `idle_power_w` is what a GPU draws while nobody holds it, learned of the last 28 days; null until that is known.
    """

    id: str
    index: int
    model: str
    kind: Component
    source: str
    emulated: bool
    memory_bytes: int | None
    leased_by_job: int | None
    leased_by_run: str | None
    held_elsewhere: str | None
    idle_power_w: float | None


class PricedOut(BaseModel):
    """An intensity and the grams that follow from it."""

    g_per_kwh: Number
    emissions_g: Number
    kind: Kind | None
    provider: str | None


class EntryOut(BaseModel):
    """A slice of energy in the books.

    Of a device that several runs use at once there is one for each, and one for nobody; their `share` adds up to 1.
    `busy_s` is for how many seconds of it a GPU did anything, null where that is not told.
    """

    id: int | None
    job: int | None
    run: int | None
    project: str | None
    device: str
    component: Component
    start: Instant
    end: Instant
    share: float
    busy_s: Number
    energy_j: Number
    quality: Quality
    pue: float
    booked: PricedOut
    settled: PricedOut | None
