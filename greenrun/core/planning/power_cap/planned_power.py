"""What a plan lets all GPUs and the host draw under each cap that it meets: for people to see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from greenrun.core.accounting.weekly import Weekly
from greenrun.core.planning.capacity import base_mw, pools_of, timelines
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.model import Placement, Plan, Situation
from greenrun.core.planning.power_cap.site_power import MW, UNCAPPED_MW, SitePower

MOST = 50  # caps that are told, one after another


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPower:
    """The cap from `start` to `end`, None where there is none, and the most that is planned under it, in watts."""

    start: datetime
    end: datetime
    cap_w: float | None
    planned_w: float


def planned_power(made: Plan, situation: Situation) -> Sequence[PlannedPower]:
    """Return the caps from now to the end of what is planned, in order; nothing without a cap.

    What runs and may draw more than a cap that begins later is part of what is told.
    """
    site, places = situation.power, [row for row in made.placements if row.gpus]
    ends = [*(row.end for row in places), *situation.busy.values()]
    until = max(ends, default=situation.now)
    if site is None or until <= situation.now:
        return ()
    at, drawn_w = _drawn(places, situation, site)
    edges = sorted({situation.now, until, *_edges(site, situation.now, until)})
    rows: list[PlannedPower] = []
    for begin, end in pairwise(edges):
        begin_s, end_s, cap_w = begin.timestamp() + EPSILON_S, end.timestamp() - EPSILON_S, site.cap.at(begin)
        spans = zip(at, drawn_w, strict=True)
        own = [watts for (since_s, until_s), watts in spans if since_s < end_s and until_s > begin_s]
        planned_w = max(own, default=0.0)
        if rows and rows[-1].cap_w == cap_w:
            rows[-1] = replace(rows[-1], end=end, planned_w=max(rows[-1].planned_w, planned_w))
        else:
            rows.append(PlannedPower(start=begin, end=end, cap_w=cap_w, planned_w=planned_w))
    return rows[:MOST]


def _edges(site: SitePower, start: datetime, end: datetime) -> list[datetime]:
    instants = [datetime.fromtimestamp(at_s, UTC) for span in site.caps(start, end) for at_s in span[:2]]
    return [at for at in instants if start < at < end]


def _drawn(
    places: Sequence[Placement], situation: Situation, site: SitePower
) -> tuple[list[tuple[float, float]], list[float]]:
    """Return the stretches of time in which as much is drawn, in epoch seconds, and what, in watts."""
    free = replace(situation, power=replace(site, cap=Weekly.of([], None)))
    pools = pools_of(situation)
    by_name, line = {pool.name: pool for pool in pools}, timelines(free, pools)[0].power
    jobs = {job.id: job for job in (*situation.jobs, *(run.job for run in situation.running))}
    assert line is not None, "it was made with power"
    for row in places:
        if row.job_id in jobs and row.pool in by_name:
            mw = site.need_mw(jobs[row.job_id], by_name[row.pool].devices)
            for begin, end in row.intervals:
                line.reserve(begin.timestamp(), end.timestamp(), mw)
    starts_s, free_mw = line.free_steps()
    base = base_mw(situation, site)
    edges = [float("-inf"), *starts_s, float("inf")]
    return list(pairwise(edges)), [(base + UNCAPPED_MW - mw) / MW for mw in (UNCAPPED_MW, *free_mw)]
