"""Put what the search found into a plan: instants, sums, and for each placement the ground on which it was chosen."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from greenrun.core.jobs.dependencies import blocked
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.capacity import EPSILON_S
from greenrun.core.planning.costing import SAME, Place, cheapest_suspended
from greenrun.core.planning.explain import expected_g, placement_reason, with_promise
from greenrun.core.planning.model import Placement, Plan, Situation, Waiting
from greenrun.core.planning.problem import Problem, named_prices
from greenrun.core.planning.search import Found
from greenrun.core.planning.stability import promise
from greenrun.core.units import J_PER_KWH

_CLEAN = (ReasonCode.CLEANEST_WINDOW, ReasonCode.NOW_IS_CLEANEST, ReasonCode.SHARED_WINDOW)
_WAITED = frozenset(
    {ReasonCode.CLEANEST_WINDOW, ReasonCode.SHARED_WINDOW, ReasonCode.GPUS_BUSY, ReasonCode.GPUS_HELD_ELSEWHERE}
    | {ReasonCode.WAITS_FOR, ReasonCode.GOES_ON}
)


def told(
    situation: Situation, problem: Problem, found: Found, due: Mapping[int, datetime], waiting: Sequence[Waiting]
) -> Plan:
    """Return the plan; its sums are None unless every part is known, its bound also when a limit is missed.

    No plan within all limits emits less than the bound; greenrun's own default delay is one of them here.
    """
    least_g = _least(problem)
    rows = [
        _told(situation, problem, row, place, (due.get(row), least_g.get(row))) for row, place in found.places.items()
    ]
    known, pue = all(row.expected_g is not None for row in rows), situation.options.pue
    is_late = any(row.late for row in rows) or any(_is_late(problem, row, place) for row, place in found.places.items())
    at_once_g = found.soonest_g if known else None
    return Plan(
        made_at=situation.now,
        horizon_end=situation.forecast.end if situation.forecast else None,
        placements=tuple(sorted(rows, key=lambda row: (row.start, row.job_id))),
        waiting=tuple(waiting),
        expected_g=sum(row.expected_g or 0.0 for row in rows) if known else None,
        start_at_once_g=None if at_once_g is None else at_once_g * pue,
        bound_g=max(0.0, found.bound_g) * pue if known and not is_late else None,
        prices=named_prices(found.prices, problem),
    )


def _is_late(problem: Problem, row: int, place: Place) -> bool:
    """Whether a place is later than it should be by the limits that the bound rests on, which are none of a pin's."""
    if problem.unpinned is None:
        return place.late
    limits = problem.unpinned.rows.demands
    return bool(_end_s(problem, row, place) > limits.latest_s[row] + limits.length_s[row] + EPSILON_S)


def _least(problem: Problem) -> dict[int, float]:
    """Return the least that each row can emit within its limits, whatever the others do, in g; without unknown ones."""
    rows = problem.rows
    filled = np.flatnonzero(np.diff(rows.first))
    least = np.minimum.reduceat(rows.grams, rows.first[filled]) if len(filled) else np.zeros(0)
    unpriced = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    suspended = {row: cost for row, (cost, _, _) in cheapest_suspended(problem, unpriced).items()}
    return dict(zip(filled.tolist(), least.tolist(), strict=True)) | suspended


def _told(
    situation: Situation, problem: Problem, row: int, place: Place, grounds: tuple[datetime | None, float | None]
) -> Placement:
    """Return one placement; `grounds` are since when it is due, and the least it could emit."""
    job, now, (due, least_g) = problem.jobs[row], situation.now, grounds
    start = _instant(place.start_s, situation)
    pieces = tuple((_instant(begin, situation), _instant(end, situation)) for begin, end in place.pieces)
    length_s = float(problem.rows.demands.length_s[row])
    end = pieces[-1][1] if pieces else datetime.fromtimestamp(start.timestamp() + length_s, UTC)
    ran_s = sum((end - begin).total_seconds() for begin, end in pieces) or length_s
    g_per_mean = ran_s * float(problem.rows.demands.watts[row]) / J_PER_KWH
    window = problem.mean_over(pieces or ((start, end),))
    at_once = problem.mean_over(((now, now + (end - start if not pieces else job.remaining)),))
    least = None if least_g is None else least_g / g_per_mean
    code = _ground(situation, problem, row, place, (due, least_g))
    if window is None and code in _CLEAN:
        code = ReasonCode.FORECAST_TOO_SHORT  # a place of which nothing is known is the soonest, not a clean one
    waits_for = None if row in problem.running else blocked(job, situation.states, start)
    promised, put_offs = (None, 0) if row in problem.running else promise(job, situation, (start, end))
    reason = waits_for or placement_reason(job, situation, code, start, (window, at_once, least))
    return Placement(
        job_id=job.id,
        start=start,
        end=end,
        gpus=job.spec.gpus,
        pool=problem.pools[place.pool].name,
        reason=with_promise(reason, job, end, promised, put_offs),
        intensity_g_per_kwh=window,
        start_now_g_per_kwh=at_once,
        expected_g=expected_g(job, window, ran_s, situation.options),
        start_now_g=expected_g(job, at_once, length_s, situation.options),
        late=job.misses_limit(start, end),
        due=due if start > now else None,
        pieces=pieces if len(pieces) > 1 else (),
        promised=promised,
        put_offs=put_offs,
    )


def _instant(at_s: float, situation: Situation) -> datetime:
    """Return an instant, which is now where it differs by less than the clock resolves."""
    return situation.now if at_s <= situation.now.timestamp() + EPSILON_S else datetime.fromtimestamp(at_s, UTC)


def _ground(
    situation: Situation, problem: Problem, row: int, place: Place, grounds: tuple[datetime | None, float | None]
) -> ReasonCode:
    """Name why the row has this place."""
    job, demands, (due, least_g) = problem.jobs[row], problem.rows.demands, grounds
    if row in problem.running:
        return ReasonCode.GOES_ON if place.start_s <= problem.now_s + EPSILON_S else ReasonCode.SHARED_WINDOW
    if due:
        return _due_ground(job, situation)
    if job.spec.start_now:
        return ReasonCode.ASKED_NOW
    if problem.overdue[row] or (place.late and not problem.yields(row, _end_s(problem, row, place))):
        return ReasonCode.DEADLINE if job.has_limit else ReasonCode.NO_LIMIT_LEFT
    if not len(problem.intensity):
        return ReasonCode.NO_FORECAST
    limits = (problem.unpinned or problem).rows.demands  # a job held to the start it was told is in no haste
    if place.late or (row in problem.yielding and limits.latest_s[row] <= limits.release_s[row]):
        return ReasonCode.SOONEST
    if least_g is None:
        return ReasonCode.FORECAST_TOO_SHORT
    if place.why:
        return place.why
    soon = place.start_s <= demands.release_s[row] + EPSILON_S and len(place.pieces) < 2
    if place.grams > least_g * SAME:
        return ReasonCode.SHARED_WINDOW
    return ReasonCode.NOW_IS_CLEANEST if soon else ReasonCode.CLEANEST_WINDOW


def _end_s(problem: Problem, row: int, place: Place) -> float:
    return place.pieces[-1][1] if place.pieces else place.start_s + float(problem.rows.demands.length_s[row])


def _due_ground(job: Job, situation: Situation) -> ReasonCode:
    """Keep the ground on which it was to start at once; a window it waited for has come."""
    last = situation.last.reason(job.id) if situation.last else None
    if last and last.code is ReasonCode.WAITS_FOR and job.spec.start_now:
        return ReasonCode.ASKED_NOW
    return ReasonCode.DUE if last is None or last.code in _WAITED else last.code
