"""Reservations for jobs that others kept waiting: GPUs that become free are held for them, whatever small jobs say.

A job that needs several GPUs waits until as many are free at once, and shorter jobs may run on the others meanwhile, if
they say that they end in time (backfilling: Lifka 1995; Mu'alem and Feitelson 2001 on what wrong estimates do to it).
Once its planned start has passed and the GPUs were not there, what they say is not trusted any more.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from greenrun.core.jobs.dependencies import blocked
from greenrun.core.jobs.job import Job
from greenrun.core.planning.candidates import Demands
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Timeline, copies
from greenrun.core.planning.model import Plan, Situation


def slipped_since(job: Job, situation: Situation) -> datetime | None:
    """Return the planned start of a job that was to start by now and does not choose when; None for others.

    Such are jobs that are to start at once, and those that can no longer be put off inside their limits.
    """
    last = situation.last.placement(job.id) if situation.last else None
    if last is None:
        return None
    since = last.due or last.start
    if job.spec.start_now and last.promised:
        since = min(since, last.promised[0])
    if since > situation.now:
        return None
    is_pressed = job.spec.start_now or job.latest_start(situation.options.default_max_delay) <= situation.now
    return since if is_pressed else None


def slipped_in(plan: Plan, situation: Situation) -> list[int]:
    """Return the queued jobs with GPUs whose start has slipped since the plan was made, which holds none for them yet.

    The first in the order in which GPUs are held for them comes first.
    """
    asked = replace(situation, last=plan)
    found = [
        job
        for job in situation.jobs
        if job.spec.gpus
        and (since := slipped_since(job, asked))
        and plan.made_at < since
        and job.id not in situation.withheld
        and not job.held
        and blocked(job, situation.states) is None
    ]
    return [job.id for job in sorted(found, key=lambda job: (-job.spec.priority, job.submitted_at, job.id))]


def behind(slipped: Collection[int], situation: Situation) -> frozenset[int]:
    """Return the other queued jobs that come after all of these: those without limits and of no higher priority."""
    own = [job.spec.priority for job in situation.jobs if job.id in slipped]
    least = min(own, default=None)
    return frozenset(
        job.id
        for job in situation.jobs
        if least is not None and job.id not in slipped and not job.has_limit and job.spec.priority <= least
    )


def hold_for_slipped(
    taken: Sequence[Timeline],
    slipped: Collection[int],
    demands: Demands,
    running: Mapping[int, tuple[int, ...]],
    now_s: float,
    available: Sequence[int],
) -> None:
    """Take in `taken`, the timelines of the pools, what is free before the first starts that `slipped` rows can have.

    They are served in this order. `running` are the rows that run and may be suspended, with their pools: they keep
    what they have for as long as they may. `available` are the units of each pool that nobody outside this daemon
    holds: nobody knows when the others come back, so nothing is held for a row that needs them.
    """
    if not slipped:
        return
    seen = copies(taken)
    for row, pools in running.items():
        units, mw = int(demands.units[row]), demands.of_power(row, pools[0])
        seen[pools[0]].reserve(now_s, now_s + float(demands.length_s[row]), units, mw)
    for row in slipped:
        units, length_s = int(demands.units[row]), float(demands.length_s[row])
        ready_s = max(now_s, float(demands.release_s[row]))
        found = [
            (start_s, pool)
            for pool in demands.pools[row]
            if units <= available[pool]
            and (start_s := seen[pool].first_fit(ready_s, length_s, units, demands.of_power(row, pool))) is not None
        ]
        if not found:
            continue
        start_s, pool = min(found)
        mw = demands.of_power(row, pool)
        if start_s > now_s + EPSILON_S:
            hold(seen[pool], now_s, start_s, units, mw, also=taken[pool])
        seen[pool].reserve(start_s, start_s + length_s, units, mw)


def hold(line: Timeline, begin_s: float, end_s: float, units: int, mw: int, also: Timeline | None = None) -> None:
    """Take of units and power what is free over `[begin_s, end_s)`, at most so much; as much of `also`."""
    lines = [line] if also is None else [line, also]
    for since_s, until_s, free in line.free_between(begin_s, end_s):
        for each in lines:
            each.reserve(since_s, until_s, min(units, free))
    for since_s, until_s, free in line.power.free_between(begin_s, end_s) if mw and line.power is not None else ():
        for power in (each.power for each in lines):
            if power is not None:
                power.reserve(since_s, until_s, min(mw, free))
