"""The best plan there is for a few jobs, by trying every start on a grid of minutes, without the planner's code."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Small:
    """A job in steps of the grid from now on: it may start in `[earliest, latest]`, and draws `watts`."""

    length: int
    gpus: int
    earliest: int
    latest: int
    watts: float


def best_g(
    jobs: Sequence[Small],
    intensities: Sequence[float],
    gpus: int,
    step_minutes: int,
    caps_w: Sequence[float] | None = None,
) -> float | None:
    """Return the least emissions of any plan that meets all limits, in g; None when there is none.

    `intensities` are means over each step, in g/kWh; nothing may run beyond the last. `caps_w` is what all jobs may
    draw together in each step, if that is capped.
    """
    sums = [0.0]
    for value in intensities:
        sums.append(sums[-1] + value * step_minutes / 60 / 1000)
    order = sorted(jobs, key=lambda job: -job.length * job.gpus)
    costs = [
        {start: (sums[start + job.length] - sums[start]) * job.watts for start in _starts(job, len(intensities))}
        for job in order
    ]
    if not all(costs):
        return None
    ahead = [0.0]
    for cost in reversed(costs):
        ahead.insert(0, ahead[0] + min(cost.values()))
    free = [(gpus, cap_w) for cap_w in caps_w or [float("inf")] * len(intensities)]
    return _search(order, costs, ahead, free, 0, 0.0, None)


def _starts(job: Small, steps: int) -> range:
    return range(job.earliest, min(job.latest, steps - job.length) + 1)


def _search(
    order: list[Small], costs: list[dict[int, float]], ahead: list[float], free: list[tuple[int, float]],
    nth: int, spent: float, best: float | None,
) -> float | None:  # fmt: skip
    """Try the starts of one job after another, the cheapest first, and leave off what cannot beat the best so far."""
    if nth == len(order):
        return spent
    job = order[nth]
    for start, cost in sorted(costs[nth].items(), key=lambda item: item[1]):
        if best is not None and spent + cost + ahead[nth + 1] >= best - 1e-9:
            break
        span = range(start, start + job.length)
        if any(free[at][0] < job.gpus or free[at][1] < job.watts for at in span):
            continue
        for at in span:
            free[at] = free[at][0] - job.gpus, free[at][1] - job.watts
        found = _search(order, costs, ahead, free, nth + 1, spent + cost, best)
        best = found if best is None else best if found is None else min(best, found)
        for at in span:
            free[at] = free[at][0] + job.gpus, free[at][1] + job.watts
    return best
