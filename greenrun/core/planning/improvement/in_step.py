"""Rows of one length in step: each starts whole lengths after a common instant, so that no hole is too short for one.

Where many like rows each take the cheapest start that is left, holes shorter than a row stay between them, on all GPUs
in the same cheap hours, and moving one row at a time closes none.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.candidates import Ints
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import Place, cheapest_start
from greenrun.core.planning.scheduling.schedule import Schedule

FEWEST = 16  # rows of one length that are worth it
MOST_OFFSETS = 12  # instants to count from that are compared: cells that begin within the first length


def like_rows(problem: PlanningProblem) -> list[Sequence[int]]:
    """Return rows that take as long and as many GPUs of the same pools as many others, by kind."""
    demands, kinds = problem.rows.demands, dict[tuple[float, float, tuple[int, ...]], list[int]]()
    but = problem.running | problem.tied | problem.flexible.keys() | problem.start_thresholds.keys()
    for row in range(len(problem.jobs)):
        if row not in but:
            kind = float(demands.length_s[row]), float(demands.units[row]), demands.pools[row]
            kinds.setdefault(kind, []).append(row)
    return [rows for rows in kinds.values() if len(rows) >= FEWEST]


def put_in_step(made: Schedule, problem: PlanningProblem, order: Iterable[int], like: Sequence[Sequence[int]]) -> None:
    """Put rows in this order: like ones in step where that fits their limits, the others at their cheapest start."""
    starts_of: Mapping[int, Floats] = {
        row: starts_s for rows in like for starts_s in [_starts(made, problem, rows)] for row in rows
    }
    for row in order:
        place = _cheapest(made, problem, row, starts_of[row]) if row in starts_of else None
        if place:
            made.put(row, place)
        else:
            made.add(row)


def _starts(made: Schedule, problem: PlanningProblem, rows: Sequence[int]) -> Floats:
    """Return the instants in step at which these rows cost least, if each GPU takes its share of them."""
    demands, every = problem.rows.demands, np.array(rows, dtype=np.int64)
    length_s, last_s = float(demands.length_s[rows[0]]), float(demands.latest_s[every].max())
    first_s = float(demands.release_s[every].min())
    inside = problem.knots_s[(problem.knots_s > first_s) & (problem.knots_s < first_s + length_s - EPSILON_S)]
    options = [np.arange(at_s, last_s + EPSILON_S, length_s) for at_s in (first_s, *inside[:MOST_OFFSETS].tolist())]
    return min(options, key=lambda starts_s: _least(made, problem, every, starts_s))


def _least(made: Schedule, problem: PlanningProblem, rows: Ints, starts_s: Floats) -> float:
    pools = problem.rows.demands.pools[int(rows[0])]
    lanes = sum(problem.pools[pool].units for pool in pools) // int(problem.rows.demands.units[rows[0]])
    share = -(-len(rows) // max(1, lanes))
    costs = np.sort(made.value.priced(int(rows[0]), starts_s, pools[0]))[:share]
    return float(np.nan_to_num(costs, nan=np.inf).sum()) if len(costs) == share else np.inf


def _cheapest(made: Schedule, problem: PlanningProblem, row: int, starts_s: Floats) -> Place | None:
    """Return the cheapest of these starts that is free within a row's limits."""
    demands = problem.rows.demands
    length_s, units = float(demands.length_s[row]), int(demands.units[row])
    low_s, high_s = demands.release_s[row] - EPSILON_S, demands.latest_s[row] + EPSILON_S
    starts_s, found = starts_s[(starts_s >= low_s) & (starts_s <= high_s)], list[Place]()
    for pool in demands.pools[row]:
        free_s = starts_s[made.pools[pool].fits(starts_s, length_s, units, demands.of_power(row, pool))]
        start_s = cheapest_start(free_s, made.value.priced(row, free_s, pool)) if len(free_s) else None
        found += [] if start_s is None else [made.value.place_at(row, start_s, pool)]
    return min(found, key=lambda place: (place.cost, place.start_s), default=None)
