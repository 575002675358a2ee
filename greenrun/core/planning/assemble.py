"""Assemble the plan from what the search found: instants, sums, and for each placement why it is where it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from greenrun.core.jobs.job import Job
from greenrun.core.planning.explanation.explainer import Explainer, Placed
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.model import Interval, Options, Placement, Plan, Situation, Waiting
from greenrun.core.planning.precedence.room import end_of
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.scheduling.plan_baseline import earliest_start_g
from greenrun.core.planning.search import SearchResult
from greenrun.core.planning.shadow_prices import named_prices
from greenrun.core.planning.stability import promise
from greenrun.core.units import emissions_g, energy_j


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
    explainer = Explainer(situation, problem, found.places, due, found.gives_way)
    runs = [_Run.of(situation, problem, row, place) for row, place in found.places.items()]
    rows = [
        _placement(situation, problem, run, explainer, due.get(run.row), window, at_once)
        for run, window, at_once in zip(runs, *_means(situation, problem, runs), strict=True)
    ]
    known, pue = all(row.expected_g is not None for row in rows), situation.options.pue
    is_late = any(row.late for row in rows) or any(_is_late(problem, row, place) for row, place in found.places.items())
    at_once_g = found.soonest_g if known else None

    def grams(row: int, mean: float | None, ran_s: float) -> float | None:
        return expected_g(problem.jobs[row], mean, ran_s, situation.options)

    return Plan(
        made_at=situation.now,
        horizon_end=situation.forecast.end if situation.forecast else None,
        placements=tuple(sorted(rows, key=lambda row: (row.start, row.job_id))),
        waiting=tuple(waiting),
        expected_g=sum(row.expected_g or 0.0 for row in rows) if known else None,
        start_at_once_g=None if at_once_g is None else at_once_g * pue,
        earliest_start_g=earliest_start_g(situation, problem, found.places, grams) if known else None,
        bound_g=max(0.0, found.bound_g) * pue if known and not is_late else None,
        prices=named_prices(found.prices, problem),
    )


def _is_late(problem: PlanningProblem, row: int, place: Place) -> bool:
    """Whether a place is later than it should be by the limits that the bound rests on, which are none of a pin's."""
    if problem.unpinned is None:
        return place.late
    limits = problem.unpinned.rows.demands
    return bool(end_of(problem, row, place) > limits.latest_s[row] + limits.length_s[row] + EPSILON_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """When a row runs: `pieces` unless in one piece, for `ran_s` in all."""

    row: int
    place: Place
    start: datetime
    end: datetime
    pieces: tuple[Interval, ...]
    ran_s: float

    @classmethod
    def of(cls, situation: Situation, problem: PlanningProblem, row: int, place: Place) -> "_Run":
        start, length_s = _instant(place.start_s, situation), float(problem.rows.demands.length_s[row])
        pieces = tuple((_instant(begin, situation), _instant(end, situation)) for begin, end in place.pieces)
        end = pieces[-1][1] if pieces else datetime.fromtimestamp(start.timestamp() + length_s, UTC)
        ran_s = sum((end - begin).total_seconds() for begin, end in pieces) or length_s
        return cls(row=row, place=place, start=start, end=end, pieces=pieces, ran_s=ran_s)


def _means(
    situation: Situation, problem: PlanningProblem, runs: Sequence[_Run]
) -> tuple[list[float | None], list[float | None]]:
    """Return the mean intensities in g/kWh over each run, and over the same run if it began now; None where unknown."""
    now, now_s = situation.now, problem.now_s
    lasts = [problem.jobs[run.row].remaining if run.pieces else run.end - run.start for run in runs]
    at_once = problem.means_over([(now_s, (now + last).timestamp()) for last in lasts])
    whole = problem.means_over([(run.start.timestamp(), run.end.timestamp()) for run in runs])
    windows = [problem.mean_over(run.pieces) if run.pieces else mean for run, mean in zip(runs, whole, strict=True)]
    return windows, at_once


def _promise(situation: Situation, problem: PlanningProblem, row: int, place: Interval) -> tuple[Interval | None, int]:
    """Return what a row was promised and how often it was put off; nothing counts before it has its turn."""
    if row in problem.running:
        return None, 0
    return (place, 0) if row in problem.later else promise(problem.jobs[row], situation, place)


def _placement(
    situation: Situation,
    problem: PlanningProblem,
    run: _Run,
    explainer: Explainer,
    due: datetime | None,
    window: float | None,
    at_once: float | None,
) -> Placement:
    """Return one placement; `due` is the planned instant that has come."""
    row, job, start, end = run.row, problem.jobs[run.row], run.start, run.end
    promised, put_offs = _promise(situation, problem, row, (start, end))
    placed = Placed(
        start=start, end=end, ran_s=run.ran_s, window=window, at_once=at_once, promised=promised, put_offs=put_offs
    )
    return Placement(
        job_id=job.id,
        start=start,
        end=end,
        gpus=job.spec.gpus,
        pool=problem.pools[run.place.pool].name,
        reason=explainer.reason(row, placed),
        intensity_g_per_kwh=window,
        start_now_g_per_kwh=at_once,
        expected_g=expected_g(job, window, run.ran_s, situation.options),
        start_now_g=expected_g(job, at_once, float(problem.rows.demands.length_s[row]), situation.options),
        signal=situation.forecast.id.signal if situation.forecast is not None else None,
        late=job.misses_limit(start, end),
        due=due if start > situation.now else None,
        pieces=run.pieces if len(run.pieces) > 1 else (),
        promised=promised,
        put_offs=put_offs,
        shares=tuple(map(problem.taken[run.place.pool].shares, run.place.on)),
    )


def _instant(at_s: float, situation: Situation) -> datetime:
    """Return an instant, which is now where it differs by less than the clock resolves."""
    return situation.now if at_s <= situation.now.timestamp() + EPSILON_S else datetime.fromtimestamp(at_s, UTC)


def expected_g(job: Job, intensity_g_per_kwh: float | None, run_s: float, options: Options) -> float | None:
    """Return what the job would emit in `run_s` at a mean intensity, in g; None when its power or that is unknown."""
    power_w = job.spec.power_w
    if power_w is None and options.gpu_power_w is not None and job.spec.gpus:
        power_w = options.gpu_power_w * job.spec.gpus
    if power_w is None or intensity_g_per_kwh is None:
        return None
    return emissions_g(energy_j(power_w, timedelta(seconds=run_s)), intensity_g_per_kwh, options.pue)
