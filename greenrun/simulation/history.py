"""Makes a case of what this host has done: its own finished jobs, and the intensities that were measured meanwhile."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from greenrun.core.carbon.intensity import Kind, Series
from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.errors import InputProblem
from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import Shares
from greenrun.simulation.case import Case, JobOverrides, checked, refusal
from greenrun.simulation.foresight import SERIES, ForesightIssue
from greenrun.simulation.policies import Arrival
from greenrun.simulation.site_rules import SiteRules

EARLIER = timedelta(days=90)  # measured intensities from before the jobs are history to learn from
_COUNTED = frozenset({Outcome.SUCCEEDED, Outcome.CHECKPOINTED})
NO_POWER, NO_GRID, NO_GPU, NO_TIME = "power unknown", "intensities not measured", "no GPU", "no run that counts"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseQuery:
    """What of the past is simulated, and how. `default_max_delay` is for jobs that have no limit of their own."""

    zone: str
    span: timedelta
    gpus: int | None
    horizon: timedelta
    default_max_delay: timedelta
    restart_cost: timedelta = timedelta(0)
    overrides: JobOverrides
    shares: Shares = field(default_factory=Shares)
    site_power: SitePower | None = None
    site: SiteRules = field(default_factory=SiteRules)


class PastJobs(Protocol):
    """The jobs there were."""

    def jobs(self, states: Sequence[State] = ()) -> Sequence[Job]:
        """Return jobs in these states, by id."""


class PastRuns(Protocol):
    """What was done about them."""

    def of_jobs(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""


class PastGrid(Protocol):
    """What the grid was like."""

    def measured(self, zone: str, start: datetime, end: datetime) -> Series | None:
        """Return the measured slots of that series of the zone which covers most of `[start, end)`."""


class PastEnergy(Protocol):
    """What they used."""

    def run_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return each run's energy as the books have it."""


class PastStore(Protocol):
    """What of a store a case is made of."""

    @property
    def jobs(self) -> PastJobs: ...

    @property
    def runs(self) -> PastRuns: ...

    @property
    def grid(self) -> PastGrid: ...

    @property
    def books(self) -> PastEnergy: ...


def history_case(store: PastStore, query: CaseQuery, now: datetime) -> tuple[Case, Mapping[str, int]]:
    """Return the case of the jobs submitted in the last `span` that succeeded, and how many were left out by reason.

    A job takes what its runs took, at their mean power (else the power it was submitted with); jobs without GPUs, of
    unknown power, or outside the measured intensities are left out. Raise InvalidInput when nothing is left.
    """
    measured = store.grid.measured(query.zone, now - query.span - EARLIER, now)
    if measured is None or measured.start is None or measured.end is None:
        why = f"no intensities of {query.zone} are stored; name a history_provider in [grid] and let the daemon run"
        raise refusal([InputProblem(field="--history", message=why)])
    start = max(now - query.span, measured.start)
    left_out: Counter[str] = Counter()
    jobs = tuple(_arrivals(store, query, (start, measured.end), left_out))
    if not jobs:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none succeeded"
        raise refusal(
            [InputProblem(field="--history", message=f"no job since {start.isoformat()} can be used: {told}")]
        )
    slots = Series(SERIES, measured.starts_s, measured.ends_s, measured.values, (Kind.MEASURED,) * len(measured))
    case = Case(
        start=start, jobs=jobs, gpus=query.gpus, measured=slots, issues=(ForesightIssue(issued_s=None, slots=slots),),
        reach=query.horizon, restart_cost=query.restart_cost, shares=query.shares,
        site_power=query.site_power, site=query.site,
    )  # fmt: skip
    return checked(case), left_out


def _arrivals(
    store: PastStore, query: CaseQuery, known: tuple[datetime, datetime], left_out: Counter[str]
) -> Iterator[Arrival]:
    jobs = [job for job in store.jobs.jobs([State.SUCCEEDED]) if job.submitted_at >= known[0]]
    runs = store.runs.of_jobs([job.id for job in jobs])
    for job in jobs:
        counted = [run for run in runs[job.id] if run.outcome in _COUNTED]
        arrival = _arrival(store, job, counted, query)
        if isinstance(arrival, Arrival) and arrival.latest_end_s > known[1].timestamp():
            arrival = NO_GRID
        if isinstance(arrival, Arrival):
            yield arrival
        else:
            left_out[arrival] += 1


def _arrival(store: PastStore, job: Job, runs: list[Run], query: CaseQuery) -> Arrival | str:
    """Return the job as it came, or why it cannot be simulated."""
    if not job.spec.gpus:
        return NO_GPU
    times = [run.length for run in runs]
    duration = sum(times, timedelta(0))
    if not duration:
        return NO_TIME
    power_w = _power_w(store, job, runs, duration)
    if not power_w:
        return NO_POWER
    latest_start = job.latest_end(query.default_max_delay) - duration
    own = Arrival(
        submitted_s=job.submitted_at.timestamp(),
        duration_s=duration.total_seconds(),
        gpus=job.spec.gpus,
        power_w=power_w,
        max_delay_s=max(0.0, (latest_start - job.submitted_at).total_seconds()),
        interruptible=job.spec.interruptible,
        user=job.user,
        project=job.spec.project,
        power_limit="none" if job.spec.takes_part else job.spec.power_cap or "",
    )
    return query.overrides.applied(own)


def _power_w(store: PastStore, job: Job, runs: list[Run], duration: timedelta) -> float | None:
    totals = store.books.run_totals([run.id for run in runs]).values()
    known_j = [total.gpu_energy_j for total in totals if total.gpu_energy_j and total.quality is not Quality.UNKNOWN]
    return sum(known_j) / duration.total_seconds() if len(known_j) == len(runs) else job.spec.power_w
