"""What the API answers, as types: made of its OpenAPI document by `python -m tests.api.client_answers`.

Fields have the API's own names and units; instants are aware datetimes, and what is not known is None.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

Accounting = Literal["production", "consumption"]


After = Literal["ok", "any"]


Anomaly = Literal["gpu_idle", "power_off", "stuck"]


Basis = Literal["lifecycle", "direct"]


Component = Literal["gpu", "cpu", "dram", "external"]


DurationSource = Literal["given", "learned", "default"]


Effect = Literal["failing", "not_ready", "warning"]


FallbackLevel = Literal["fresh", "stale", "climatology", "static", "none"]


GpuIds = Literal["uuid", "index"]


Kind = Literal["measured", "forecast", "estimated"]


Measure = Literal["gpu_hours", "kwh", "kg_co2e", "money"]


Notice = Literal["started", "ended", "failed", "late"]


Outcome = Literal[
    "succeeded", "failed", "checkpointed", "cancelled", "timed_out", "lost", "interrupted", "failed_to_start"
]


OverBudget = Literal["wait", "refuse", "ask"]


OwnerKind = Literal["user", "project"]


PeriodKind = Literal["week", "month"]


PowerSource = Literal["given", "learned", "nominal"]


Quality = Literal["measured", "integrated", "estimated", "emulated", "bridged", "unknown"]


Role = Literal["forecast", "history", "both", "marginal", "unused"]


Signal = Literal["average", "marginal"]


SlowdownSource = Literal["measured", "stated"]


State = Literal["queued", "starting", "running", "succeeded", "failed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterJob:
    """A job that another one waits for: until it has succeeded (`ok`), or ended in any way (`any`)."""

    job: int
    on: After


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAnomaly:
    """An anomaly of a run; `until` is None while it goes on, and where it went on to the run's end."""

    anomaly: Anomaly
    since: datetime
    until: datetime | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """A job's place in its array, all of whose jobs have the same `key`."""

    key: str
    index: int
    size: int
    at_once: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of asking a source since the daemon's start."""

    requests: int
    failures: dict[str, int]
    dropped: dict[str, int]
    quota_left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One measure of a budget, in its own unit (GPU-hours, kWh, kg CO2e or `currency`).

    `used` is charged for what has run, `assumed` the part of it that stands in for what was not measured or priced;
    `is_known` is false where there is nothing to assume, so that more was used than is told. `running` is what
    live jobs are still expected to use in the period, `queued` what queued jobs are that have room, and `left`
    the rest. `ratio` is `used` by `limit`.
    """

    measure: Measure
    limit: float
    used: float
    assumed: float
    is_known: bool
    running: float
    queued: float
    left: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """What a job is expected to take of a budget in the present period: `expected`, of the `left` before it.

    Both are in the unit of the measure; `expected` is None where that cannot be told.
    """

    kind: OwnerKind
    name: str
    measure: Measure
    period: PeriodKind
    limit: float
    left: float
    expected: float | None
    currency: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUser:
    """What one user has used of a project's budget; `others` in one where the caller may not see whose it is."""

    user: str
    gpu_hours: float | None
    kwh: float | None
    kg_co2e: float | None
    money: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPowerLimit:
    """What it did to a run that the power limit of its GPUs was lowered for `lowered_s` seconds, to `least_w` at
    least.

    `saved_g` is how much more it would have emitted in these hours at full power, and `time_lost_s` how much sooner
    it would have ended; None with the reason in `why` where there is nothing to compare with. Uncertainties are
    standard errors, None where the slowdown is one that its user has stated (`slowdown_source`).
    """

    lowered_s: float
    least_w: float | None
    saved_g: float | None
    saved_g_uncertainty: float | None
    saved_kwh: float | None
    time_lost_s: float | None
    time_lost_uncertainty_s: float | None
    slowdown: float | None
    slowdown_source: SlowdownSource | None
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that is wrong: what happened and what greenrun does now (`text`), and what a person can do.

    `failing`: the daemon does not do its work; `not_ready`: it starts nothing for now; `warning`: look at it.
    """

    code: str
    effect: Effect
    text: str
    remedy: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day (UTC), and of it what runs held."""

    it_energy_kwh: float | None
    facility_energy_kwh: float | None
    ci_avg_g_per_kwh: float | None
    emissions_location_g: float | None
    day: date
    attributed_energy_kwh: float | None
    attributed_emissions_g: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCompleteness:
    """For how much of the period a device is in the books."""

    device: str
    component: Component
    since: datetime
    until: datetime
    booked_hours: float
    gap_hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """What is drained: a GPU by its id, or (`gpu` None) the whole machine; as whose wish, since when and why."""

    gpu: str | None
    user: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of a job, or something that happened to the daemon: then `job` is None.

    What a user did has the `uid`, and the `pid` of the process that asked for it or the `address` it came from.
    `before` and `after` are the fields that changed, as they were and are; of `env` the variables' names, never
    values.
    """

    id: int
    at: datetime
    actor: str
    kind: str
    job: int | None
    run: int | None
    detail: dict[str, Any]
    uid: int | None
    pid: int | None
    address: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastComparison:
    """What was booked by a forecast beside what settled it."""

    energy_kwh: float | None
    booked_g: float | None
    settled_g: float | None
    difference_g: float | None
    mean_absolute_error_pct: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuHours:
    """For how long GPUs were there, and for how much of that runs held them."""

    gpus: int
    available_hours: float
    allocated_hours: float
    allocated_ratio: float | None
    utilisation_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridComparison:
    """The mean intensity of what runs used beside the grid's in the same hours: whether they ran when it was clean.
    Both are of one series, the one that most of the energy of runs is priced with."""

    provider: str | None
    zone: str | None
    accounting: Accounting | None
    basis: Basis | None
    runs_ci_g_per_kwh: float | None
    grid_ci_g_per_kwh: float | None
    difference_pct: float | None
    hours: float
    verdict: str | None
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTrend:
    """What a project or a user used, beside the period before."""

    group: str
    uid: int | None
    jobs: int
    it_energy_kwh: float | None
    emissions_location_g: float | None
    ci_avg_g_per_kwh: float | None
    avoided_g: float | None
    avoided_pct: float | None
    previous_energy_kwh: float | None
    previous_emissions_g: float | None
    change_pct: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfWidths:
    """The half-widths that uncertainties are made of: ratios of the energy of each grade, and that of the PUE."""

    measured_ratio: float
    rapl_ratio: float
    integrated_ratio: float
    sparse_ratio: float
    bridged_ratio: float
    estimated_ratio: float
    pue_absolute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """What a job used in an hour (UTC)."""

    it_energy_kwh: float | None
    facility_energy_kwh: float | None
    ci_avg_g_per_kwh: float | None
    emissions_location_g: float | None
    hour: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfDay:
    """What was used in an hour of the day (UTC), over all days of the period, and how clean the grid was then."""

    hour: int
    runs_energy_kwh: float | None
    runs_emissions_g: float | None
    runs_ci_g_per_kwh: float | None
    unallocated_energy_kwh: float | None
    grid_ci_g_per_kwh: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """What is not in these figures yet, or can still change."""

    running_runs: int
    booked_until: datetime | None
    unbooked_device_seconds: float
    unbooked_kwh: float | None
    unsettled_slices: int
    unsettled_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A contract, or the residual mix, with the energy that it covers and what that emitted, market-based."""

    source: str
    instrument: str | None
    facility_kwh: float
    share_ratio: float
    g_per_kwh: float | None
    emissions_g: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A half-open interval `[start, end)`, in the core a pair."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """How forecasts turned out between `from_h` and `to_h` hours ahead; what is None has its reason in `missing`.
    `bias_g_per_kwh` is forecast minus measured; `rank_correlation` is of the hours of one forecast with one
    another, and the mean over forecasts; `captured_ratio` is what choosing the cleanest 4 h in 24 h by them
    saved, of what was to be saved, both against the first 4 h."""

    from_h: int
    to_h: int
    issues: int
    hours: int
    mean_absolute_error_g_per_kwh: float | None
    bias_g_per_kwh: float | None
    rank_correlation: float | None
    captured_ratio: float | None
    missing: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A remark on the quality of the figures."""

    field: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupied:
    """When a job that is hidden from the caller is planned to run, and on how many GPUs."""

    start: datetime
    end: datetime
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What runs used that ended in one way; these rows and `unattributed` are the total."""

    outcome: str
    is_waste: bool
    is_success: bool
    runs: int
    it_energy_kwh: float | None
    emissions_location_g: float | None
    complete: bool
    cost: float | None
    currency: str | None
    cost_missing_kwh: float | None
    baseline_emissions_g: float | None
    compared_emissions_g: float | None
    avoided_g: float | None
    avoided_pct: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPower:
    """A cap on the site's power (null: none then), and the most that is planned under it, in watts."""

    start: datetime
    end: datetime
    cap_w: float | None
    planned_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedPowerLimits:
    """What it did that the power limits of GPUs were lowered, in runs that ended in the period."""

    runs: int
    lowered_hours: float
    saved_g: float | None
    saved_g_uncertainty: float | None
    saved_kwh: float | None
    time_lost_hours: float | None
    unknown_runs: int
    unknown_hours: float
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousPeriod:
    """The period before, that trends compare with."""

    from_: datetime
    to: datetime
    booked_ratio: float | None
    it_energy_kwh: float | None
    emissions_location_g: float | None
    energy_change_pct: float | None
    emissions_change_pct: float | None
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """An intensity and the grams that follow from it."""

    g_per_kwh: float | None
    emissions_g: float | None
    kind: Kind | None
    provider: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process on a GPU that is not of the run which holds it; `user` is None where that cannot be told.

    `run` is the label of a run that left it behind, or that uses a GPU it was not given; of a process
    `in_container` it cannot always be told whether a run started it.
    """

    pid: int
    user: str | None
    memory_bytes: int | None
    run: str | None
    in_container: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something is as it is: a stable code, and a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """GPUs that no job gets from `start` to `end`: made by `user`, for `for_user` where that is somebody else, and
    why.

    One of the settings, which `repeats` every week, has a name and no id; its times are those of now or next.
    """

    id: int | None
    name: str
    gpus: tuple[str, ...]
    start: datetime
    end: datetime
    user: str | None
    for_user: str | None
    reason: str
    repeats: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row by project, user, month or zone; or the total."""

    group: str
    jobs: int
    failed_jobs: int
    runs: int
    wasted_runs: int
    run_seconds: float
    gpu_energy_kwh: float | None
    cpu_energy_kwh: float | None
    dram_energy_kwh: float | None
    it_energy_kwh: float | None
    facility_energy_kwh: float | None
    pue: float | None
    avg_power_w: float | None
    measured_kwh: float | None
    integrated_kwh: float | None
    estimated_kwh: float | None
    bridged_kwh: float | None
    emulated_kwh: float | None
    gpu_method: str | None
    cpu_method: str | None
    dram_method: str | None
    coverage_ratio: float | None
    gap_seconds: float
    energy_uncertainty_pct: float | None
    gpu_utilization_avg: float | None
    gpu_utilization_coverage: float | None
    grid_zone: str | None
    ci_provider: str | None
    ci_signal: str | None
    ci_accounting: str | None
    ci_basis: str | None
    ci_avg_g_per_kwh: float | None
    ci_min_g_per_kwh: float | None
    ci_max_g_per_kwh: float | None
    ci_estimated_ratio: float | None
    ci_forecast_ratio: float | None
    settled_ratio: float | None
    unpriced_kwh: float
    emissions_location_g: float | None
    emissions_booked_g: float | None
    emissions_settled_g: float | None
    emissions_marginal_g: float | None
    ci_marginal_g_per_kwh: float | None
    marginal_ratio: float | None
    baseline_emissions_g: float | None
    compared_emissions_g: float | None
    avoided_g: float | None
    avoided_baseline_g: float | None
    avoided_pct: float | None
    avoided_uncertainty_g: float | None
    avoided_runs: int
    avoided_missing: str | None
    avoided_not_counted_g: float | None
    ci_uncertainty_pct: float | None
    emissions_uncertainty_pct: float | None
    flags: tuple[str, ...]
    complete: bool
    idle_energy_kwh: float | None
    energy_above_idle_kwh: float | None
    work: float | None
    work_unit: str | None
    energy_per_work_j: float | None
    cost: float | None
    currency: str | None
    cost_missing_kwh: float | None
    emissions_market_g: float | None
    market_factor_source: str | None
    market_covered_ratio: float | None
    embodied_g: float | None
    td_loss_g: float | None
    embodied_lacks: str | None
    emissions_total_g: float | None
    water_l: float | None
    uid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """A series of intensities that priced something, with what it priced."""

    provider: str
    zone: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None
    gases: str | None
    booked_kwh: float | None
    emissions_booked_g: float | None
    settled_kwh: float | None
    emissions_settled_g: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The mean intensity over `[start, end)`."""

    start: datetime
    end: datetime
    g_per_kwh: float
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Unattributed:
    """What devices used that no run held."""

    group: str
    gpu_energy_kwh: float | None
    cpu_energy_kwh: float | None
    dram_energy_kwh: float | None
    it_energy_kwh: float | None
    facility_energy_kwh: float | None
    pue: float | None
    avg_power_w: float | None
    measured_kwh: float | None
    integrated_kwh: float | None
    estimated_kwh: float | None
    bridged_kwh: float | None
    emulated_kwh: float | None
    gpu_method: str | None
    cpu_method: str | None
    dram_method: str | None
    coverage_ratio: float | None
    gap_seconds: float
    energy_uncertainty_pct: float | None
    gpu_utilization_avg: float | None
    gpu_utilization_coverage: float | None
    grid_zone: str | None
    ci_provider: str | None
    ci_signal: str | None
    ci_accounting: str | None
    ci_basis: str | None
    ci_avg_g_per_kwh: float | None
    ci_min_g_per_kwh: float | None
    ci_max_g_per_kwh: float | None
    ci_estimated_ratio: float | None
    ci_forecast_ratio: float | None
    settled_ratio: float | None
    unpriced_kwh: float
    emissions_location_g: float | None
    emissions_booked_g: float | None
    emissions_settled_g: float | None
    emissions_marginal_g: float | None
    ci_marginal_g_per_kwh: float | None
    marginal_ratio: float | None
    baseline_emissions_g: float | None
    compared_emissions_g: float | None
    avoided_g: float | None
    avoided_baseline_g: float | None
    avoided_pct: float | None
    avoided_uncertainty_g: float | None
    avoided_runs: int
    avoided_missing: str | None
    avoided_not_counted_g: float | None
    ci_uncertainty_pct: float | None
    emissions_uncertainty_pct: float | None
    flags: tuple[str, ...]
    complete: bool
    idle_energy_kwh: float | None
    energy_above_idle_kwh: float | None
    work: float | None
    work_unit: str | None
    energy_per_work_j: float | None
    cost: float | None
    currency: str | None
    cost_missing_kwh: float | None
    emissions_market_g: float | None
    market_factor_source: str | None
    market_covered_ratio: float | None
    embodied_g: float | None
    td_loss_g: float | None
    embodied_lacks: str | None
    emissions_total_g: float | None
    water_l: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How the budget and the quotas of a user or project stand in the present period `[start, end)`.

    `gpus_held` are those of live jobs, `gpus_kept` those of queued jobs that may start beside them; `jobs_waiting`
    are queued jobs that have no room.
    """

    kind: OwnerKind
    name: str
    period: PeriodKind
    period_name: str
    start: datetime
    end: datetime
    over: OverBudget
    keep_limits: bool
    currency: str | None
    lines: tuple[BudgetLine, ...]
    gpus_limit: int | None
    gpus_held: int
    gpus_kept: int
    queued_limit: int | None
    jobs_queued: int
    jobs_waiting: int
    users: tuple[BudgetUser, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """For how much of the period the books know what its devices used."""

    since: datetime | None
    until: datetime | None
    hours: float
    booked_hours: float
    device_hours: float
    booked_device_hours: float
    gap_device_hours: float
    watched_ratio: float | None
    is_whole: bool
    devices: tuple[DeviceCompleteness, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of this host, and who has it: a run of this daemon, or somebody outside it.

    `available` says whether jobs may be started on a GPU once nobody has it, and `unavailable` why not. `processes`
    are those on it that are not of the run which holds it, as last seen; None where that cannot be told.
    `idle_power_w` is what a GPU draws while nobody holds it, learned of the last 28 days; None until that is
    known. `power_w` is what it drew when it was last asked, in the last seconds; None where it cannot say.
    `reserved_next` says for whom and when a GPU is reserved next, if it is. A board that `is_divided` is leased
    in parts, each of which is `part_of` it and tells no power; it is `leased` while one of them is, and
    `available` is None, as of what is no GPU: no job gets all of it. `name` is what people call a device. Of a
    job that is hidden from the caller it is only told that the device is `leased`.
    """

    id: str
    index: int
    name: str
    part_of: str | None
    is_divided: bool
    model: str
    kind: Component
    source: str
    emulated: bool
    memory_bytes: int | None
    leased: bool
    leased_by_job: int | None
    leased_by_run: str | None
    held_elsewhere: str | None
    available: bool | None
    unavailable: tuple[Reason, ...]
    processes: tuple[Process, ...] | None
    idle_power_w: float | None
    power_w: float | None
    reserved_next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A slice of energy in the books.

    Of a device that several runs use at once there is one for each, and one for nobody; their `share` adds up to 1.
    `busy_s` is for how many seconds of it a GPU was busy, None where that is not known.
    """

    id: int | None
    job: int | None
    run: int | None
    project: str | None
    device: str
    component: Component
    start: datetime
    end: datetime
    share: float
    busy_s: float | None
    energy_j: float | None
    quality: Quality
    pue: float
    booked: Priced
    settled: Priced | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The active forecast from now on; with rung `none` there is none, and the fields of a forecast are None.

    `zone` is None when the settings name none. `rung` is its fallback level, and `why` says it in a sentence;
    `age_s` is how long ago the source issued it, None below `stale`.
    """

    zone: str | None
    provider: str | None
    signal: Signal | None
    accounting: Accounting | None
    basis: Basis | None
    issued_at: datetime | None
    fetched_at: datetime | None
    step_s: float | None
    rung: FallbackLevel
    age_s: float | None
    why: str | None
    slots: tuple[Slot, ...]

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from greenrun.client.notebook_html import forecast_html

        return forecast_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the daemon does its work; `reasons` is empty when it does.

    `conditions` is all that is wrong, also what does not keep it from that.
    """

    status: str
    reasons: tuple[str, ...]
    conditions: tuple[Condition, ...]
    version: str
    started_at: datetime
    last_tick_at: datetime | None
    last_sample_at: datetime | None
    forecast_fetched_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A row by job."""

    group: str
    jobs: int
    failed_jobs: int
    runs: int
    wasted_runs: int
    run_seconds: float
    gpu_energy_kwh: float | None
    cpu_energy_kwh: float | None
    dram_energy_kwh: float | None
    it_energy_kwh: float | None
    facility_energy_kwh: float | None
    pue: float | None
    avg_power_w: float | None
    measured_kwh: float | None
    integrated_kwh: float | None
    estimated_kwh: float | None
    bridged_kwh: float | None
    emulated_kwh: float | None
    gpu_method: str | None
    cpu_method: str | None
    dram_method: str | None
    coverage_ratio: float | None
    gap_seconds: float
    energy_uncertainty_pct: float | None
    gpu_utilization_avg: float | None
    gpu_utilization_coverage: float | None
    grid_zone: str | None
    ci_provider: str | None
    ci_signal: str | None
    ci_accounting: str | None
    ci_basis: str | None
    ci_avg_g_per_kwh: float | None
    ci_min_g_per_kwh: float | None
    ci_max_g_per_kwh: float | None
    ci_estimated_ratio: float | None
    ci_forecast_ratio: float | None
    settled_ratio: float | None
    unpriced_kwh: float
    emissions_location_g: float | None
    emissions_booked_g: float | None
    emissions_settled_g: float | None
    emissions_marginal_g: float | None
    ci_marginal_g_per_kwh: float | None
    marginal_ratio: float | None
    baseline_emissions_g: float | None
    compared_emissions_g: float | None
    avoided_g: float | None
    avoided_baseline_g: float | None
    avoided_pct: float | None
    avoided_uncertainty_g: float | None
    avoided_runs: int
    avoided_missing: str | None
    avoided_not_counted_g: float | None
    ci_uncertainty_pct: float | None
    emissions_uncertainty_pct: float | None
    flags: tuple[str, ...]
    complete: bool
    idle_energy_kwh: float | None
    energy_above_idle_kwh: float | None
    work: float | None
    work_unit: str | None
    energy_per_work_j: float | None
    cost: float | None
    currency: str | None
    cost_missing_kwh: float | None
    emissions_market_g: float | None
    market_factor_source: str | None
    market_covered_ratio: float | None
    embodied_g: float | None
    td_loss_g: float | None
    embodied_lacks: str | None
    emissions_total_g: float | None
    water_l: float | None
    uid: int | None
    job_id: int
    job_name: str
    project: str
    user: str
    tags: dict[str, str]
    git_commit: str | None
    host: str | None
    site: str | None
    country_iso3: str | None
    country_name: str | None
    submitted_at: datetime
    eligible_at: datetime
    deadline_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    wall_seconds: float | None
    paused_seconds: float | None
    deferral_seconds: float | None
    attempts: int
    outcome: str
    exit_code: int | None
    gpu_count: int
    gpu_share: float | None
    gpu_model: tuple[str, ...]
    gpu_models: dict[str, int]
    gpu_uuid: tuple[str, ...]
    gpu_source: str | None
    cpu_source: str | None
    cpu_model: str | None
    power_limit_watts: float | None
    peak_power_w: float | None
    slices: tuple[Hour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A job's place in the plan."""

    start: datetime
    end: datetime
    g_per_kwh: float | None
    start_now_g_per_kwh: float | None
    expected_g: float | None
    start_now_g: float | None
    signal: Signal | None
    pieces: tuple[Interval, ...]
    promised: Interval | None
    put_offs: int
    job: int
    gpus: int
    late: bool
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """When a job is planned to run; `start_now_g` is what it would emit if it started at once.

    All of it is by the `signal`, `average` or `marginal`, of the forecast that it was planned with; None without
    one. `pieces` are the intervals of a job that is to be suspended in between; of any other it is empty.
    `promised` is when it was to run as first planned, `put_offs` how often it was put off since; None for a job
    that is to start at once.
    """

    start: datetime
    end: datetime
    g_per_kwh: float | None
    start_now_g_per_kwh: float | None
    expected_g: float | None
    start_now_g: float | None
    signal: Signal | None
    pieces: tuple[Interval, ...]
    promised: Interval | None
    put_offs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A configured source; None where it is not known.

    `key_problem` says why its key cannot be read. `package` is what declares its kind, "greenrun" or an installed
    package, and `problem` says why that cannot be used. `forecast_at` is when its forecast of the daemon's zone
    was last found to hold, `measured_at` the same of the values that it measured.
    """

    name: str
    kind: str
    role: Role
    label: str
    attribution: str
    zones: tuple[str, ...]
    needs_key: bool
    key_problem: str | None
    package: str
    problem: str | None
    forecast_at: datetime | None
    forecast_issued_at: datetime | None
    forecast_end: datetime | None
    measured_from: datetime | None
    measured_until: datetime | None
    measured_at: datetime | None
    asked: Asked | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job, with what the books know of it now.

    `emissions_g` is as booked, `emissions_settled_g` as settled; `emissions_location_g`, as in reports, takes of
    each slice the settled price where there is one. All three are by an average; `emissions_marginal_g` is by a
    marginal signal alone. `baseline_emissions_g` is what it would have emitted, had its job started as soon as
    it could, and `avoided_g` how much more that is than what it did; both None until that is booked, some time
    after it ended. `duration_s` is how long it ran once it has ended, by a clock that nobody can set where that
    is known. `image` is which image its container was made of, by digest, once it has ended; None for one in no
    container. `power_limit` is what a lowered power limit did, once the run has ended. `work` is what the run
    last reported to have done; its cost in energy is None unless all of that is known. Of another one's job
    that is only listed, all but its times, outcome and devices is None.
    """

    id: int
    number: int
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    outcome: Outcome | None
    exit_code: int | None
    devices: tuple[str, ...]
    energy_j: float | None
    energy_quality: Quality | None
    emissions_g: float | None
    emissions_settled_g: float | None
    emissions_location_g: float | None
    emissions_marginal_g: float | None
    baseline_emissions_g: float | None
    avoided_g: float | None
    gpu_utilization: float | None
    gpu_utilization_coverage: float | None
    image: str | None
    work: float | None
    work_unit: str | None
    work_at: datetime | None
    work_per_kwh: float | None
    energy_per_work_j: float | None
    anomalies: tuple[SeenAnomaly, ...] | None
    log: str | None
    power_limit: RunPowerLimit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuality:
    """How good the forecasts of one series were: by lead time, and over the day ahead."""

    zone: str
    provider: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None
    leads: tuple[Lead, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePower:
    """What all GPUs, and the host as stated, are expected to draw now and what was measured, in watts.

    `above_since` is since when more is measured than `cap_w`, so that nothing with GPUs is started.
    """

    cap_w: float | None
    expected_w: float | None
    measured_w: float | None
    above_since: datetime | None
    planned: tuple[PlannedPower, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job without a place in the plan."""

    job: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The budgets that the caller may see; `is_set`: there are any here.

    `may_approve`: the caller may let jobs go.
    """

    is_set: bool
    may_approve: bool
    budgets: tuple[Budget, ...]


@dataclass(kw_only=True, eq=False, repr=False)
class JobFields:
    """A job with what the electricity of its runs cost so far, PUE included; None where no price is set or known.
    `cost_missing_kwh` is energy whose price is not known, and which is in no cost."""

    id: int
    user: str
    state: State
    reason: Reason | None
    access: str
    command: tuple[str, ...] | None
    gpus: int
    gpu_model: str | None
    gpu_memory_gib: float | None
    shared: bool | None
    gpu_ids: GpuIds | None
    memory_gib: float | None
    cpus: float | None
    io_weight: int | None
    duration_s: float
    duration_source: DurationSource | None
    duration_note: str | None
    time_limit_s: float | None
    finish_by: datetime | None
    max_delay_s: float | None
    start_after: datetime | None
    start_now_: bool | None
    expire: bool | None
    project: str
    name: str
    labels: dict[str, str] | None
    priority: int
    unique_key: str | None
    power_w: float | None
    power_note: str | None
    power_cap: str | None
    power_cap_note: str | None
    min_saving: float | None
    run_below_g_per_kwh: float | None
    retries: int | None
    retry_on: tuple[int, ...] | None
    grace_s: float | None
    interruptible: bool | None
    min_run_s: float | None
    restart_cost_s: float | None
    checkpoint_signal: str | None
    checkpoint_exit_code: int | None
    after: tuple[AfterJob, ...] | None
    array: Array | None
    workdir: str | None
    container: str | None
    env_file: str | None
    log: str | None
    git_commit: str | None
    noted_files: dict[str, str] | None
    stop_on: tuple[Anomaly, ...] | None
    notify: tuple[Notice, ...] | None
    power_source: PowerSource | None
    env_names: tuple[str, ...] | None
    held: bool
    cancel_requested: bool
    progress_s: float | None
    submitted_at: datetime
    finished_at: datetime | None
    requeued_at: datetime | None
    retry_at: datetime | None
    planned: Planned | None
    runs: tuple[Run, ...]
    cost: float | None
    currency: str | None
    cost_missing_kwh: float | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job is where it is, in codes and in sentences."""

    job: int
    state: State
    reason: Reason | None
    sentences: tuple[str, ...]
    planned: Planned | None
    duration_s: float
    duration_source: DurationSource | None
    earliest_start: datetime
    latest_start: datetime

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from greenrun.client.notebook_html import explanation_html

        return explanation_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastQuality:
    """How good forecasts were over the last eight weeks; judged hourly, `judged_at` is None before the first time."""

    zone: str | None
    judged_at: datetime | None
    series: tuple[SeriesQuality, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The latest plan, its bound, and what the same jobs would emit at either baseline.

    `start_at_once_g` is of first come, first served: each job in the order of submission, as soon as enough GPUs
    are free. `earliest_start_g` is of what reports compare with: each run as early as its own GPUs are free.
    `others` is when jobs that are hidden from the caller occupy GPUs, `others_waiting` how many have no place.
    `site_power` is None without a cap on it.
    """

    made_at: datetime
    horizon_end: datetime | None
    gap_ratio: float | None
    bound_g: float | None
    expected_g: float | None
    start_at_once_g: float | None
    earliest_start_g: float | None
    placements: tuple[Placement, ...]
    waiting: tuple[Waiting, ...]
    others: tuple[Occupied, ...]
    others_waiting: int
    site_power: SitePower | None

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from greenrun.client.notebook_html import plan_html

        return plan_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What devices and runs used and emitted from an instant up to another."""

    report_schema_version: int
    greenrun_version: str
    config_hash: str | None
    generated_at: datetime
    from_: datetime
    to: datetime
    preliminary: bool | None
    by: str
    zone: str | None
    host: str | None
    site: str | None
    organisation: str | None
    boundary: str | None
    total: Row
    unattributed: Unattributed
    rows: tuple[JobRow, ...] | tuple[Row, ...]
    others: Row | None
    rows_left_out: int
    days: tuple[Day, ...]
    series: tuple[SeriesRow, ...]
    waste: tuple[OutcomeRow, ...]
    completeness: Completeness | None
    in_flight: InFlight | None
    against_grid: GridComparison | None
    hours_of_day: tuple[HourOfDay, ...]
    by_project: tuple[GroupTrend, ...]
    by_user: tuple[GroupTrend, ...]
    previous: PreviousPeriod | None
    instruments: tuple[Instrument, ...]
    gpu_hours: GpuHours | None
    power_limits: ReportedPowerLimits | None
    forecast_against_settled: ForecastComparison
    uncertainty: HalfWidths | None
    boamps: dict[str, str]
    method: tuple[str, ...]
    data_quality: tuple[Note, ...]
    limits: tuple[str, ...]
    attribution: tuple[str, ...]
    missing: dict[str, str]

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from greenrun.client.notebook_html import report_html

        return report_html(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedJob:
    """A job as it was submitted, or tried, with `warnings`: sentences on what is likely wrong with it.

    `budgets` is what it is expected to take of each budget that it counts in.
    """

    id: int | None
    user: str
    state: State
    reason: Reason | None
    access: str
    command: tuple[str, ...] | None
    gpus: int
    gpu_model: str | None
    gpu_memory_gib: float | None
    shared: bool | None
    gpu_ids: GpuIds | None
    memory_gib: float | None
    cpus: float | None
    io_weight: int | None
    duration_s: float
    duration_source: DurationSource | None
    duration_note: str | None
    time_limit_s: float | None
    finish_by: datetime | None
    max_delay_s: float | None
    start_after: datetime | None
    start_now_: bool | None
    expire: bool | None
    project: str
    name: str
    labels: dict[str, str] | None
    priority: int
    unique_key: str | None
    power_w: float | None
    power_note: str | None
    power_cap: str | None
    power_cap_note: str | None
    min_saving: float | None
    run_below_g_per_kwh: float | None
    retries: int | None
    retry_on: tuple[int, ...] | None
    grace_s: float | None
    interruptible: bool | None
    min_run_s: float | None
    restart_cost_s: float | None
    checkpoint_signal: str | None
    checkpoint_exit_code: int | None
    after: tuple[AfterJob, ...] | None
    array: Array | None
    workdir: str | None
    container: str | None
    env_file: str | None
    log: str | None
    git_commit: str | None
    noted_files: dict[str, str] | None
    stop_on: tuple[Anomaly, ...] | None
    notify: tuple[Notice, ...] | None
    power_source: PowerSource | None
    env_names: tuple[str, ...] | None
    held: bool
    cancel_requested: bool
    progress_s: float | None
    submitted_at: datetime
    finished_at: datetime | None
    requeued_at: datetime | None
    retry_at: datetime | None
    planned: Planned | None
    runs: tuple[Run, ...]
    warnings: tuple[str, ...]
    budgets: tuple[BudgetUse, ...]
