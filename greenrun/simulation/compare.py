"""Runs each policy on one case and sets their figures side by side, with the bound that none can pass."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from greenrun.simulation.case import Case
from greenrun.simulation.figures import Figures, Schedule, figures
from greenrun.simulation.hindsight import lower_bound_g
from greenrun.simulation.play import play, sight_of
from greenrun.simulation.policies import dispatch, start_at_once
from greenrun.simulation.rules import GREENRUN, Policy

Told = Callable[[str, int], None]  # what is at work, and how many jobs it has done


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Figures and schedules by policy, in the order asked for; `at_once` is what all are compared with."""

    figures: Mapping[str, Figures]
    schedules: Mapping[str, Schedule]
    at_once: Figures
    bound_g: float | None

    def saving_ratio(self, policy: str) -> float | None:
        """Return which share of the emissions of starting at once a policy avoids; None when either is unknown."""
        own, other = self.figures[policy].emissions_g, self.at_once.emissions_g
        return None if own is None or not other else 1 - own / other

    def bound_saving_ratio(self) -> float | None:
        """Return the share that no policy which keeps every limit can exceed; None when it is unknown."""
        other = self.at_once.emissions_g
        return None if self.bound_g is None or not other else 1 - self.bound_g / other


def compare(case: Case, policies: Sequence[Policy], *, told: Told | None = None) -> Comparison:
    """Simulate the case under each policy."""
    jobs, at_once = case.jobs, [start_at_once(job) for job in case.jobs]
    base = Schedule.whole(dispatch(jobs, at_once, case.gpus), jobs)
    schedules = {policy.name: _schedule(case, policy, told) for policy in policies}
    if told is not None:
        told("bound", 0)
    return Comparison(
        figures={name: figures(schedule, jobs, case.measured) for name, schedule in schedules.items()},
        schedules=schedules,
        at_once=figures(base, jobs, case.measured),
        bound_g=lower_bound_g(jobs, case.gpus, case.measured),
    )


def _schedule(case: Case, policy: Policy, told: Told | None) -> Schedule:
    if policy.rule is None:
        return play(case, told=None if told is None else lambda done: told(GREENRUN, done))
    if told is not None:
        told(policy.name, 0)
    choose = policy.rule(sight_of(case))
    wanted_s = [choose(job) for job in case.jobs]
    return Schedule.whole(dispatch(case.jobs, wanted_s, case.gpus), case.jobs)
