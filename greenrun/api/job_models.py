"""The JSON that the API answers with of jobs, their runs and the plan; units are in names."""

from typing import Any

from pydantic import BaseModel

from greenrun.api.json_types import Instant, Number
from greenrun.core.energy.model import Quality
from greenrun.core.jobs.job import After, Anomaly, DurationSource, Outcome, PowerSource, State
from greenrun.core.jobs.reasons import ReasonCode


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

    `baseline_emissions_g` is what it would have emitted, had its job started as soon as it could, and `avoided_g` how
    much more that is than what it did; both null until that is booked, some time after it ended.
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
