"""Runs each policy on one case and sets side by side what it comes to, with the bound that none can pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from greenrun.core.carbon.intensity import Series
from greenrun.core.formatting import iso_text
from greenrun.core.planning.capacity import power_left
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.power_cap.site_power import MOST_AHEAD, whole_mw
from greenrun.core.units import emissions_g
from greenrun.simulation.case import WEEKS, Case
from greenrun.simulation.hindsight import HindsightBound, hindsight_bound
from greenrun.simulation.play import forecast_view, play
from greenrun.simulation.policies import GREENRUN, Arrival, Policy, dispatch, start_at_once
from greenrun.simulation.schedule import Piece, Schedule, is_late, peak_gpus, peak_w
from greenrun.simulation.schedule_baseline import earliest_start_g

HOUR_S = 3600.0
Told = Callable[[str, int], None]  # what is at work, and how many jobs it has done


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A schedule in numbers. `emissions_g` is None when a job ran at a time for which there is no intensity.

    `earliest_start_g` is what the same runs would have emitted at the earliest start on the same GPUs, the baseline of
    reports. `mean_delay_s` is how much later jobs ended than if they had started at once.
    """

    emissions_g: float | None
    earliest_start_g: float | None
    late: int
    mean_delay_s: float
    checkpoints: int
    peak_gpus: int
    peak_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFigures:
    """What a schedule comes to for one user; `gpu_hours` is how long GPUs ran their jobs."""

    jobs: int
    gpu_hours: float
    late: int
    mean_delay_s: float


def by_user(schedule: Schedule, jobs: Sequence[Arrival]) -> dict[str, UserFigures]:
    """Return the figures of each user, by name; nothing where no job names one."""
    rows: dict[str, list[tuple[tuple[Piece, ...], Arrival]]] = {}
    for pieces, job in zip(schedule.pieces, jobs, strict=True):
        rows.setdefault(job.user, []).append((pieces, job))
    if not rows.keys() - {""}:
        return {}
    return {
        user: UserFigures(
            jobs=len(own),
            gpu_hours=sum((end_s - start_s) * job.gpus for pieces, job in own for start_s, end_s in pieces) / HOUR_S,
            late=sum(is_late(pieces, job) for pieces, job in own),
            mean_delay_s=sum(map(_delay_s, *zip(*own, strict=True))) / len(own),
        )
        for user, own in sorted(rows.items())
    }


def figures(
    schedule: Schedule,
    jobs: Sequence[Arrival],
    measured: Series,
    gpus: int | None = None,
    restart_cost: timedelta = timedelta(0),
) -> Figures:
    """Judge a schedule of these jobs on so many GPUs (None: no limit) by the grid as it was."""
    rows = list(zip(schedule.pieces, jobs, strict=True))
    grams = [_grams(piece, job, measured) for pieces, job in rows for piece in pieces]
    delays_s = [_delay_s(pieces, job) for pieces, job in rows]
    return Figures(
        emissions_g=None if None in grams else sum(gram for gram in grams if gram is not None),
        earliest_start_g=earliest_start_g(schedule, jobs, measured, gpus, restart_cost),
        late=sum(is_late(pieces, job) for pieces, job in rows),
        mean_delay_s=sum(delays_s) / len(delays_s) if delays_s else 0.0,
        checkpoints=sum(len(pieces) - 1 for pieces, _ in rows),
        peak_gpus=peak_gpus(schedule, jobs),
        peak_w=peak_w(schedule, jobs),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Figures and schedules by policy, in the order asked for; `at_once` is what all are compared with."""

    figures: Mapping[str, Figures]
    schedules: Mapping[str, Schedule]
    at_once: Figures
    bound: HindsightBound

    def saving_ratio(self, policy: str) -> float | None:
        """Return which share of the emissions of starting at once a policy avoids; None when either is unknown."""
        own, other = self.figures[policy].emissions_g, self.at_once.emissions_g
        return None if own is None or not other else 1 - own / other

    def earliest_start_saving_ratio(self, policy: str) -> float | None:
        """Return which share a policy avoids of what its runs would have emitted at the baseline of reports."""
        own, other = self.figures[policy].emissions_g, self.figures[policy].earliest_start_g
        return None if own is None or not other else 1 - own / other

    def bound_saving_ratio(self) -> float | None:
        """Return the share that no policy which keeps every limit can exceed; None when it is unknown."""
        other = self.at_once.emissions_g
        return None if self.bound.grams is None or not other else 1 - self.bound.grams / other


def compare(case: Case, policies: Sequence[Policy], *, told: Told | None = None) -> Comparison:
    """Simulate the case under each policy."""
    jobs, at_once = case.jobs, [start_at_once(job) for job in case.jobs]
    base = Schedule.whole(dispatch(jobs, at_once, case.gpus, _power(case)), jobs)
    schedules = {policy.name: _schedule(case, policy, told) for policy in policies}
    if told is not None:
        told("bound", 0)
    judged = partial(figures, jobs=jobs, measured=case.measured, gpus=case.gpus, restart_cost=case.restart_cost)
    told_of = {name: judged(schedule) for name, schedule in schedules.items()}
    at_once_figures = judged(base)
    is_feasible = not all(each.late for each in (at_once_figures, *told_of.values()))
    return Comparison(
        figures=told_of,
        schedules=schedules,
        at_once=at_once_figures,
        bound=hindsight_bound(jobs, case.gpus, case.measured, feasible=is_feasible),
    )


def document(case: Case, found: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON's types; `gpus` is "inf" when there is no limit, an unknown number is None."""
    return {
        "jobs": len(case.jobs),
        "gpus": "inf" if case.gpus is None else case.gpus,
        "start": iso_text(case.start),
        "policies": {name: _policy(name, case, found) for name in found.figures},
        "start_at_once_g": found.at_once.emissions_g,
        "bound_g": found.bound.grams,
        "bound_saving_ratio": found.bound_saving_ratio(),
        "bound_missing_reason": found.bound.why_none or None,
    }


def _policy(name: str, case: Case, found: Comparison) -> Mapping[str, Any]:
    own = found.figures[name]
    return {
        "emissions_g": own.emissions_g,
        "saving_ratio": found.saving_ratio(name),
        "earliest_start_g": own.earliest_start_g,
        "earliest_start_saving_ratio": found.earliest_start_saving_ratio(name),
        "late": own.late,
        "mean_delay_s": own.mean_delay_s,
        "checkpoints": own.checkpoints,
        "peak_gpus": own.peak_gpus,
        "peak_w": own.peak_w,
        "users": {user: asdict(row) for user, row in by_user(found.schedules[name], case.jobs).items()},
    }


def _delay_s(pieces: Sequence[Piece], job: Arrival) -> float:
    """How much later a job ended than if it had started at once."""
    return pieces[-1][1] - job.duration_s - job.submitted_s


def _schedule(case: Case, policy: Policy, told: Told | None) -> Schedule:
    if policy.rule is None:
        return play(case, told=None if told is None else lambda done: told(GREENRUN, done))
    if told is not None:
        told(policy.name, 0)
    choose = policy.rule(forecast_view(case))
    wanted_s = [choose(job) for job in case.jobs]
    return Schedule.whole(dispatch(case.jobs, wanted_s, case.gpus, _power(case)), case.jobs)


def _power(case: Case) -> Timeline | None:
    """Return what jobs may draw together; None without a cap."""
    site, jobs = case.site_power, case.jobs
    if site is None:
        return None
    most_s = sum(job.duration_s for job in jobs)  # one after another, each may wait for its hour of the week
    until = case.latest_end + min(MOST_AHEAD, timedelta(seconds=2 * most_s) + WEEKS)
    return power_left(site, case.start, until, whole_mw(site.host_w))


def _grams(piece: Piece, job: Arrival, measured: Series) -> float | None:
    start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in piece)
    mean = measured.mean(start, end)
    return None if mean is None else emissions_g(job.power_w * (piece[1] - piece[0]), mean)
