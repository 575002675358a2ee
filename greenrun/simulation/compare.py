"""Runs each policy on one case and sets side by side what it comes to, with the bound that none can pass."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from greenrun.core.carbon.intensity import Series
from greenrun.core.formatting import count_text, iso_text
from greenrun.core.planning.capacity import power_left
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.power_cap.site_power import MOST_AHEAD, whole_mw
from greenrun.core.units import emissions_g
from greenrun.simulation.case import WEEKS, Case
from greenrun.simulation.hindsight import HindsightBound, hindsight_bound
from greenrun.simulation.play import forecast_view, play
from greenrun.simulation.policies import GREENRUN, Arrival, Policy, dispatch, start_at_once
from greenrun.simulation.schedule import Piece, Schedule, is_late, merged, peak_gpus, peak_w
from greenrun.simulation.schedule_baseline import earliest_start_g

HOUR_S = 3600.0
Told = Callable[[str, int], None]  # what is at work, and how many jobs it has done


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A schedule in numbers. `emissions_g` is None when a job ran at a time for which there is no intensity.

    `earliest_start_g` is what the same runs would have emitted at the earliest start on the same GPUs, the baseline of
    reports. `mean_delay_s` is how much later jobs ended than if they had started at once. `undone` counts the jobs that
    did not run to their end: all else is of the others, whatever these did run before they were suspended.
    """

    emissions_g: float | None
    earliest_start_g: float | None
    late: int
    mean_delay_s: float
    checkpoints: int
    peak_gpus: int
    peak_w: float
    undone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFigures:
    """What a schedule comes to for one user; `gpu_hours` is how long GPUs ran their jobs, all as of `Figures`."""

    jobs: int
    gpu_hours: float
    late: int
    mean_delay_s: float
    undone: int = 0


def by_user(schedule: Schedule, jobs: Sequence[Arrival]) -> dict[str, UserFigures]:
    """Return the figures of each user, by name; nothing where no job names one."""
    rows: dict[str, list[int]] = {}
    for row, job in enumerate(jobs):
        rows.setdefault(job.user, []).append(row)
    return {user: _of_user(schedule, jobs, own) for user, own in sorted(rows.items())} if rows.keys() - {""} else {}


def _of_user(schedule: Schedule, jobs: Sequence[Arrival], rows: Sequence[int]) -> UserFigures:
    done = [(schedule.pieces[row], jobs[row]) for row in rows if row not in schedule.undone]
    seconds = ((end_s - start_s) * job.gpus for pieces, job in done for start_s, end_s in pieces)
    return UserFigures(
        jobs=len(rows),
        gpu_hours=sum(seconds) / HOUR_S,
        late=sum(is_late(pieces, job) for pieces, job in done),
        mean_delay_s=sum(_delay_s(pieces, job) for pieces, job in done) / len(done) if done else 0.0,
        undone=len(rows) - len(done),
    )


def figures(
    schedule: Schedule,
    jobs: Sequence[Arrival],
    measured: Series,
    gpus: int | None = None,
    restart_cost: timedelta = timedelta(0),
) -> Figures:
    """Judge a schedule of these jobs on so many GPUs (None: no limit) by the grid as it was."""
    rows = zip(schedule.pieces, jobs, strict=True)
    done = [each for row, each in enumerate(rows) if row not in schedule.undone]
    delays_s = [_delay_s(pieces, job) for pieces, job in done]
    ran = schedule.of_done()
    return Figures(
        emissions_g=_emissions_g(ran, jobs, measured, range(len(jobs))),
        earliest_start_g=earliest_start_g(ran, jobs, measured, gpus, restart_cost),
        late=sum(is_late(pieces, job) for pieces, job in done),
        mean_delay_s=sum(delays_s) / len(delays_s) if delays_s else 0.0,
        checkpoints=sum(len(merged(pieces)) - 1 for pieces in ran.pieces if pieces),
        peak_gpus=peak_gpus(ran, jobs),
        peak_w=peak_w(ran, jobs),
        undone=len(schedule.undone),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Figures and schedules by policy, in the order asked for; `at_once` is what all are compared with.

    `same_at_once_g` is what starting at once emits for the jobs alone that a policy ran to their end, where it did not
    do so with all of them.
    """

    figures: Mapping[str, Figures]
    schedules: Mapping[str, Schedule]
    at_once: Figures
    bound: HindsightBound
    same_at_once_g: Mapping[str, float | None] = field(default_factory=dict)

    def saving_ratio(self, policy: str) -> float | None:
        """Return which share of the emissions of starting at once a policy avoids; None when either is unknown."""
        own = self.figures[policy].emissions_g
        other = self.same_at_once_g.get(policy, self.at_once.emissions_g)
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
    base = Schedule.whole(dispatch(jobs, at_once, case.gpus, _power(case), _unreserved(case)), jobs)
    schedules = {policy.name: _schedule(case, policy, told) for policy in policies}
    judged = partial(figures, jobs=jobs, measured=case.measured, gpus=case.gpus, restart_cost=case.restart_cost)
    told_of = {name: judged(schedule) for name, schedule in schedules.items()}
    at_once_figures = judged(base)
    return Comparison(
        figures=told_of,
        schedules=schedules,
        at_once=at_once_figures,
        bound=_bound(case, schedules, (at_once_figures, *told_of.values()), told),
        same_at_once_g={
            name: _emissions_g(base, jobs, case.measured, set(range(len(jobs))) - own.undone.keys())
            for name, own in schedules.items()
            if own.undone
        },
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
        "undone": own.undone,
        "undone_reasons": _undone(found.schedules[name]),
        "users": {user: asdict(row) for user, row in by_user(found.schedules[name], case.jobs).items()},
    }


def _undone(schedule: Schedule) -> list[dict[str, Any]]:
    return [{"job": row, "why": why} for row, why in sorted(schedule.undone.items())]


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
    return Schedule.whole(dispatch(case.jobs, wanted_s, case.gpus, _power(case), _unreserved(case)), case.jobs)


def _bound(
    case: Case, schedules: Mapping[str, Schedule], known: Sequence[Figures], told: Told | None
) -> HindsightBound:
    """Return what none of these can undercut: all jobs at full power, so that a schedule of less has no such bound."""
    if why := " and ".join(_less_than_all(case.jobs, schedules)):
        return HindsightBound(grams=None, why_none=f"it is for all jobs at full power, and {why}")
    if told is not None:
        told("bound", 0)
    is_feasible = not all(each.late for each in known)
    return hindsight_bound(case.jobs, case.gpus, case.measured, feasible=is_feasible)


def _less_than_all(jobs: Sequence[Arrival], schedules: Mapping[str, Schedule]) -> Iterator[str]:
    """Yield in which ways schedules came to less than all jobs at full power."""
    for name, own in schedules.items():
        if own.undone:
            yield f"{name} left {count_text(len(own.undone), 'job')} undone"
        if lowered := sum(_is_lowered(powers_w, jobs[row]) for row, powers_w in own.powers_w.items()):
            yield f"under {name} power limits lowered what {count_text(lowered, 'job')} drew"


def _is_lowered(powers_w: Sequence[float], job: Arrival) -> bool:
    return any(whole_mw(power_w) < whole_mw(job.power_w) for power_w in powers_w)


def _power(case: Case) -> Timeline | None:
    """Return what jobs may draw together; None without a cap."""
    site, jobs = case.site_power, case.jobs
    if site is None:
        return None
    most_s = sum(job.duration_s for job in jobs)  # one after another, each may wait for its hour of the week
    until = case.latest_end + min(MOST_AHEAD, timedelta(seconds=2 * most_s) + WEEKS)
    return power_left(site, case.start, until, whole_mw(site.host_w))


def _unreserved(case: Case) -> Timeline | None:
    """Return the GPUs with what is reserved of them taken; None where nothing is."""
    if not case.site.reserved or case.gpus is None:
        return None
    most_s = sum(job.duration_s for job in case.jobs)
    return case.site.unreserved(case.gpus, case.start, case.latest_end + timedelta(seconds=most_s) + WEEKS)


def _emissions_g(schedule: Schedule, jobs: Sequence[Arrival], measured: Series, rows: Collection[int]) -> float | None:
    """Return what the jobs in these rows emitted; None when one ran at a time for which there is no intensity."""
    drawn = (each for row, each in enumerate(schedule.drawn(jobs)) if row in rows)
    grams = [_grams(piece, power_w, measured) for each in drawn for piece, power_w in each]
    return None if None in grams else sum(gram for gram in grams if gram is not None)


def _grams(piece: Piece, power_w: float, measured: Series) -> float | None:
    start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in piece)
    mean = measured.mean(start, end)
    return None if mean is None else emissions_g(power_w * (piece[1] - piece[0]), mean)
