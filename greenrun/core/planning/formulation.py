"""A situation put into numbers: its jobs as rows between limits, its GPUs as pools, its intensity in cells."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from greenrun.core.carbon.intensity import Floats, Series
from greenrun.core.jobs.dependencies import in_order, predecessors
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.runs.durations import expected_length
from greenrun.core.planning.candidates import Candidates, Demands, like_pools
from greenrun.core.planning.capacity import Pool, home_of, needs_mw, pools_of, timelines
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.model import Running, Situation
from greenrun.core.planning.piecewise import PiecewiseLinear
from greenrun.core.planning.precedence.fair_share import precedence, rounds, standing
from greenrun.core.planning.preemption.intervals import Interruptible, cells_of, step_for
from greenrun.core.planning.problem import AT_ONCE, BEHIND, LIMIT, PROMISED, PlanningProblem, StartThreshold
from greenrun.core.planning.reservation import slipped_since
from greenrun.core.planning.site_limits.reserved import next_reserved
from greenrun.core.planning.stability import pins
from greenrun.core.planning.time_windows import pinned, released, with_slack
from greenrun.core.units import J_PER_KWH

CELL_S = 1800.0  # prices change at slot edges, and within longer slots this often
NOMINAL_GPU_W, NOMINAL_CPU_W = 300.0, 50.0  # weigh a job of unknown power against others; never booked or shown


def planning_problem(situation: Situation, jobs: Sequence[Job], intensity: Series) -> PlanningProblem:
    """Put jobs that each fit into some pool, and an intensity that may be empty, into numbers.

    The rows are `jobs`, and then the jobs that run and may be suspended.
    """
    pools = pools_of(situation)
    running = dict(enumerate(situation.running, len(jobs)))
    rows = (*jobs, *(run.job for run in situation.running))
    after = _after(jobs, rows, situation)
    unpinned, own_s = _demands(situation, rows, running, pools, after)
    if situation.power:
        unpinned = replace(unpinned, mw=needs_mw(situation.power, rows, pools))
    overdue = tuple(_is_overdue(situation, job) for job in rows)
    turns = rounds(jobs, situation.options.shares, situation.used_s, len(situation.devices))
    later = frozenset(row for row, turn in enumerate(turns) if turn)
    held = pins(jobs, situation, unpinned.length_s.tolist(), later)
    last_come = {row for row in held if overdue[row]}
    latest_s = pinned(unpinned, held, last_come, after) if held else unpinned.latest_s
    demands = replace(unpinned, latest_s=latest_s)
    knots_s, curves = _knots(situation.now.timestamp(), (demands, unpinned), intensity), intensity.curves
    flexible = _flexible(situation, rows, running, demands, own_s, intensity)
    taken = tuple(timelines(situation, pools))
    own = precedence(jobs, turns)
    own += (max(own, default=0),) * len(running)
    available = tuple(pool.units - sum(device in situation.elsewhere for device in pool.devices) for pool in pools)
    out_of_reach = _out_of_reach(demands, running, available, after)
    soft_deadlines = {row: own_s[row] + demands.length_s[row] for row in _earlier(demands, own_s)}
    made = PlanningProblem(
        now_s=situation.now.timestamp(),
        jobs=rows,
        precedence=own,
        later=later,
        standing=standing(rows, situation.options.shares, situation.used_s) if later else None,
        pools=pools,
        taken=taken,
        unheld=taken,
        slipped=tuple(_slipped(jobs, situation, own, out_of_reach)),
        available=available,
        has={row: run.devices for row, run in running.items()},
        out_of_reach=out_of_reach,
        intensity=intensity,
        integral=PiecewiseLinear(curves[0], curves[1]),
        covered=PiecewiseLinear(curves[0], curves[2]),
        knots_s=knots_s,
        overdue=overdue,
        rows=Candidates.of(demands, knots_s, intensity, without=flexible),
        running=frozenset(running),
        flexible=flexible,
        limits=tuple(_limits(rows, overdue, soft_deadlines, last_come, out_of_reach)),
        after=after,
        soft_deadlines=soft_deadlines,
        start_thresholds=_start_thresholds(jobs, situation, demands) | dict.fromkeys(last_come, AT_ONCE),
    )
    made = made.holding_beside(()) if made.slipped else made
    if not held:
        return made
    flexible = _flexible(situation, rows, running, unpinned, own_s, intensity)
    loose = Candidates.of(unpinned, knots_s, intensity, without=flexible)
    return replace(made, unpinned=replace(made, rows=loose, flexible=flexible))


def _limits(
    rows: Sequence[Job],
    overdue: Sequence[bool],
    soft_deadlines: Collection[int],
    last_come: Collection[int],
    out_of_reach: Collection[int],
) -> Iterator[int]:
    """Yield of each row what being later than it should counts; rows in `last_come` are pinned past their limits."""
    for row, job in enumerate(rows):
        if row in out_of_reach:
            yield 0
        elif row in last_come:
            yield BEHIND
        else:
            yield max(_weight(job) * (not overdue[row]), BEHIND * (row in soft_deadlines))


def _out_of_reach(
    demands: Demands, running: Collection[int], available: Sequence[int], after: Mapping[int, tuple[int, ...]]
) -> frozenset[int]:
    """Return the queued rows that need units which somebody outside this daemon holds, and all that come after them."""
    most = [max((available[pool] for pool in own), default=0) for own in demands.pools]
    found = {row for row, units in enumerate(demands.units) if row not in running and units > most[row]}
    for row in in_order(range(len(demands)), after) if found else ():
        found |= {row} if found.intersection(after.get(row, ())) else set()
    return frozenset(found)


def _slipped(jobs: Sequence[Job], situation: Situation, own: Sequence[int], but: Collection[int]) -> list[int]:
    """Return the rows that others kept waiting, first come first; none while one of higher precedence is to start.

    Those in `but` cannot.
    """
    rows = ((row, job) for row, job in enumerate(jobs) if row not in but)
    free = [(row, job) for row, job in rows if not predecessors(job, situation.states)]
    first = max((own[row] for row, job in free if job.spec.start_now), default=None)
    slipped = [row for row, job in free if (first is None or own[row] >= first) and slipped_since(job, situation)]
    return sorted(slipped, key=lambda row: (-own[row], jobs[row].submitted_at, jobs[row].id))


def _weight(job: Job) -> int:
    return PROMISED if job.spec.finish_by else LIMIT * job.has_limit


def _earlier(demands: Demands, own_s: Floats) -> list[int]:
    """Return the rows that should start earlier than their own limits ask for."""
    return np.flatnonzero(demands.latest_s < own_s - EPSILON_S).tolist()


def _after(jobs: Sequence[Job], rows: Sequence[Job], situation: Situation) -> dict[int, tuple[int, ...]]:
    """Return the rows that each of these queued jobs still waits for."""
    known = {job.id: row for row, job in enumerate(rows)}
    waits = {row: predecessors(job, situation.states) for row, job in enumerate(jobs) if job.spec.after}
    found = {row: tuple(known[job_id] for job_id in ids if job_id in known) for row, ids in waits.items()}
    return {row: others for row, others in found.items() if others}


def _demands(
    situation: Situation,
    jobs: Sequence[Job],
    running: Mapping[int, Running],
    pools: Sequence[Pool],
    after: Mapping[int, tuple[int, ...]],
) -> tuple[Demands, Floats]:
    """Return what is to be placed, and the latest starts, shape (n,), that the jobs' own limits allow."""
    now_s, options, home = situation.now.timestamp(), situation.options, home_of(pools)
    release_s = np.array([max(job.earliest_start.timestamp(), now_s) for job in jobs])
    latest_s = np.array([job.latest_start(options.default_max_delay).timestamp() for job in jobs])
    suitable = [tuple(i for i, pool in enumerate(pools) if pool.suits(job)) for job in jobs]
    alike = like_pools([own for row, own in enumerate(suitable) if row not in running], len(pools))
    for row, run in running.items():
        suitable[row] = (next((home[device] for device in run.devices if device in home), len(pools) - 1),)
    lengths_s = [job.remaining.total_seconds() for job in jobs]
    for row, run in running.items():
        lengths_s[row] = left_s(run, now_s)
        latest_s[row] = run.job.latest_end(options.default_max_delay).timestamp() - lengths_s[row]
    release_s = released(jobs, situation, release_s, lengths_s, after)
    own_s = np.maximum(release_s, latest_s)
    latest_s = with_slack(jobs, release_s, own_s, lengths_s, after)
    for row, job in enumerate(jobs):
        if job.spec.start_now and job.own_limit:  # it should start at once, but it must not end later than this
            own_s[row] = max(own_s[row], job.own_limit.timestamp() - lengths_s[row])
    demands = Demands(
        release_s=release_s,
        latest_s=latest_s,
        length_s=np.array(lengths_s),
        units=np.array([max(1, job.spec.gpus) for job in jobs], dtype=np.float64),
        watts=np.array([watts_of(job, options.gpu_power_w) for job in jobs]),
        pools=tuple(suitable),
        alike=alike,
    )
    return demands, own_s


def _is_overdue(situation: Situation, job: Job) -> bool:
    is_limited = job.spec.start_now and job.own_limit
    latest = is_limited - job.remaining if is_limited else job.latest_start(situation.options.default_max_delay)
    return latest.timestamp() < max(job.earliest_start, situation.now).timestamp() - EPSILON_S


def left_s(run: Running, now_s: float) -> float:
    """Return how much longer a running job is expected to run."""
    age = timedelta(seconds=now_s - run.since.timestamp())
    return (expected_length(run.job.remaining, age) - age).total_seconds()


def _flexible(
    situation: Situation,
    jobs: Sequence[Job],
    running: Mapping[int, Running],
    demands: Demands,
    own_s: Floats,
    intensity: Series,
) -> dict[int, Interruptible]:
    """Return the rows for which suspension can pay; `own_s` are the latest starts by their own limits, shape (n,)."""
    moved = np.abs(demands.latest_s - own_s) > EPSILON_S
    found = {
        row: _interruptible(situation, job, running.get(row), demands, row, intensity, moved=bool(moved[row]))
        for row, job in enumerate(jobs)
        if job.spec.interruptible and not job.spec.start_now
    }
    return {row: job for row, job in found.items() if job.gains}


def _interruptible(
    situation: Situation,
    job: Job,
    run: Running | None,
    demands: Demands,
    row: int,
    intensity: Series,
    *,
    moved: bool,
) -> Interruptible:
    """Return a row in its cells; `moved`: its deadline is not its own limit but an earlier one, or a later one."""
    spec = job.spec
    length_s = float(demands.length_s[row])
    slot_s = intensity.step.total_seconds() if intensity.step else CELL_S
    step_s = step_for(slot_s, length_s, spec.restart_cost.total_seconds())
    own_s = job.latest_end(situation.options.default_max_delay).timestamp()
    deadline_s = float(demands.latest_s[row]) + length_s if moved else own_s
    edges_s, over = cells_of(float(demands.release_s[row]), deadline_s, intensity, step_s)
    forced_s = (run.since + spec.min_run - situation.now).total_seconds() if run else 0.0
    return Interruptible(
        release_s=float(demands.release_s[row]),
        length_s=length_s,
        deadline_s=deadline_s,
        min_run_s=min(spec.min_run.total_seconds(), length_s),
        restart_s=spec.restart_cost.total_seconds(),
        is_running=run is not None,
        forced_s=max(0.0, forced_s),
        units=int(demands.units[row]),
        edges_s=edges_s,
        grams=over * demands.watts[row] / J_PER_KWH,
        step_s=step_s,
        stops_s=_stops_s(situation, run) if run else np.inf,
    )


def _stops_s(situation: Situation, run: Running) -> float:
    """Return from when on GPUs that a run has are reserved, in epoch seconds; infinity where they are not."""
    coming = next_reserved(situation.reserved, situation.now)
    return min((coming[device].start.timestamp() for device in run.devices if device in coming), default=np.inf)


def _start_thresholds(jobs: Sequence[Job], situation: Situation, demands: Demands) -> dict[int, StartThreshold]:
    """Return by row when those start at once of which somebody asked for that."""
    every = {row: _start_threshold(job, situation, demands.watts[row]) for row, job in enumerate(jobs)}
    return {row: threshold for row, threshold in every.items() if any(threshold)}


def _start_threshold(job: Job, situation: Situation, watts: float) -> StartThreshold:
    options, spec = situation.options, job.spec
    below = options.run_below_g_per_kwh if spec.run_below_g_per_kwh is None else spec.run_below_g_per_kwh
    saving = options.min_saving if spec.min_saving is None else spec.min_saving
    return StartThreshold(below * watts * job.remaining.total_seconds() / J_PER_KWH, saving)


def watts_of(job: Job, gpu_power_w: float | None) -> float:
    """Return the power that weighs a job against others: its own, else that of its GPUs, else a nominal one."""
    if job.spec.power_w is not None:
        return job.spec.power_w
    if not job.spec.gpus:
        return NOMINAL_CPU_W
    return (gpu_power_w or NOMINAL_GPU_W) * job.spec.gpus


def _knots(now_s: float, either: Sequence[Demands], intensity: Series) -> Floats:
    """Return now and every border of a cell from now to the last instant that matters."""
    if not len(intensity):
        return np.array([now_s, now_s + CELL_S])
    end_s = max(float((demands.latest_s + demands.length_s).max(initial=now_s)) for demands in either)
    edges = np.unique(np.concatenate([intensity.starts_s, intensity.ends_s]))
    parts = np.maximum(1, np.ceil(np.diff(edges) / CELL_S - 1e-9)).astype(np.int64)
    steps = np.repeat(np.diff(edges) / parts, parts)
    fine = edges[0] + np.concatenate([[0.0], np.cumsum(steps)])
    inside = fine[(fine > now_s + 1e-6) & (fine < end_s + CELL_S)]
    return np.concatenate([[now_s], inside if len(inside) else [now_s + CELL_S]])
