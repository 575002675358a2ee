"""What a plan depends on and what it says: the values that go into the planner and come out of it."""

from bisect import bisect_right
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Series, Signal
from greenrun.core.jobs.availability import Absence
from greenrun.core.jobs.job import Job, State
from greenrun.core.jobs.reasons import Reason
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import Shares
from greenrun.core.planning.site_limits.reserved import Reserved

MOVED = timedelta(minutes=1)  # a place that changes by less counts as unchanged
Interval = tuple[datetime, datetime]
Share = tuple[tuple[tuple[str, ...], int], ...]  # of which devices how many
ShadowPrices = Mapping[
    tuple[str, datetime], float
]  # by pool of GPUs and instant from which it holds, in g per GPU-hour


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClass:
    """Jobs of about one length; `gpus_per_s` is how many GPUs they ask for, per second, on the mean."""

    length_s: float
    wait_s: float
    gpus_per_s: float
    watts_per_gpu: float


Arrivals = tuple[JobClass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to plan. Ratios are 0-1; `due_grace` is how late after its planned instant a start is still that start.

    `iterations` bounds the search for prices and `rearrangements` the attempts to improve the plan found with them;
    `work` bounds what both cost (improvement/effort.py has the unit), so that a long queue does not hold up the daemon.
    A clock would not do, because equal situations must give equal plans.
    """

    default_max_delay: timedelta = timedelta(hours=24)
    due_grace: timedelta = timedelta(seconds=5)
    min_saving: float = 0.0
    run_below_g_per_kwh: float = 0.0
    pue: float = 1.0
    gpu_power_w: float | None = None
    iterations: int = 120
    rearrangements: int = 32
    work: int = 180_000_000
    gap: float = 0.005
    shares: Shares = field(default_factory=Shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """When a job is meant to run, and why then. `due`: the planned instant of a start that only waits for GPUs.

    `pieces` are the intervals in which an interruptible job runs, when it is to be suspended between `start` and `end`.
    `promised` is from when until when it was to run in the first plan that placed it, and `put_offs` how often a new
    plan put it off since, further than ever; None for a job that runs. Intensities and grams are by the `signal`.
    `shares` says for each interval of which GPUs how many it is to have, where GPUs of the pool are reserved at
    different times.
    """

    job_id: int
    start: datetime
    end: datetime
    gpus: int
    reason: Reason
    intensity_g_per_kwh: float | None = None
    start_now_g_per_kwh: float | None = None
    expected_g: float | None = None
    start_now_g: float | None = None
    signal: Signal | None = None
    late: bool = False
    due: datetime | None = None
    pieces: tuple[Interval, ...] = ()
    pool: str = ""
    promised: Interval | None = None
    put_offs: int = 0
    shares: tuple[Share, ...] = ()

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The half-open intervals in which the job is meant to run, in order."""
        return self.pieces or ((self.start, self.end),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that has no place in the plan, and why."""

    job_id: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Placements in order of start. Sums are in g CO2e and None unless known for every placement.

    They are compared with two baselines: `start_at_once_g` of first come, first served, and `earliest_start_g` of the
    earliest start of each run on the same GPUs, as reports have it.
    """

    made_at: datetime
    horizon_end: datetime | None = None
    placements: tuple[Placement, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    expected_g: float | None = None
    start_at_once_g: float | None = None
    earliest_start_g: float | None = None
    bound_g: float | None = None
    prices: ShadowPrices = field(default_factory=dict)
    _index: Mapping[int, Placement | Waiting] | None = field(init=False, repr=False, compare=False, default=None)

    def placement(self, job_id: int) -> Placement | None:
        """Return the job's placement, if it has one."""
        row = self._by_job.get(job_id)
        return row if isinstance(row, Placement) else None

    def started_by(self, at: datetime) -> tuple[Placement, ...]:
        """Return the placements that start at `at` or before."""
        return self.placements[: bisect_right(self.placements, at, key=lambda row: row.start)]

    def row(self, job_id: int) -> Placement | Waiting | None:
        """Return what is said of the job."""
        return self._by_job.get(job_id)

    def reason(self, job_id: int) -> Reason | None:
        """Return why the job is placed where it is, or why it waits."""
        row = self._by_job.get(job_id)
        return row.reason if row is not None else None

    @property
    def _by_job(self) -> Mapping[int, Placement | Waiting]:
        """All rows by job; made when somebody asks, which nobody does of most plans that have one row more."""
        if self._index is None:
            rows: tuple[Placement | Waiting, ...] = (*self.placements, *self.waiting)
            object.__setattr__(self, "_index", {row.job_id: row for row in rows})
        return self._index or {}

    def moves_from(self, other: "Plan", job_ids: Container[int]) -> int:
        """Count those of the jobs whose place in both plans starts or ends more than a minute apart."""
        pairs = [(row, other.placement(row.job_id)) for row in self.placements if row.job_id in job_ids]
        return sum(max(abs(row.start - old.start), abs(row.end - old.end)) > MOVED for row, old in pairs if old)

    def put_offs_since(self, other: "Plan") -> int:
        """Count how often jobs that have a place in both plans were put off past their first promise in between."""
        pairs = [(row, other.placement(row.job_id)) for row in self.placements]
        return sum(max(0, row.put_offs - old.put_offs) for row, old in pairs if old)

    def decides_as(self, other: "Plan") -> bool:
        """Whether both say the same of every job, whatever the sums and the sentences; then keeping one is enough."""
        return (
            self.prices == other.prices
            and self._places() == other._places()
            and [(row.job_id, row.reason.code) for row in self.waiting]
            == [(row.job_id, row.reason.code) for row in other.waiting]
            and all(  # last, since reasons have to be worked out for it
                row.reason.code is old.reason.code for row, old in zip(self.placements, other.placements, strict=True)
            )
        )

    def _places(self) -> list[tuple[object, ...]]:
        return [(row.job_id, row.intervals, row.pool, row.due, row.promised, row.put_offs) for row in self.placements]

    @property
    def gap_ratio(self) -> float | None:
        """How far the plan may be above the best possible, as a share of the bound; None when either is unknown."""
        if self.expected_g is None or not self.bound_g:
            return None
        return max(0.0, self.expected_g / self.bound_g - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKind:
    """What tells devices apart for a job: the model, and the memory in GiB when it is known.

    A part of a board says what it is of it: `slot of 4`, or the profile `1g.10gb` of MIG instances.
    """

    model: str = ""
    memory_gib: float | None = None
    of_board: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An interruptible job that runs now, on which devices and since when; its `job.progress` counts earlier runs.

    One that is starting runs since its claim, as far as is known.
    """

    job: Job
    devices: tuple[str, ...]
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a plan depends on.

    `busy` maps each device in use to when it is expected back; `cpu_busy` holds the expected ends of jobs without GPUs.
    `elsewhere` names devices that somebody outside this daemon holds; they are in `busy` as well. `away` are those of
    `devices` on which nothing may be started: nobody knows for how long, so a plan goes without them until they are
    back. `machine_away` says so of all of them and of the CPU slots. `reserved` is when some are kept for people, in
    order of start. `running` are the interruptible jobs that run now
    and may be suspended; their devices are neither in `busy` nor in `away`, nor they in `jobs`.
    `kinds` tells the model and memory of devices; those of one kind form a pool, and a run never mixes pools.
    `gpus_note` says, for people, why there are no more devices and what to set; "" where there is nothing to say.
    `states` are those of the jobs that queued ones wait for; `arrays` counts the live jobs of each array by its key.
    `ends` tells by id when the live jobs that are not in `running` are expected to end.
    `arrivals` are the expected arrivals. `used_s` is what each account of the `options.shares` has used of the GPUs, in
    decayed GPU-seconds, with what is still expected of live runs; it may lack accounts while only one has jobs waiting.
    `power` is the site's cap on what all GPUs draw together, and what counts towards it; None without a cap.
    `withheld` says by id why queued jobs have no room in a quota or budget. Jobs in `thrifty` take their cleanest hours
    even where they asked to start sooner, so that they fit into a budget. `renewed` says by id since when budgets let
    jobs be planned that have no limit: from then on they may wait for clean hours.
    """

    now: datetime
    jobs: tuple[Job, ...]
    running: tuple[Running, ...] = ()
    devices: tuple[str, ...] = ()
    kinds: Mapping[str, DeviceKind] = field(default_factory=dict)
    gpus_note: str = ""
    states: Mapping[int, State] = field(default_factory=dict)
    arrays: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[int, datetime] = field(default_factory=dict)
    busy: Mapping[str, datetime] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    away: Mapping[str, Absence] = field(default_factory=dict)
    machine_away: Absence | None = None
    reserved: tuple[Reserved, ...] = ()
    cpu_slots: int = 2
    cpu_busy: tuple[datetime, ...] = ()
    forecast: Series | None = None
    options: Options = field(default_factory=Options)
    last: Plan | None = None
    prices: ShadowPrices = field(default_factory=dict)
    arrivals: Arrivals = ()
    used_s: Mapping[str, float] = field(default_factory=dict)
    power: SitePower | None = None
    withheld: Mapping[int, Reason] = field(default_factory=dict)
    thrifty: frozenset[int] = frozenset()
    renewed: Mapping[int, datetime] = field(default_factory=dict)

    def as_planned(self, job: Job) -> Job:
        """Return a queued job as it is planned: a thrifty one waits for clean hours, whatever it asked for."""
        if since := self.renewed.get(job.id):
            job = replace(job, spec=replace(job.spec, start_after=since))
        if job.id not in self.thrifty:
            return job
        return replace(job, spec=replace(job.spec, start_now=False, run_below_g_per_kwh=0.0, min_saving=0.0))
