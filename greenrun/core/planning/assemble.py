"""Assemble the plan from what the search found: instants, sums, and for each placement the reason in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from greenrun.core.formatting import (
    compared_text,
    count_text,
    duration_text,
    instant_text,
    intensity_text,
    percent_text,
)
from greenrun.core.jobs.dependencies import blocked
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import SENTENCES, Reason, ReasonCode, because
from greenrun.core.planning.capacity import EPSILON_S
from greenrun.core.planning.costing import SAME, Place, cheapest_suspended
from greenrun.core.planning.model import MOVED, Interval, Options, Placement, Plan, Situation, Waiting
from greenrun.core.planning.precedence.shortage import Shortage
from greenrun.core.planning.problem import PlanningProblem, named_prices
from greenrun.core.planning.search import SearchResult
from greenrun.core.planning.stability import MOST_PUT_OFFS, promise
from greenrun.core.units import J_PER_KWH, emissions_g, energy_j

MOST_NAMED = 3  # jobs named in a sentence
_CLEAN = (ReasonCode.CLEANEST_WINDOW, ReasonCode.NOW_IS_CLEANEST, ReasonCode.SHARED_WINDOW)
_WAITED = frozenset(
    {ReasonCode.CLEANEST_WINDOW, ReasonCode.SHARED_WINDOW, ReasonCode.GPUS_BUSY, ReasonCode.GPUS_HELD_ELSEWHERE}
    | {ReasonCode.WAITS_FOR, ReasonCode.GOES_ON}
)


class Held(NamedTuple):
    """The jobs, by id, at whose end a row gets its GPUs, and when it would have started if there were enough."""

    by: tuple[int, ...]
    wanted: datetime | None


def assemble_plan(
    situation: Situation,
    problem: PlanningProblem,
    found: SearchResult,
    due: Mapping[int, datetime],
    waiting: Sequence[Waiting],
) -> Plan:
    """Return the plan; its sums are None unless every part is known, its bound also when a limit is missed.

    No plan within all limits emits less than the bound; greenrun's own default delay is one of them here.
    """
    least_g, shortage = _least(problem), Shortage(problem, found.places, situation)
    rows = [
        _placement(situation, problem, row, place, shortage, due=due.get(row), least_g=least_g.get(row))
        for row, place in found.places.items()
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


def _is_late(problem: PlanningProblem, row: int, place: Place) -> bool:
    """Whether a place is later than it should be by the limits that the bound rests on, which are none of a pin's."""
    if problem.unpinned is None:
        return place.late
    limits = problem.unpinned.rows.demands
    return bool(_end_s(problem, row, place) > limits.latest_s[row] + limits.length_s[row] + EPSILON_S)


def _least(problem: PlanningProblem) -> dict[int, float]:
    """Return the least that each row can emit within its limits, whatever the others do, in g; without unknown ones."""
    rows = problem.rows
    filled = np.flatnonzero(np.diff(rows.first))
    least = np.minimum.reduceat(rows.grams, rows.first[filled]) if len(filled) else np.zeros(0)
    unpriced = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    suspended = {row: response.cost for row, response in cheapest_suspended(problem, unpriced).items()}
    return dict(zip(filled.tolist(), least.tolist(), strict=True)) | suspended


def _placement(
    situation: Situation,
    problem: PlanningProblem,
    row: int,
    place: Place,
    shortage: Shortage,
    *,
    due: datetime | None,
    least_g: float | None,
) -> Placement:
    """Return one placement; `due` is the planned instant that has come, `least_g` the least that the row can emit."""
    job, now = problem.jobs[row], situation.now
    start = _instant(place.start_s, situation)
    pieces = tuple((_instant(begin, situation), _instant(end, situation)) for begin, end in place.pieces)
    length_s = float(problem.rows.demands.length_s[row])
    end = pieces[-1][1] if pieces else datetime.fromtimestamp(start.timestamp() + length_s, UTC)
    ran_s = sum((end - begin).total_seconds() for begin, end in pieces) or length_s
    g_per_mean = ran_s * float(problem.rows.demands.watts[row]) / J_PER_KWH
    window = problem.mean_over(pieces or ((start, end),))
    at_once = problem.mean_over(((now, now + (end - start if not pieces else job.remaining)),))
    waited_g = least_g if place.waiting_g is None else place.waiting_g
    least = None if waited_g is None else waited_g / g_per_mean
    code = _reason_code(situation, problem, row, place, shortage, due=due, least_g=least_g)
    if window is None and code in _CLEAN:
        code = ReasonCode.FORECAST_TOO_SHORT  # a place of which nothing is known is the soonest, not a clean one
    waits_for = None if row in problem.running else blocked(job, situation.states, start)
    promised, put_offs = (None, 0) if row in problem.running else promise(job, situation, (start, end))
    reason = waits_for or placement_reason(
        job, situation, code, start, window=window, at_once=at_once, least=least, held=_held(shortage, row, code)
    )
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


def _reason_code(
    situation: Situation,
    problem: PlanningProblem,
    row: int,
    place: Place,
    shortage: Shortage,
    *,
    due: datetime | None,
    least_g: float | None,
) -> ReasonCode:
    """Name why the row has this place."""
    job = problem.jobs[row]
    if row in problem.running:
        return _running_code(problem, place, least_g)
    if due:
        return _due_code(job, situation)
    if job.spec.start_now:
        return ReasonCode.ASKED_NOW
    if problem.overdue[row] or (place.late and not problem.meets_own_limit(row, _end_s(problem, row, place))):
        return ReasonCode.DEADLINE if job.has_limit else ReasonCode.NO_LIMIT_LEFT
    if not len(problem.intensity):
        return ReasonCode.NO_FORECAST
    limits = (problem.unpinned or problem).rows.demands  # a job held to the start it was told is in no haste
    if place.late or (row in problem.soft_deadlines and limits.latest_s[row] <= limits.release_s[row]):
        return ReasonCode.SOONEST
    if least_g is None:
        return ReasonCode.FORECAST_TOO_SHORT
    return place.why or _window_code(problem, row, place, shortage, least_g)


def _window_code(problem: PlanningProblem, row: int, place: Place, shortage: Shortage, least_g: float) -> ReasonCode:
    """Name why a row that chooses among hours has this one: want of GPUs, other jobs, or nothing but grams."""
    demands = problem.rows.demands
    soon = place.start_s <= demands.release_s[row] + EPSILON_S and len(place.pieces) < 2
    if not soon and shortage.wanted_s(row) is not None:
        return ReasonCode.GPUS_BUSY
    if place.grams > least_g * SAME and shortage.leaves_cleaner(row):
        return ReasonCode.SHARED_WINDOW
    return ReasonCode.NOW_IS_CLEANEST if soon else ReasonCode.CLEANEST_WINDOW


def _end_s(problem: PlanningProblem, row: int, place: Place) -> float:
    return place.pieces[-1][1] if place.pieces else place.start_s + float(problem.rows.demands.length_s[row])


def _running_code(problem: PlanningProblem, place: Place, least_g: float | None) -> ReasonCode:
    """Name why a job that runs goes on, or is suspended until a later place."""
    if place.start_s <= problem.now_s + EPSILON_S:
        return ReasonCode.GOES_ON
    is_cleanest = least_g is not None and place.grams <= least_g * SAME
    return ReasonCode.CLEANEST_WINDOW if is_cleanest else ReasonCode.SHARED_WINDOW


def _due_code(job: Job, situation: Situation) -> ReasonCode:
    """Keep the ground on which it was to start at once; a window it waited for has come."""
    last = situation.last.reason(job.id) if situation.last else None
    if last and last.code is ReasonCode.WAITS_FOR and job.spec.start_now:
        return ReasonCode.ASKED_NOW
    return ReasonCode.DUE if last is None or last.code in _WAITED else last.code


_STARTS_WHEN_FREE = frozenset(
    {ReasonCode.ASKED_NOW, ReasonCode.DEADLINE, ReasonCode.NO_FORECAST, ReasonCode.FORECAST_TOO_SHORT}
    | {ReasonCode.DUE, ReasonCode.SOONEST, ReasonCode.NO_LIMIT_LEFT, ReasonCode.CLEAN_ENOUGH}
    | {ReasonCode.NOT_WORTH_WAITING}
)


def placement_reason(
    job: Job,
    situation: Situation,
    code: ReasonCode,
    start: datetime,
    *,
    window: float | None,
    at_once: float | None,
    least: float | None,
    held: Held | None = None,
) -> Reason:
    """Return why `job` is placed at `start`; `held` tells of the GPUs that it waits for.

    `window`, `at_once` and `least` are mean intensities in g/kWh: over its window, over one that begins now, and over
    the cleanest one it could have, or would get if it waited; None where unknown.
    """
    if code is ReasonCode.GPUS_BUSY:
        wanted = situation.now if held is None or held.wanted is None else held.wanted
        why = f"with more of them it would start {'now' if wanted <= situation.now else f'at {instant_text(wanted)}'}"
    elif code not in _STARTS_WHEN_FREE or start <= max(situation.now, job.earliest_start):
        return because(code, **_details(job, situation.options, code, window=window, at_once=at_once, least=least))
    else:
        details = _details(job, situation.options, code, window=window, at_once=at_once, least=least)
        why = because(code, **details).text
    if job.spec.gpus > len(situation.devices) - len(situation.elsewhere) and situation.elsewhere:
        return because(ReasonCode.GPUS_HELD_ELSEWHERE, who=_holders(situation))
    holders = _when_they_end(held.by if held else ())
    return because(ReasonCode.GPUS_BUSY, what=_wanted(job), at=instant_text(start), holders=holders, why=why)


def _when_they_end(ids: Sequence[int]) -> str:
    """Say which jobs end then: ` when job 3 ends`; nothing where that is not known."""
    if not ids:
        return ""
    named = [str(job_id) for job_id in ids[:MOST_NAMED]]
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return f" when job {named[0]} ends" if len(ids) == 1 else f" when jobs {', '.join(named)}{more} end"


def _held(shortage: Shortage, row: int, code: ReasonCode) -> Held | None:
    """Return who holds the GPUs of a row that waits for them, where its code may be about that."""
    if code is not ReasonCode.GPUS_BUSY and code not in _STARTS_WHEN_FREE:
        return None
    wanted_s = shortage.wanted_s(row) if code is ReasonCode.GPUS_BUSY else None
    wanted = None if wanted_s is None else datetime.fromtimestamp(wanted_s, UTC)
    return Held(by=tuple(shortage.holders(row)), wanted=wanted)


def _details(
    job: Job, options: Options, code: ReasonCode, *, window: float | None, at_once: float | None, least: float | None
) -> dict[str, str]:
    """Return what the sentence of a code names, and no more: a plan explains thousands of jobs."""
    ways: dict[str, Callable[[], str]] = {
        "window": lambda: "an unknown intensity" if window is None else intensity_text(window),
        "below": lambda: _below_now(window, at_once),
        "limit": lambda: _limit_text(job, code, options),
        "saving": lambda: _saving(least, window),
        "latest": lambda: instant_text(job.latest_start(options.default_max_delay)),
        "duration": lambda: duration_text(job.spec.duration),
    }
    sentence = SENTENCES[code]
    return {name: text() for name, text in ways.items() if f"{{{name}}}" in sentence}


def with_promise(reason: Reason, job: Job, end: datetime, promised: Interval | None, put_offs: int) -> Reason:
    """Add to a reason, where the job now ends later than first planned, what that was and how often it was put off."""
    if promised is None or end <= promised[1] + MOVED:
        return reason
    first = f"to end by {instant_text(promised[1])}" if job.spec.interruptible else f"for {instant_text(promised[0])}"
    counted = f", put off {count_text(put_offs, 'time')}" if put_offs else ""
    forced = f", the last {put_offs - MOST_PUT_OFFS} for want of room" if put_offs > MOST_PUT_OFFS else ""
    held = ", and not again for less carbon" if put_offs >= MOST_PUT_OFFS else ""
    return replace(reason, text=f"{reason.text}; first planned {first}{counted}{forced}{held}")


def expected_g(job: Job, intensity_g_per_kwh: float | None, run_s: float, options: Options) -> float | None:
    """Return what the job would emit in `run_s` at a mean intensity, in g; None when its power or that is unknown."""
    power_w = job.spec.power_w
    if power_w is None and options.gpu_power_w is not None and job.spec.gpus:
        power_w = options.gpu_power_w * job.spec.gpus
    if power_w is None or intensity_g_per_kwh is None:
        return None
    return emissions_g(energy_j(power_w, timedelta(seconds=run_s)), intensity_g_per_kwh, options.pue)


def _limit_text(job: Job, code: ReasonCode, options: Options) -> str:
    if code is ReasonCode.CLEAN_ENOUGH:
        own = job.spec.run_below_g_per_kwh
        return intensity_text(options.run_below_g_per_kwh if own is None else own)
    ratio = options.min_saving if job.spec.min_saving is None else job.spec.min_saving
    return percent_text(ratio, 1)


def _below_now(window: float | None, at_once: float | None) -> str:
    if window is None:
        return "for there is no forecast of all of it"
    if at_once is None:
        return "the intensity now is unknown"
    return compared_text(window, at_once) if at_once else f"and {intensity_text(at_once)} now"


def _saving(window: float | None, at_once: float | None) -> str:
    """Return what a window saves against starting now."""
    if window is None or not at_once:
        return "an unknown share"
    return percent_text(1 - window / at_once, 1) if window < at_once else "nothing"


def _wanted(job: Job) -> str:
    return count_text(job.spec.gpus, "free GPU") if job.spec.gpus else "a free CPU slot"


def _holders(situation: Situation) -> str:
    return "; ".join(f"{device} by {who}" for device, who in sorted(situation.elsewhere.items()))
