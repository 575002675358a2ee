"""Name the real cause of each place in a plan, when somebody asks: most plans are replaced before anybody does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

import numpy as np

from greenrun.core.jobs.dependencies import blocked
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import DeferredReason, Reason, ReasonCode
from greenrun.core.jobs.runs.retries import pausing
from greenrun.core.planning.explanation.sentences import (
    STARTS_WHEN_FREE,
    Held,
    placement_reason,
    with_expiry,
    with_promise,
)
from greenrun.core.planning.explanation.shortage import Shortage
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.model import MOVED, Interval, Situation
from greenrun.core.planning.power_cap.site_power import MW, power_reason
from greenrun.core.planning.precedence.room import end_of
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place, cheapest_suspended
from greenrun.core.planning.site_limits.reserved import Reserved
from greenrun.core.units import J_PER_KWH

_CLEAN = (ReasonCode.CLEANEST_WINDOW, ReasonCode.NOW_IS_CLEANEST, ReasonCode.SHARED_WINDOW)
_WAITED = frozenset(
    {ReasonCode.CLEANEST_WINDOW, ReasonCode.SHARED_WINDOW, ReasonCode.GPUS_BUSY, ReasonCode.GPUS_HELD_ELSEWHERE}
    | {ReasonCode.RESERVED}
    | {ReasonCode.WAITS_FOR, ReasonCode.GOES_ON, ReasonCode.GIVES_WAY, ReasonCode.RETRY_PAUSE, ReasonCode.POWER_CAP}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What is to be explained: a row's place as it is told.

    `window` and `at_once` are mean intensities in g/kWh, over its run and over one that begins now; `ran_s` is how long
    it runs in all.
    """

    start: datetime
    end: datetime
    ran_s: float
    window: float | None
    at_once: float | None
    promised: Interval | None
    put_offs: int


class Explainer:
    """What has to be kept of a plan to explain it; the plans before it are not."""

    def __init__(
        self,
        situation: Situation,
        problem: PlanningProblem,
        places: Mapping[int, Place],
        due: Mapping[int, datetime],
        gives_way: Mapping[int, Sequence[int]] = MappingProxyType({}),
    ) -> None:
        """Keep what `SearchResult` says of who gives way to whom, and since when which rows are due."""
        self._due = {row: _due_code(problem.jobs[row], situation) for row in due if row not in problem.running}
        self._situation, self._problem, self._places = replace(situation, last=None), problem, places
        self._shortage = Shortage(problem, places, self._situation)
        self._spared = {row: [problem.jobs[other].id for other in others] for row, others in gives_way.items()}
        self._least: dict[int, float] | None = None

    def reason(self, row: int, placed: Placed) -> Reason:
        """Return why a row has its place, worked out when it is asked for."""
        return DeferredReason(partial(self._explained, row, placed))

    def _explained(self, row: int, placed: Placed) -> Reason:
        job, place = self._problem.jobs[row], self._places[row]
        waits_for = None if row in self._problem.running else self._waits(job, placed.start)
        reason = with_promise(
            waits_for or self._of_place(row, place, placed), job, placed.end, placed.promised, placed.put_offs
        )
        if row in self._problem.running:
            return reason
        return with_expiry(reason, job, placed.start, self._situation.options)

    def _waits(self, job: Job, start: datetime) -> Reason | None:
        """Return what keeps a queued job from an earlier start: another job, or the pause after its last failure."""
        pause = pausing(job, self._situation.now) if job.retry_at and start <= job.retry_at + MOVED else None
        return blocked(job, self._situation.states, start) or pause

    def _of_place(self, row: int, place: Place, placed: Placed) -> Reason:
        code, least_g = self._code(row, place), self._least_g(row)
        if short := self._short_of_power(row, code, placed):
            return short
        if placed.window is None and code in _CLEAN:
            code = ReasonCode.FORECAST_TOO_SHORT  # a place of which nothing is known is the soonest, not a clean one
        waited_g = least_g if place.waiting_g is None else place.waiting_g
        g_per_mean = placed.ran_s * float(self._problem.rows.demands.watts[row]) / J_PER_KWH
        return placement_reason(
            self._problem.jobs[row],
            self._situation,
            code,
            placed.start,
            window=placed.window,
            at_once=placed.at_once,
            least=None if waited_g is None else waited_g / g_per_mean,
            held=self._held(row, code),
            spared=self._spared.get(row, ()),
            is_out_of_reach=row in self._problem.out_of_reach,
        )

    def _short_of_power(self, row: int, code: ReasonCode, placed: Placed) -> Reason | None:
        """Return the reason of a row that the site's power cap keeps waiting, or suspended, and no cleaner hour."""
        site, runs, start = self._situation.power, row in self._problem.running, placed.start
        gains = placed.window is not None and placed.at_once is not None and placed.window < placed.at_once / SAME
        chooses = code in (ReasonCode.CLEANEST_WINDOW, ReasonCode.SHARED_WINDOW) and gains and not runs
        waits = code is not ReasonCode.GOES_ON and not chooses
        if site is None or not waits or row in self._problem.out_of_reach:
            return None
        left_w = self._shortage.power_before(row)
        if left_w is None:
            return None
        place, demands = self._places[row], self._problem.rows.demands
        needs_w = demands.of_power(row, place.pool) / MW
        at = self._situation.now if runs else max(self._situation.now, start - MOVED)
        return power_reason(site, needs_w=needs_w, left_w=left_w, at=at, until=start, runs=runs)

    def _code(self, row: int, place: Place) -> ReasonCode:
        """Name why the row has this place."""
        problem = self._problem
        job, least_g = problem.jobs[row], self._least_g(row)
        if row in problem.running:
            return _running_code(problem, place, least_g)
        if row in self._due:
            return self._due[row]
        if job.spec.start_now:
            return ReasonCode.ASKED_NOW
        if problem.overdue[row] or (place.late and not problem.meets_own_limit(row, end_of(problem, row, place))):
            return ReasonCode.DEADLINE if job.has_limit else ReasonCode.NO_LIMIT_LEFT
        if not len(problem.intensity):
            return ReasonCode.NO_FORECAST
        limits = (problem.unpinned or problem).rows.demands  # a job held to the start it was told is in no haste
        if place.late or (row in problem.soft_deadlines and limits.latest_s[row] <= limits.release_s[row]):
            return ReasonCode.SOONEST
        if least_g is None:
            return ReasonCode.FORECAST_TOO_SHORT
        return place.why or self._window_code(row, place, least_g)

    def _window_code(self, row: int, place: Place, least_g: float) -> ReasonCode:
        """Name why a row that chooses among hours has this one: want of GPUs, other jobs, or nothing but grams."""
        demands = self._problem.rows.demands
        soon = place.start_s <= demands.release_s[row] + EPSILON_S and len(place.pieces) < 2
        if not soon and self._shortage.wanted_s(row) is not None:
            return ReasonCode.GPUS_BUSY
        if place.grams > least_g * SAME and self._shortage.leaves_cleaner(row):
            return ReasonCode.SHARED_WINDOW
        return ReasonCode.NOW_IS_CLEANEST if soon else ReasonCode.CLEANEST_WINDOW

    def _held(self, row: int, code: ReasonCode) -> Held | None:
        """Return who holds the GPUs of a row that waits for them, where its code may be about that."""
        if code is not ReasonCode.GPUS_BUSY and code not in STARTS_WHEN_FREE:
            return None
        wanted_s = self._shortage.wanted_s(row) if code is ReasonCode.GPUS_BUSY else None
        wanted = None if wanted_s is None else datetime.fromtimestamp(wanted_s, UTC)
        reserved: tuple[Reserved, ...] = ()
        if self._situation.reserved and self._problem.jobs[row].spec.gpus:
            soonest_s = float(self._problem.rows.demands.release_s[row])
            reserved = self._shortage.reserved(row, soonest_s if wanted_s is None else wanted_s)
        return Held(by=tuple(self._shortage.holders(row)), wanted=wanted, reserved=reserved)

    def _least_g(self, row: int) -> float | None:
        """Return the least that a row can emit within its limits, whatever the others do, in g; None if unknown."""
        if self._least is None:
            self._least = _least(self._problem)
        return self._least.get(row)


def _least(problem: PlanningProblem) -> dict[int, float]:
    rows = problem.rows
    filled = np.flatnonzero(np.diff(rows.first))
    least = np.minimum.reduceat(rows.grams, rows.first[filled]) if len(filled) else np.zeros(0)
    unpriced = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    suspended = {row: response.cost for row, response in cheapest_suspended(problem, unpriced).items()}
    return dict(zip(filled.tolist(), least.tolist(), strict=True)) | suspended


def _running_code(problem: PlanningProblem, place: Place, least_g: float | None) -> ReasonCode:
    """Name why a job that runs goes on, or is suspended until a later place."""
    if place.start_s <= problem.now_s + EPSILON_S:
        return ReasonCode.GOES_ON
    is_cleanest = least_g is not None and place.grams <= least_g * SAME
    return ReasonCode.CLEANEST_WINDOW if is_cleanest else ReasonCode.SHARED_WINDOW


def _due_code(job: Job, situation: Situation) -> ReasonCode:
    """Keep the ground on which it was to start at once; a window it waited for has come.

    One whose user asked for a start waits for no window, nor does it go on from a checkpoint because one has come.
    """
    if job.spec.start_now:
        return ReasonCode.ASKED_NOW
    last = situation.last.reason(job.id) if situation.last else None
    return ReasonCode.DUE if last is None or last.code in _WAITED else last.code
