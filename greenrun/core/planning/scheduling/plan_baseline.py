"""What a plan's jobs would emit at the earliest start on the same GPUs: the baseline by which reports will judge it."""

from collections.abc import Callable, Mapping, Sequence

from greenrun.core.energy.earliest_start import Stint, earliest_starts
from greenrun.core.planning.model import Situation
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import Place

Grams = Callable[[int, float | None, float], float | None]  # of a row, at a mean intensity, in so many seconds


def earliest_start_g(
    situation: Situation, problem: PlanningProblem, places: Mapping[int, Place], grams: Grams
) -> float | None:
    """Return what the rows would emit at that baseline from now on, in g; None unless it is known of each of them."""
    rows, stints = _stints(problem, places)
    starts_s = earliest_starts(stints, _free_s(situation, problem))
    means = problem.means_over([(at_s, at_s + stint.length_s) for at_s, stint in zip(starts_s, stints, strict=True)])
    told = [
        0.0 if not stint.length_s else grams(row, mean, stint.length_s)
        for row, mean, stint in zip(rows, means, stints, strict=True)
    ]
    return None if None in told else sum(each for each in told if each is not None)


def _stints(problem: PlanningProblem, places: Mapping[int, Place]) -> tuple[list[int], list[Stint]]:
    """Return the runs that the plan makes of each row, one after the other, and whose each is."""
    rows: list[int] = []
    stints: list[Stint] = []
    last: dict[int, int] = {}  # the last run of each row
    demands = problem.rows.demands
    for row, place in sorted(places.items(), key=lambda item: item[1].start_s):
        spec = problem.jobs[row].spec
        pieces = place.pieces or ((place.start_s, place.start_s + float(demands.length_s[row])),)
        waits_for = tuple(last[other] for other in problem.after.get(row, ()) if other in last)
        for number, (start_s, end_s) in enumerate(pieces):
            loads_s = spec.restart_cost.total_seconds() if number else 0.0
            stint = Stint(
                start_s=start_s,
                resumes_s=min(start_s + loads_s, end_s),
                end_s=end_s,
                ready_s=max(problem.now_s, float(demands.release_s[row])),
                gpus=spec.gpus,
                pool=place.pool if spec.gpus else None,
                after=(last[row],) if row in last else waits_for,
            )
            last[row] = len(stints)
            rows.append(row)
            stints.append(stint)
    return rows, stints


def _free_s(situation: Situation, problem: PlanningProblem) -> dict[int, Sequence[float]]:
    """Return by pool from when on each GPU is free; of jobs without GPUs the baseline lets any number run at once."""
    now = situation.now
    return {
        index: [max(situation.busy.get(device, now), now).timestamp() for device in pool.devices]
        for index, pool in enumerate(problem.pools)
        if pool.devices
    }
