"""What is simulated: jobs, GPUs, the grid as it was and as it was foretold; checked as a whole before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import inf

import numpy as np

from greenrun.core.carbon.intensity import Series
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.core.formatting import instant_text, power_text
from greenrun.core.planning.capacity import power_left
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.power_cap.site_power import SitePower, whole_mw
from greenrun.core.planning.precedence.fair_share import Shares
from greenrun.simulation.foresight import ForesightIssue
from greenrun.simulation.policies import Arrival
from greenrun.simulation.site_rules import SiteRules, unknown_names

MOST_JOBS = 200_000
MOST_GPUS = 100_000
WEEKS = timedelta(days=15)
SHORTEST_RUN = timedelta(
    seconds=2
)  # next to nothing, but a run that is suspended as it starts would count as fruitless


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOverrides:
    """What the caller changes about the jobs of the file. `max_delay` None: each job's own.

    `power_limit` is what jobs allow that do not say.
    """

    max_delay: timedelta | None = None
    interruptible: bool = False
    power_limit: str = ""

    def applied(self, job: Arrival) -> Arrival:
        """Return the job as it is to be simulated."""
        delay_s = job.max_delay_s if self.max_delay is None else self.max_delay.total_seconds()
        return replace(
            job,
            max_delay_s=delay_s,
            interruptible=job.interruptible or self.interruptible,
            power_limit=job.power_limit or self.power_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One simulation's input. Jobs are in the order of their file, `gpus` None is without limit.

    `measured` is the grid as it was; `issues` the forecasts of it, `reach` how far ahead that could be seen.
    `earlier` are jobs of the past, from which a planner may learn what usually arrives. `notice` is how long before
    they may start greenrun knows of jobs, `shares` how GPUs are shared among their users. `site_power` caps what all
    jobs draw together, under every policy; None without a cap. `site` is what else a site sets: its excluded GPUs are
    not among the `gpus`.
    """

    start: datetime
    jobs: tuple[Arrival, ...]
    gpus: int | None
    measured: Series
    issues: tuple[ForesightIssue, ...]
    reach: timedelta
    restart_cost: timedelta = timedelta(0)
    earlier: tuple[Arrival, ...] = ()
    notice: timedelta = timedelta(0)
    shares: Shares = field(default_factory=Shares)
    site_power: SitePower | None = None
    site: SiteRules = field(default_factory=SiteRules)

    @property
    def latest_end(self) -> datetime:
        """When the last job should have ended at the latest."""
        return datetime.fromtimestamp(max(job.latest_end_s for job in self.jobs), UTC)

    @property
    def most_gpus(self) -> int:
        """How many GPUs there are, or could ever be in use at once while every job keeps its limit."""
        return _peak(self.jobs) if self.gpus is None else self.gpus


def checked(case: Case, found: Sequence[InputProblem] = ()) -> Case:
    """Return the case; raise InvalidInput with what was found already and everything that does not fit together."""
    problems = [*found, *_gpu_problems(case), *_grid_problems(case), *_power_problems(case), *_site_problems(case)]
    if problems:
        raise refusal(problems)
    return case


def refusal(problems: Sequence[InputProblem]) -> InvalidInput:
    """The error that tells these problems."""
    count = f"{len(problems)} problems were found" if len(problems) > 1 else "a problem was found"
    return InvalidInput(f"nothing was simulated or written, because {count}", problems)


def _gpu_problems(case: Case) -> list[InputProblem]:
    if case.gpus is None:
        return []
    if not 1 <= case.gpus <= MOST_GPUS:
        return [InputProblem(field="--gpus", message=f"{case.gpus} is not a number from 1 to {MOST_GPUS}, or inf")]
    large = [job.gpus for job in case.jobs if job.gpus > case.gpus]
    if not large:
        return []
    many = f"{len(large)} jobs need" if len(large) > 1 else "a job needs"
    return [
        InputProblem(field="--gpus", message=f"{many} more GPUs than the {case.gpus} there are, up to {max(large)}")
    ]


def _site_problems(case: Case) -> list[InputProblem]:
    """Return that the settings name GPUs that are not there."""
    site = case.site
    if not site.reserved and not site.excluded:
        return []
    if case.gpus is None:
        why = "the settings reserve or exclude GPUs (--site): say how many there are"
        return [InputProblem(field="--gpus", message=why)]
    names = unknown_names(site.reserved, site.devices(case.gpus))
    why = "which is no simulated GPU that jobs are given: those have numbers"
    return [InputProblem(field="--site", message=f"{name}, {why}") for name in names]


def _power_problems(case: Case) -> list[InputProblem]:
    """Return that there are jobs for which the cap leaves no hour of any week long enough."""
    site = case.site_power
    if site is None:
        return []
    longest = max((job.duration_s for job in case.jobs), default=0.0)
    line = power_left(site, case.start, case.latest_end + WEEKS + timedelta(seconds=longest))
    start_s = case.start.timestamp()
    never = [job for job in case.jobs if not _fits_alone(job, line, start_s)]
    if not never:
        return []
    many = f"{len(never)} jobs fit" if len(never) > 1 else "a job fits"
    most = power_text(max(job.power_w for job in never))
    return [
        InputProblem(field="--power-cap", message=f"{many} under it at no hour of the week, the largest with {most}")
    ]


def _fits_alone(job: Arrival, line: Timeline, start_s: float) -> bool:
    mw = whole_mw(job.power_w)
    begins, ends = line.blocked(mw)
    least_s = min(job.duration_s, SHORTEST_RUN.total_seconds()) if job.interruptible else job.duration_s
    edges = zip([start_s, *ends.tolist()], [*begins.tolist(), inf], strict=True)
    free = [(begin_s, end_s) for begin_s, end_s in edges if end_s - begin_s >= least_s]
    return not mw or bool(free and (free[0][1] < inf or not len(ends) or free[0][0] < ends[-1]))


def _grid_problems(case: Case) -> list[InputProblem]:
    measured = case.measured
    assert measured.start is not None, "a trace has slots"
    assert measured.end is not None, "a trace has slots"
    if not measured.start <= case.start < measured.end:
        span = f"{instant_text(measured.start)} to {instant_text(measured.end)}"
        return [
            InputProblem(
                field="--start",
                message=f"{instant_text(case.start)} is outside the intensities, which cover {span}",
            )
        ]
    if not case.jobs:
        return []
    if case.latest_end > measured.end:
        last = instant_text(case.latest_end)
        when = f"end at {instant_text(measured.end)}, before the last job could, which is at {last}"
        return [InputProblem(field="--intensity", message=f"they {when}; give later ones, or fewer jobs")]
    holes = [hole for hole in measured.holes() if hole[1] > case.start and hole[0] < case.latest_end]
    if holes:
        count = f", the first of {len(holes)}" if len(holes) > 1 else ""
        where = f"from {instant_text(holes[0][0])} to {instant_text(holes[0][1])}{count}"
        return [
            InputProblem(field="--intensity", message=f"there is a hole {where}; fill it in, or simulate other days")
        ]
    return []


def _peak(jobs: Sequence[Arrival]) -> int:
    moments = np.array([(job.submitted_s, job.latest_end_s) for job in jobs]).reshape(-1, 2)
    gpus = np.array([job.gpus for job in jobs])
    order = np.lexsort((np.repeat([1, 0], len(jobs)), np.concatenate([moments[:, 0], moments[:, 1]])))
    return int(np.cumsum(np.concatenate([gpus, -gpus])[order]).max(initial=1))
