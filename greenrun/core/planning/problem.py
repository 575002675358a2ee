"""The planning problem in numbers: what is to be placed, between which limits, on how many GPUs, at what intensity."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from greenrun.core.carbon.intensity import UNCOVERED_S, Floats, Series
from greenrun.core.jobs.dependencies import in_order, predecessors
from greenrun.core.jobs.durations import expected_length
from greenrun.core.jobs.job import Job
from greenrun.core.planning.candidates import Candidates, Demands, Ints, like_pools
from greenrun.core.planning.capacity import EPSILON_S, Pool, Timeline, home_of, pools_of, timelines
from greenrun.core.planning.model import Interval, Running, ShadowPrices, Situation
from greenrun.core.planning.preemption.intervals import Interruptible, Spans, cells_of, step_for
from greenrun.core.planning.reservation import hold_for_slipped, slipped_since
from greenrun.core.planning.stability import pins
from greenrun.core.planning.time_windows import pinned, released, with_slack
from greenrun.core.units import J_PER_KWH


class PiecewiseLinear:
    """A piecewise linear function, flat outside its knots, for one instant at a time, where numpy costs too much."""

    __slots__ = ("_at", "_values")

    def __init__(self, knots_s: Floats, values: Floats) -> None:
        self._at: list[float] = knots_s.tolist() or [0.0]
        self._values: list[float] = values.tolist() or [0.0]

    def at(self, at_s: float) -> float:
        """Return its value at an instant."""
        index = bisect_right(self._at, at_s)
        if not 0 < index < len(self._at):
            return self._values[0] if not index else self._values[-1]
        begin, end = self._at[index - 1], self._at[index]
        low, high = self._values[index - 1], self._values[index]
        return low + (high - low) * (at_s - begin) / (end - begin)


def rise(starts_s: Floats, ends_s: Floats, knots_s: Floats, values: Floats) -> Floats:
    """Return by how much the piecewise linear function through these values rises from each start to its end."""
    return np.asarray(np.interp(ends_s, knots_s, values) - np.interp(starts_s, knots_s, values))


CELL_S = 1800.0  # prices change at slot edges, and within longer slots this often
BEHIND = 1  # the weight of starting later than the margin asks for, while the job's own limit is still met
LIMIT = 1000 * BEHIND
PROMISED = 1000 * LIMIT  # a finish-by was accepted at submission: it counts for more than any number of other limits
NOMINAL_GPU_W, NOMINAL_CPU_W = 300.0, 50.0  # weigh a job of unknown power against others; never booked or shown


class Response(NamedTuple):
    """What an interruptible row chooses at given prices: cost in g, index of the pool, intervals in epoch seconds."""

    cost: float
    pool: int
    spans: Spans


class StartThreshold(NamedTuple):
    """A row starts at once where that emits less than `run_below_g`, or waiting saves less than `min_saving_ratio`."""

    run_below_g: float
    min_saving_ratio: float


AT_ONCE = StartThreshold(np.inf, 0.0)  # any emissions are low enough to start at once


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningProblem:
    """A situation's jobs as rows, with `taken[p]` the reservations in pool p by what runs already.

    `limits[row]` is what being later than it should counts: 0 without a limit of the user's, or with one that is missed
    already; `PROMISED` for finish-by.
    `slipped` are the rows that others kept waiting, in the order in which GPUs are held for them; `taken` has that too.
    `after` names the rows that a row is to start after. A row of `soft_deadlines` should start earlier than its own
    limit asks for: so that a longer run still ends in time, or what comes after it does, or because it is pinned (not
    to be put off again). The end given there still meets its own limit. `unpinned` is the same problem without pins,
    on which no bound may rest; None where no row is pinned. `flexible` are the rows that may be suspended; they have
    no candidates. `is_holding`: some of what is taken is held for expected arrivals. `unheld` is `taken` without
    what is held for `slipped` rows, and `available` how many units of each pool nobody outside this daemon holds. Rows
    `out_of_reach` need more than that, or come after such: nobody knows when they can start, so their limits count 0.
    """

    now_s: float
    jobs: tuple[Job, ...]
    pools: tuple[Pool, ...]
    taken: tuple[Timeline, ...]
    intensity: Series
    integral: PiecewiseLinear
    covered: PiecewiseLinear
    knots_s: Floats
    rows: Candidates
    overdue: tuple[bool, ...]
    running: frozenset[int]
    flexible: Mapping[int, Interruptible]
    limits: tuple[int, ...]
    after: Mapping[int, tuple[int, ...]]
    soft_deadlines: Mapping[int, float]
    start_thresholds: Mapping[int, StartThreshold]
    slipped: tuple[int, ...] = ()
    unpinned: "PlanningProblem | None" = None
    is_holding: bool = False
    unheld: tuple[Timeline, ...] = ()
    available: tuple[int, ...] = ()
    out_of_reach: frozenset[int] = frozenset()

    def mean_over(self, intervals: Sequence[Interval]) -> float | None:
        """Return the mean intensity over a run's intervals, in g/kWh; None when it is not known for all of them."""
        total = length_s = 0.0
        for begin, end in intervals:
            begin_s, end_s = begin.timestamp(), end.timestamp()
            if self.covered.at(end_s) - self.covered.at(begin_s) < end_s - begin_s - UNCOVERED_S:
                return None
            total += self.integral.at(end_s) - self.integral.at(begin_s)
            length_s += end_s - begin_s
        return total / length_s if length_s else None

    def means_over(self, spans: Sequence[tuple[float, float]]) -> list[float | None]:
        """Return the same for many intervals at once, each in epoch seconds."""
        if not spans:
            return []
        knots_s, integral, covered = self.intensity.curves
        if not len(knots_s):
            return [None] * len(spans)
        starts_s, ends_s = np.array(spans).T
        length_s = ends_s - starts_s
        known = (length_s > 0) & (rise(starts_s, ends_s, knots_s, covered) >= length_s - UNCOVERED_S)
        means = rise(starts_s, ends_s, knots_s, integral) / np.where(length_s > 0, length_s, 1.0)
        return [mean if is_known else None for mean, is_known in zip(means.tolist(), known.tolist(), strict=True)]

    def meets_own_limit(self, row: int, end_s: float) -> bool:
        """Whether a row that ends at `end_s`, later than it should, meets its own limit all the same."""
        return row in self.soft_deadlines and end_s <= self.soft_deadlines[row] + EPSILON_S

    def holding(self, held: Ints) -> "PlanningProblem":
        """Return the same problem with so many GPUs, by pool and cell, kept for others wherever limits allow."""
        lines = [line.holding(self.knots_s, own) for line, own in zip(self.taken, held, strict=True)]
        return replace(self, taken=tuple(lines), is_holding=True) if held.any() else self

    def is_pressed(self, row: int) -> bool:
        """Whether a row is to start as soon as it can, as its user asked or because others kept it waiting."""
        return self.jobs[row].spec.start_now or row in self.slipped

    def holding_beside(self, places: Iterable[tuple[int, int, Spans]]) -> "PlanningProblem":
        """Return the same problem with GPUs held for slipped rows beside these rows, in their pools and intervals."""
        taken, demands = tuple(line.copy() for line in self.unheld), self.rows.demands
        beside = [(pool, span, int(demands.units[row])) for row, pool, spans in places for span in spans]
        for pool, span, units in beside:
            taken[pool].reserve(*span, units)
        kept = {row: demands.pools[row] for row in self.running}
        hold_for_slipped(taken, self.slipped, demands, kept, self.now_s, self.available)
        for pool, span, units in beside:
            taken[pool].reserve(*span, -units)
        loose = None if self.unpinned is None else replace(self.unpinned, taken=taken)
        return replace(self, taken=taken, unpinned=loose)

    def not_before(self, starts_s: Mapping[int, float]) -> "PlanningProblem":
        """Return the same problem in which these rows may start at these instants, in epoch seconds, at the soonest."""
        demands, release_s = self.rows.demands, self.rows.demands.release_s.copy()
        for row, start_s in starts_s.items():
            release_s[row] = max(release_s[row], start_s)
        if (release_s == demands.release_s).all():
            return self
        moved = replace(demands, release_s=release_s, latest_s=np.maximum(demands.latest_s, release_s))
        rows = Candidates.of(moved, self.knots_s, self.intensity, without=self.flexible)
        return replace(self, rows=rows)

    @property
    def tied(self) -> frozenset[int]:
        """The rows that come after others, and those others."""
        return frozenset(self.after).union(*self.after.values())

    def in_one_piece(self) -> "PlanningProblem":
        """Return the same problem in which no job is suspended: what runs goes on."""
        demands = self.rows.demands
        latest_s = demands.latest_s.copy()
        runs = sorted(self.running & self.flexible.keys())
        latest_s[runs] = demands.release_s[runs]
        rows = Candidates.of(replace(demands, latest_s=latest_s), self.knots_s, self.intensity)
        return replace(self, rows=rows, flexible={}, unpinned=None)

    @property
    def free(self) -> Floats:
        """The mean number of free units by pool and cell."""
        return np.array(
            [pool.units - line.means(self.knots_s) for pool, line in zip(self.pools, self.taken, strict=True)]
        )


def planning_problem(situation: Situation, jobs: Sequence[Job], intensity: Series) -> PlanningProblem:
    """Put jobs that each fit into some pool, and an intensity that may be empty, into numbers.

    The rows are `jobs`, and then the jobs that run and may be suspended.
    """
    pools = pools_of(situation)
    running = dict(enumerate(situation.running, len(jobs)))
    rows = (*jobs, *(run.job for run in situation.running))
    after = _after(jobs, rows, situation)
    unpinned, own_s = _demands(situation, rows, running, pools, after)
    overdue = tuple(_is_overdue(situation, job) for job in rows)
    held = pins(jobs, situation, unpinned.length_s.tolist())
    last_come = {row for row in held if overdue[row]}
    latest_s = pinned(unpinned, held, last_come, after) if held else unpinned.latest_s
    demands = replace(unpinned, latest_s=latest_s)
    knots_s, curves = _knots(situation.now.timestamp(), (demands, unpinned), intensity), intensity.curves
    flexible = _flexible(situation, rows, running, demands, own_s, intensity)
    taken = tuple(timelines(situation, pools))
    available = tuple(pool.units - sum(device in situation.elsewhere for device in pool.devices) for pool in pools)
    out_of_reach = _out_of_reach(demands, running, available, after)
    soft_deadlines = {row: own_s[row] + demands.length_s[row] for row in _earlier(demands, own_s)}
    made = PlanningProblem(
        now_s=situation.now.timestamp(),
        jobs=rows,
        pools=pools,
        taken=taken,
        unheld=taken,
        slipped=tuple(_slipped(jobs, situation, out_of_reach)),
        available=available,
        out_of_reach=out_of_reach,
        intensity=intensity,
        integral=PiecewiseLinear(curves[0], curves[1]),
        covered=PiecewiseLinear(curves[0], curves[2]),
        knots_s=knots_s,
        overdue=overdue,
        rows=Candidates.of(demands, knots_s, intensity, without=flexible),
        running=frozenset(running),
        flexible=flexible,
        limits=tuple(
            0
            if row in out_of_reach
            else BEHIND
            if row in last_come
            else max(_weight(job) * (not overdue[row]), BEHIND * (row in soft_deadlines))
            for row, job in enumerate(rows)
        ),
        after=after,
        soft_deadlines=soft_deadlines,
        start_thresholds={
            row: threshold
            for row, job in enumerate(jobs)
            if any(threshold := _start_threshold(job, situation, demands.watts[row]))
        }
        | dict.fromkeys(last_come, AT_ONCE),
    )
    made = made.holding_beside(()) if made.slipped else made
    if not held:
        return made
    flexible = _flexible(situation, rows, running, unpinned, own_s, intensity)
    loose = Candidates.of(unpinned, knots_s, intensity, without=flexible)
    return replace(made, unpinned=replace(made, rows=loose, flexible=flexible))


def _out_of_reach(
    demands: Demands, running: Collection[int], available: Sequence[int], after: Mapping[int, tuple[int, ...]]
) -> frozenset[int]:
    """Return the queued rows that need units which somebody outside this daemon holds, and all that come after them."""
    most = [max((available[pool] for pool in own), default=0) for own in demands.pools]
    found = {row for row, units in enumerate(demands.units) if row not in running and units > most[row]}
    for row in in_order(range(len(demands)), after) if found else ():
        found |= {row} if found.intersection(after.get(row, ())) else set()
    return frozenset(found)


def _slipped(jobs: Sequence[Job], situation: Situation, but: Collection[int]) -> list[int]:
    """Return the rows that others kept waiting, first come first; none while one of higher priority is to start.

    Those in `but` cannot.
    """
    rows = ((row, job) for row, job in enumerate(jobs) if row not in but)
    free = [(row, job) for row, job in rows if not predecessors(job, situation.states)]
    first = max((job.spec.priority for _, job in free if job.spec.start_now), default=None)
    slipped = [
        row for row, job in free if (first is None or job.spec.priority >= first) and slipped_since(job, situation)
    ]
    return sorted(slipped, key=lambda row: (-jobs[row].spec.priority, jobs[row].submitted_at, jobs[row].id))


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
    latest = job.latest_start(situation.options.default_max_delay)
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
    )


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


def priced_cells(prices: ShadowPrices, problem: PlanningProblem) -> Floats:
    """Return last plan's prices on this problem's cells, shape (pools, cells), in g per GPU-second; 0 where unknown."""
    cells = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    middles = (problem.knots_s[1:] + problem.knots_s[:-1]) / 2
    for index, pool in enumerate(problem.pools):
        known = sorted((at.timestamp(), price) for (name, at), price in prices.items() if name == pool.name)
        if known:
            at_s, values = np.array(known).T
            where = at_s.searchsorted(middles, side="right") - 1
            cells[index] = np.where(where >= 0, values[where], 0.0) / 3600
    return cells


def named_prices(cells: Floats, problem: PlanningProblem) -> ShadowPrices:
    """Return prices as they are kept: by pool and instant from which they hold, in g per GPU-hour."""
    named: dict[tuple[str, datetime], float] = {}
    for pool, row in zip(problem.pools, cells, strict=True):
        if not row.any():
            continue
        turns = np.flatnonzero(np.concatenate([[True], np.diff(row) != 0]))
        at = [(problem.knots_s[turn], row[turn]) for turn in turns] + [(problem.knots_s[-1], 0.0)]
        named |= {(pool.name, datetime.fromtimestamp(at_s, UTC)): float(price) * 3600 for at_s, price in at}
    return named
