"""The planning problem in numbers: what is to be placed, between which limits, on how many GPUs, at what intensity."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from greenrun.core.carbon.intensity import UNCOVERED_S, Floats, Series
from greenrun.core.jobs.job import Job
from greenrun.core.planning.candidates import Candidates, Ints
from greenrun.core.planning.capacity import Pool
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Timeline, copies, drawing_on
from greenrun.core.planning.model import Interval
from greenrun.core.planning.piecewise import PiecewiseLinear, rise
from greenrun.core.planning.precedence.fair_share import Standing
from greenrun.core.planning.preemption.intervals import Interruptible, Spans
from greenrun.core.planning.reservation import hold_for_slipped

BEHIND = 1  # the weight of starting later than the margin asks for, while the job's own limit is still met
LIMIT = 1000 * BEHIND
PROMISED = 1000 * LIMIT  # a finish-by was accepted at submission: it counts for more than any number of other limits


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

    Of rows that compete the one of higher `precedence` goes first; those `later` have no turn yet by fair share.
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
    `standing` is that of the rows' accounts; None where nothing is shared. `has` names the GPUs of rows that run.
    """

    now_s: float
    jobs: tuple[Job, ...]
    precedence: tuple[int, ...]
    later: frozenset[int]
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
    standing: Standing | None = None
    has: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

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
        if not held.any():
            return self
        lines = [line.holding(self.knots_s, own) for line, own in zip(self.taken, held, strict=True)]
        if (power := self.taken[0].power) is not None:
            own = (held * self._mw_per_unit(np.mean)[:, None]).sum(axis=0).astype(np.int64)
            drawing_on(power.holding(self.knots_s, own), lines)
        return replace(self, taken=tuple(lines), is_holding=True)

    def _mw_per_unit(self, of: Callable[[Floats], float]) -> Floats:
        """Return the mean, or least, power that a GPU of each pool draws under the rows that may use it: (pools,)."""
        demands = self.rows.demands
        found = np.zeros(len(self.pools))
        for pool in range(len(self.pools)):
            rows = [row for row, own in enumerate(demands.pools) if pool in own]
            if rows and demands.mw is not None:
                found[pool] = of(demands.mw[pool, rows] / demands.units[rows])
        return found

    def is_pressed(self, row: int) -> bool:
        """Whether a row is to start as soon as it can, as its user asked or because others kept it waiting."""
        return self.jobs[row].spec.start_now or row in self.slipped

    def holding_beside(self, places: Iterable[tuple[int, int, Spans]]) -> "PlanningProblem":
        """Return the same problem with GPUs held for slipped rows beside these rows, in their pools and intervals."""
        taken, demands = tuple(copies(self.unheld)), self.rows.demands
        beside = [
            (pool, span, int(demands.units[row]), demands.of_power(row, pool))
            for row, pool, spans in places
            for span in spans
        ]
        for pool, span, units, mw in beside:
            taken[pool].reserve(*span, units, mw)
        kept = {row: demands.pools[row] for row in self.running}
        hold_for_slipped(taken, self.slipped, demands, kept, self.now_s, self.available)
        for pool, span, units, mw in beside:
            taken[pool].reserve(*span, -units, -mw)
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
        """The mean number of free units by pool and cell; no more than the site's power is enough for.

        That is so if each draws no more than the one that draws least, which no plan can pass: the bound stays one.
        """
        found = np.array(
            [pool.units - line.means(self.knots_s) for pool, line in zip(self.pools, self.taken, strict=True)]
        )
        power = self.taken[0].power
        if power is None:
            return found
        least_mw = self._mw_per_unit(np.min).astype(np.int64)
        for pool, mw in enumerate(least_mw.tolist()):
            if mw > 0:
                units = self.pools[pool].units
                found[pool] = np.minimum(found[pool], units - power.short(mw, units, self.knots_s))
        return found
