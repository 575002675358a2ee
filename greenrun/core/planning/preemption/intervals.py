"""Interruptible jobs in seconds: what they still need, in which intervals they may run, and what that emits."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from greenrun.core.carbon.intensity import Floats, Series
from greenrun.core.planning.gpu_timelines.grouped_timeline import CUT_S
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Blocked, Timeline, either
from greenrun.core.planning.preemption.placing import Terms, spans_around
from greenrun.core.planning.preemption.table import Cells, Shape, cheapest_cells

Spans = tuple[tuple[float, float], ...]  # half-open intervals in epoch seconds
FINEST = 12  # a slot is cut into at most so many cells
WRITTEN_S = 3e-6  # an instant is written to the microsecond, so an interval is off by two at most
COARSEST = 4  # ... and into at least so many where neither restarts nor lengths follow the slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptible:
    """One interruptible row: it still has to run for `length_s` from `release_s` on, and to end by `deadline_s`.

    `edges_s` are the borders of the cells, the first of which is the rest of the slot that has begun; `grams` what
    running over each emits, NaN where that is not known. `forced_s` is how long it must go on if it `is_running`, and
    `stops_s` from when on GPUs that it has then are reserved for people.
    """

    release_s: float
    length_s: float
    deadline_s: float
    min_run_s: float
    restart_s: float
    is_running: bool
    forced_s: float
    units: int
    edges_s: Floats
    grams: Floats
    step_s: float
    stops_s: float = np.inf

    def must_stop_by(self, end_s: float) -> bool:
        """Whether it cannot go on to this instant on the GPUs that it has: people come to work there."""
        return self.is_running and self.stops_s < end_s - EPSILON_S and self.goes_on_s <= self.stops_s

    def blocked_in(self, timeline: Timeline, mw: int = 0) -> Blocked:
        """Return when its GPUs, and so much of the site's power, cannot be had; an instant where it has to stop."""
        blocked = timeline.blocked(self.units, mw, self.goes_on_s)
        if not self.must_stop_by(np.inf):
            return blocked
        return either(blocked, (np.array([self.stops_s - CUT_S]), np.array([self.stops_s])))

    @property
    def goes_on_s(self) -> float:
        """The instant before which it cannot be suspended, since it runs; long ago where it can be now."""
        return self.release_s + self.forced_s if self.is_running and self.forced_s > EPSILON_S else -np.inf

    @property
    def is_divisible(self) -> bool:
        """Whether it can be suspended at all before it is done."""
        return (self.forced_s if self.is_running else self.min_run_s) < self.length_s - EPSILON_S

    @property
    def gains(self) -> bool:
        """Whether suspending it can be worth its while: a restart that takes as long as all of it never is."""
        return self.is_running or (self.is_divisible and self.restart_s < self.length_s)

    @property
    def ends_s(self) -> float:
        """The last instant at which it may run: its deadline, or when it ends at the soonest if that is later."""
        return max(self.deadline_s, self.release_s + self.length_s)

    def cheapest(self, spent: Floats, free: np.ndarray) -> tuple[float, Spans] | None:
        """Return the least cost and the intervals to run in; None when the work does not fit.

        `spent` and `free`, shape (cells,): what the GPUs cost over each cell, in g, and whether they can be had.
        """
        if len(self.edges_s) < 2:
            return None
        costs = np.where(free & ~np.isnan(self.grams), self.grams + spent, np.inf)
        spent_up_to = np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(costs), costs, 0.0))])
        options = [
            (float(np.diff(np.interp(spans, self.edges_s, spent_up_to)).sum()), spans)
            for spans in (self._going_on(costs), self._waiting(costs))
            if spans
        ]
        return min(options, key=lambda option: option[0], default=None)  # the first of equals: rather now than later

    def suits(self, spans: Spans) -> bool:
        """Tell whether these intervals are just what it still needs."""
        goes_on = self.is_running and spans[0][0] <= self.release_s + EPSILON_S
        if self.is_running and self.forced_s > EPSILON_S and not goes_on:
            return False
        if goes_on and self.must_stop_by(spans[0][1]):
            return False
        restarts = len(spans) - 1 + (self.is_running and not goes_on)
        total_s = sum(end_s - start_s for start_s, end_s in spans)
        return abs(total_s - self.length_s - restarts * self.restart_s) <= WRITTEN_S * len(spans)

    def _going_on(self, costs: Floats) -> Spans | None:
        """Run in the first cell, and then as is best."""
        width_s = self.edges_s[1] - self.edges_s[0]
        if not np.isfinite(costs[0]):
            return None
        left_s = self.length_s - width_s
        if left_s <= EPSILON_S:
            return ((self.edges_s[0], self.edges_s[0] + self.length_s),)
        must_s = self.forced_s if self.is_running else self.min_run_s
        shape = self._shape(left_s, running=True, forced=self._cells(must_s - width_s))
        found = cheapest_cells(costs[1:], shape)
        return found and self._intervals([(0, 1), *_shifted(found[1])])

    def _waiting(self, costs: Floats) -> Spans | None:
        """Do not run in the first cell, which a job that must go on for a while cannot choose."""
        if self.is_running and self.forced_s > EPSILON_S:
            return None
        found = cheapest_cells(costs[1:], self._shape(self.length_s, running=False, forced=0))
        return found and self._intervals(_shifted(found[1]))

    def _shape(self, left_s: float, *, running: bool, forced: int) -> Shape:
        return Shape(
            work=max(1, self._cells(left_s)),
            min_run=max(1, self._cells(self.min_run_s)),
            restart=self._cells(self.restart_s),
            begun=self.is_running and not running,
            running=running,
            forced=forced,
        )

    def _cells(self, seconds: float) -> int:
        return max(0, ceil(seconds / self.step_s - 1e-9))

    def _intervals(self, cells: Cells) -> Spans:
        """Return the intervals, without what rounding up to whole cells left over at their end."""
        runs: list[list[float]] = []
        for begin, end in cells:
            if runs and runs[-1][1] >= self.edges_s[begin] - EPSILON_S:
                runs[-1][1] = float(self.edges_s[end])
            else:
                runs.append([float(self.edges_s[begin]), float(self.edges_s[end])])
        goes_on = self.is_running and cells[0][0] == 0
        restarts = len(runs) - 1 + (self.is_running and not goes_on)
        over_s = sum(end - begin for begin, end in runs) - self.length_s - restarts * self.restart_s
        while over_s > EPSILON_S:
            cut_s = min(over_s, runs[-1][1] - runs[-1][0])
            over_s, runs[-1][1] = over_s - cut_s, runs[-1][1] - cut_s
            if runs[-1][1] - runs[-1][0] <= EPSILON_S:
                runs.pop()
        return tuple((begin, end) for begin, end in runs)

    def soonest(self, blocked: tuple[Floats, Floats], ready_s: float) -> Spans | None:
        """Return the intervals in which it runs if it is suspended only where it must be: where it is `blocked`.

        None where it cannot be suspended in time.
        """
        begins_s = max(self.release_s, ready_s)
        is_running = self.is_running and begins_s <= self.release_s + EPSILON_S
        terms = Terms(self.length_s, self.min_run_s, self.restart_s, is_running, self.forced_s, begins_s)
        return spans_around(blocked, terms)

    def free_in(self, timeline: Timeline, mw: int = 0) -> np.ndarray:
        """Tell for each cell whether the GPUs, and so much of the site's power, can be had over all of it."""
        begins, ends = self.blocked_in(timeline, mw)
        if self.units > timeline.units:
            return np.zeros(len(self.grams), bool)
        following = ends.searchsorted(self.edges_s[:-1] + EPSILON_S, side="right")
        return np.asarray(np.append(begins, np.inf)[following] >= self.edges_s[1:] - EPSILON_S)


def cells_of(release_s: float, deadline_s: float, intensity: Series, step_s: float) -> tuple[Floats, Floats]:
    """Return the borders of the cells from the release to the deadline, aligned to the slots, and g/kWh x s over each.

    Where nothing is known, or less than a cell is left, there are none. They end where the intensities do: a deadline
    may be a century away.
    """
    if not len(intensity) or deadline_s <= release_s + EPSILON_S:
        return np.zeros(0), np.zeros(0)
    origin_s, deadline_s = float(intensity.starts_s[0]), min(deadline_s, float(intensity.ends_s[-1]))
    first = np.floor((release_s - origin_s) / step_s + 1e-9) + 1
    last = np.floor((deadline_s - origin_s) / step_s + 1e-9)
    if last < first:
        return np.zeros(0), np.zeros(0)
    edges_s = np.concatenate([[release_s], origin_s + np.arange(first, last + 1) * step_s])
    means = intensity.means_between(edges_s[:-1], edges_s[1:])
    return edges_s, means * np.diff(edges_s)


def step_for(slot_s: float, length_s: float, restart_s: float) -> float:
    """Return the length of a job's cells: whole slots where they are exact, else fine enough for restarts."""
    if not restart_s and abs(length_s / slot_s - round(length_s / slot_s)) < 1e-9:
        return slot_s
    parts = ceil(slot_s / restart_s) if restart_s else COARSEST
    return slot_s / min(FINEST, max(COARSEST, parts))


def _shifted(cells: Cells) -> Cells:
    return [(begin + 1, end + 1) for begin, end in cells]
