"""The JSON of jobs, their runs and the plan in responses; names end in units."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from greenrun.api.json_types import (
    IntervalOut,
    Number,
    ResponseInstant,
    ResponseModel,
    Seconds,
    attributes,
    response_model,
)
from greenrun.api.ports import ApiStore
from greenrun.core.budgets.budget import Measure, OwnerKind
from greenrun.core.budgets.calendar_period import PeriodKind
from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.capping_effect import CappingEffect, SlowdownSource
from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.jobs.declaration import Trait, field_infos
from greenrun.core.jobs.job import (
    LIVE,
    After,
    Anomaly,
    ArrayPlace,
    Dependency,
    DurationSource,
    Job,
    JobSpec,
    Outcome,
    PowerSource,
    Run,
    State,
)
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode
from greenrun.core.planning.model import Placement, Plan
from greenrun.core.units import J_PER_KWH


class ReasonOut(ResponseModel):
    """Why something is as it is: a stable code, and a sentence for people."""

    code: ReasonCode
    text: str


class PlannedOut(ResponseModel):
    """When a job is planned to run; `start_now_g` is what it would emit if it started at once.

    All of it is by the `signal`, `average` or `marginal`, of the forecast that it was planned with; null without one.
    `pieces` are the intervals of a job that is to be suspended in between; of any other it is empty. `promised` is when
    it was to run as first planned, `put_offs` how often it was put off since; null for a job that is to start at once.
    """

    start: ResponseInstant
    end: ResponseInstant
    g_per_kwh: Number = Field(validation_alias="intensity_g_per_kwh")
    start_now_g_per_kwh: Number
    expected_g: Number
    start_now_g: Number
    signal: Signal | None
    pieces: list[IntervalOut]
    promised: IntervalOut | None
    put_offs: int


class AnomalyOut(ResponseModel):
    """An anomaly of a run; `until` is null while it goes on, and where it went on to the run's end."""

    anomaly: Anomaly
    since: ResponseInstant
    until: ResponseInstant | None
    text: str


class CappingOut(ResponseModel):
    """What it did to a run that the power limit of its GPUs was lowered for `lowered_s` seconds, to `least_w` at least.

    `saved_g` is how much more it would have emitted in these hours at full power, and `time_lost_s` how much sooner it
    would have ended; null with the reason in `why` where there is nothing to compare with. Uncertainties are standard
    errors, null where the slowdown is one that its user has stated (`slowdown_source`).
    """

    lowered_s: Seconds = Field(validation_alias="lowered")
    least_w: Number
    saved_g: Number
    saved_g_uncertainty: Number
    saved_kwh: Number
    time_lost_s: Seconds | None = Field(validation_alias="time_lost")
    time_lost_uncertainty_s: Seconds | None = Field(validation_alias="time_lost_uncertainty")
    slowdown: Number
    slowdown_source: SlowdownSource | None
    why: str | None


class RunOut(ResponseModel):
    """One execution of a job, with what the books know of it now.

    `emissions_g` is as booked, `emissions_settled_g` as settled; `emissions_location_g`, as in reports, takes of each
    slice the settled price where there is one. All three are by an average; `emissions_marginal_g` is by a marginal
    signal alone. `baseline_emissions_g` is what it would have emitted, had its job started as soon as it could, and
    `avoided_g` how much more that is than what it did; both null until that is booked, some time after it ended.
    `duration_s` is how long it ran once it has ended, by a clock that nobody can set where that is known.
    `image` is which image its container was made of, by digest, once it has ended; null for one in no container.
    `power_limit` is what a lowered power limit did, once the run has ended.
    `work` is what the run last reported to have done; its cost in energy is null unless all of that is known. Of
    another one's job that is only listed, all but its times, outcome and devices is null.
    """

    id: int
    number: int
    started_at: ResponseInstant | None
    ended_at: ResponseInstant | None
    duration_s: Number
    outcome: Outcome | None
    exit_code: int | None
    devices: list[str]
    energy_j: Number
    energy_quality: Quality | None = Field(validation_alias="quality")
    emissions_g: Number
    emissions_settled_g: Number = Field(validation_alias="settled_g")
    emissions_location_g: Number = Field(validation_alias="location_g")
    emissions_marginal_g: Number = Field(validation_alias="marginal_g")
    baseline_emissions_g: Number = Field(validation_alias="baseline_g")
    avoided_g: Number
    gpu_utilization: Number = Field(validation_alias="utilization")
    gpu_utilization_coverage: Number = Field(validation_alias="utilization_coverage")
    image: str | None
    work: Number
    work_unit: str | None
    work_at: ResponseInstant | None
    work_per_kwh: Number
    energy_per_work_j: Number
    anomalies: list[AnomalyOut] | None
    log: str | None
    power_limit: CappingOut | None = None


class AfterOut(ResponseModel):
    """A job that another one waits for: until it has succeeded (`ok`), or ended in any way (`any`)."""

    job: int = Field(validation_alias="job_id")
    on: After


class ArrayOut(ResponseModel):
    """A job's place in its array, all of whose jobs have the same `key`."""

    key: str
    index: int
    size: int
    at_once: int | None


JobAccess = Literal["listed", "read", "all"]


class JobStateOut(ResponseModel):
    """Which job it is, whose, and where it stands; `id` is null for one that was only tried."""

    id: int | None
    user: str
    state: State
    reason: ReasonOut | None
    access: JobAccess = "all"


TOLD_TO_ALL = frozenset({"name", "project", "priority", "gpus", "gpu_model", "duration"})  # of another one's job


class JobOut(response_model(JobSpec, {Dependency: AfterOut, ArrayPlace: ArrayOut}, JobStateOut, TOLD_TO_ALL)):  # type: ignore[misc]  # made
    """A job; `id` is null for a dry run (`dry_run`). Values of its environment are never returned.

    What belongs to checkpoints is null where the job is not interruptible. `access` says what the caller may do with
    it: `listed` is another one's job of which only name, state, GPUs and times are told, and all else is null.
    """

    power_source: PowerSource | None
    env_names: list[str] | None
    held: bool
    cancel_requested: bool
    progress_s: Seconds | None = Field(validation_alias="progress")
    submitted_at: ResponseInstant
    finished_at: ResponseInstant | None
    requeued_at: ResponseInstant | None
    retry_at: ResponseInstant | None
    planned: PlannedOut | None
    runs: list[RunOut]


class BudgetUseOut(ResponseModel):
    """What a job is expected to take of a budget in the present period: `expected`, of the `left` before it.

    Both are in the unit of the measure; `expected` is null where that cannot be told.
    """

    kind: OwnerKind
    name: str
    measure: Measure
    period: PeriodKind
    limit: float
    left: float
    expected: Number
    currency: str | None


class SubmittedJobOut(JobOut):
    """A job as it was submitted, or tried, with `warnings`: sentences on what is likely wrong with it.

    `budgets` is what it is expected to take of each budget that it counts in.
    """

    warnings: list[str]
    budgets: list[BudgetUseOut]


class CostedJobOut(JobOut):
    """A job with what the electricity of its runs cost so far, PUE included; null where no price is set or known.

    `cost_missing_kwh` is energy whose price is not known, and which is in no cost.
    """

    cost: Number
    currency: str | None
    cost_missing_kwh: Number


class ExplainOut(ResponseModel):
    """Why a job is where it is, in codes and in sentences."""

    job: int
    state: State
    reason: ReasonOut | None
    sentences: list[str]
    planned: PlannedOut | None
    duration_s: float
    duration_source: DurationSource | None
    earliest_start: ResponseInstant
    latest_start: ResponseInstant


class EventOut(ResponseModel):
    """One change of a job, or something that happened to the daemon: then `job` is null.

    What a user did has the `uid`, and the `pid` of the process that asked for it or the `address` it came from.
    `before` and `after` are the fields that changed, as they were and are; of `env` the variables' names, never values.
    """

    id: int
    at: ResponseInstant
    actor: str
    kind: str
    job: int | None = Field(validation_alias="job_id")
    run: int | None = Field(validation_alias="run_id")
    detail: dict[str, Any]
    uid: int | None = None
    pid: int | None = None
    address: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class PlacementOut(PlannedOut):
    """A job's place in the plan."""

    job: int = Field(validation_alias="job_id")
    gpus: int
    late: bool
    reason: ReasonOut


class WaitingOut(ResponseModel):
    """A job without a place in the plan."""

    job: int = Field(validation_alias="job_id")
    reason: ReasonOut


class OccupiedOut(ResponseModel):
    """When a job that is hidden from the caller is planned to run, and on how many GPUs."""

    start: ResponseInstant
    end: ResponseInstant
    gpus: int


class PlannedPowerOut(ResponseModel):
    """A cap on the site's power (null: none then), and the most that is planned under it, in watts."""

    start: ResponseInstant
    end: ResponseInstant
    cap_w: Number
    planned_w: float


class SitePowerOut(ResponseModel):
    """What all GPUs, and the host as stated, are expected to draw now and what was measured, in watts.

    `above_since` is since when more is measured than `cap_w`, so that nothing with GPUs is started.
    """

    cap_w: Number
    expected_w: Number
    measured_w: Number
    above_since: ResponseInstant | None
    planned: list[PlannedPowerOut] = Field(default_factory=list)


class PlanOut(ResponseModel):
    """The latest plan, its bound, and what the same jobs would emit at either baseline.

    `start_at_once_g` is of first come, first served: each job in the order of submission, as soon as enough GPUs are
    free. `earliest_start_g` is of what reports compare with: each run as early as its own GPUs are free.
    `others` is when jobs that are hidden from the caller occupy GPUs, `others_waiting` how many have no place.
    `site_power` is null without a cap on it.
    """

    made_at: ResponseInstant
    horizon_end: ResponseInstant | None
    gap_ratio: Number
    bound_g: Number
    expected_g: Number
    start_at_once_g: Number
    earliest_start_g: Number
    placements: list[PlacementOut]
    waiting: list[WaitingOut]
    others: list[OccupiedOut] = Field(default_factory=list)
    others_waiting: int = 0
    site_power: SitePowerOut | None = None


_OF_CHECKPOINTS = ("progress", *(row.name for row in field_infos(JobSpec) if row.has(Trait.INTERRUPTIBLE_ONLY)))


def jobs_out(jobs: Sequence[Job], store: ApiStore, plan: Plan) -> list[JobOut]:
    """Return jobs with their runs as the books have them now, and the plan for those that wait; raise StoreError."""
    runs = store.runs.of_jobs([job.id for job in jobs]) if jobs else {}
    ran = {job_id: rows for job_id, rows in runs.items() if rows}  # most jobs of a long queue have not
    totals = store.books.run_totals([run.id for rows in ran.values() for run in rows]) if ran else {}
    episodes = store.runs.anomalies(list(ran)) if ran else {}
    capped = [run.id for job in jobs if job.spec.power_cap for run in ran.get(job.id, ())]
    effects = store.capping_effects.effects(capped) if capped else {}
    return [_stored_job_out(job, runs.get(job.id, ()), totals, episodes, effects, plan) for job in jobs]


def _stored_job_out(
    job: Job,
    runs: Sequence[Run],
    totals: Mapping[int, Total],
    episodes: Mapping[int, Sequence[AnomalyEpisode]],
    effects: Mapping[int, CappingEffect],
    plan: Plan,
) -> JobOut:
    """A waiting job carries the plan's reason rather than the stored one."""
    waits = job.state is State.QUEUED
    is_stopping = job.cancel_requested and job.state in LIVE
    has_reason = job.reason is not None and job.reason.code is ReasonCode.ANOMALOUS  # better than that it is cancelled
    stopping = because(ReasonCode.CANCEL_REQUESTED) if is_stopping and not has_reason else None
    placement = plan.placement(job.id) if waits else None
    knows = job.reason is None or job.reason.code is not ReasonCode.HOST_SHORT  # of which no plan knows
    if placement is not None and not knows and placement.start <= plan.made_at:
        placement = None  # it was to start, and starts are put off: when it does, nobody knows
    if placement is not None and job.retry_at is not None and plan.made_at < job.retry_at:
        knows = False  # until its pause is over, that is why it waits
        placement = placement if placement.start >= job.retry_at else None  # by a plan from before the run failed
    reason = plan.reason(job.id) if waits and knows else stopping
    outs = [run_out(run, totals.get(run.id), episodes.get(run.id, ()), effects.get(run.id)) for run in runs]
    return job_out(job, placement, reason, outs)


def job_out(job: Job, placement: Placement | None, reason: Reason | None, runs: Sequence[RunOut] = ()) -> JobOut:
    """Return a job with where it is planned, why it is where it is (None: as stored), and its runs."""
    spec = job.spec
    values = {**attributes(spec), **attributes(job)}
    values |= {"name": job.name, "power_source": spec.power_source, "env_names": sorted(spec.env)}
    values |= {"reason": reason or job.reason, "planned": placement, "runs": list(runs)}
    out: JobOut = JobOut.model_validate(values if spec.interruptible else values | dict.fromkeys(_OF_CHECKPOINTS))
    return out


def run_out(
    run: Run, total: Total | None, episodes: Sequence[AnomalyEpisode] = (), effect: CappingEffect | None = None
) -> RunOut:
    """Return a run; without a total in the books its energy is unknown."""
    booked = total or Total()
    whole_j = None if booked.quality is Quality.UNKNOWN else booked.energy_j
    done = {
        "duration_s": run.length.total_seconds() if run.started_at and run.ended_at else None,
        "work_per_kwh": run.work * J_PER_KWH / whole_j if whole_j and run.work else None,
        "energy_per_work_j": whole_j / run.work if whole_j and run.work else None,
    }
    told = {"anomalies": list(episodes), "power_limit": effect}
    return RunOut.model_validate({**attributes(run), **attributes(booked), **done, **told})
