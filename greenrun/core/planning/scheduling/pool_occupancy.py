"""The places that rows have so far, and where others can still be put beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Timeline, copies, let_go
from greenrun.core.planning.piecewise import rise
from greenrun.core.planning.preemption.intervals import Interruptible, Spans
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import (
    SAME,
    Place,
    cheapest_intervals,
    cheapest_start,
    earliest_cheapest,
    first_least,
    rates_of,
)
from greenrun.core.planning.scheduling.valuation import Valuation
from greenrun.core.units import J_PER_KWH


class Occupancy:
    """Places of some of a problem's rows, what they are worth at given prices, and what is reserved of each pool.

    A row that waits for others has its place after theirs.
    """

    def __init__(self, problem: PlanningProblem, prices: Floats, costs: Floats) -> None:
        candidates = problem.rows
        demands = candidates.demands
        self._problem, self._candidates = problem, candidates
        self._after, self._flexible = problem.after, problem.flexible
        self._start_thresholds, self._now_s = problem.start_thresholds, problem.now_s
        self._is_holding = problem.is_holding
        self._first = candidates.first.tolist()
        self.value = Valuation(problem, prices, costs)
        self._length_s, self._units = self.value.length_s, self.value.units
        self._release_s, self._latest_s = demands.release_s.tolist(), self.value.latest_s
        self._curves = problem.intensity.curves
        self._knots_s = knots_s = candidates.knots_s
        self._is_covered = self._covered_rows()
        self._means = problem.intensity.means_between(knots_s[:-1], knots_s[1:]) if self._flexible else prices[:0]
        self._like = demands.alike or tuple(range(len(problem.pools)))
        self._kinds: dict[tuple[int, ...], Mapping[int, Sequence[int]]] = {}
        self._mw = _needs_mw(problem)
        self.pools = copies(problem.taken)
        stops = any(job.must_stop_by(np.inf) for job in self._flexible.values())
        self._may_be_in_parts = stops or (bool(self._flexible) and self.pools[0].power is not None)
        self.places: dict[int, Place] = {}

    def _covered_rows(self) -> list[bool]:
        """Tell of each row whether the intensity is known from its earliest start to its latest end, without a hole."""
        demands, (knots_s, _, covered) = self._candidates.demands, self._curves
        if not len(knots_s):
            return [False] * len(demands)
        ends_s = demands.latest_s + demands.length_s
        known_s = rise(demands.release_s, ends_s, knots_s, covered)
        return [bool(known) for known in known_s >= ends_s - demands.release_s - EPSILON_S]

    def cheapest(self, row: int) -> Place | None:
        """Return the cheapest free place of a row within its limits, if there is one."""
        if row in self._flexible:
            return self._cheapest_flexible(row, self._flexible[row])
        if row in self._after or row in self.value.costs_to_go:
            return self._cheapest_whole(row)
        low, high = self._first[row], self._first[row + 1]
        if low == high:
            return None
        best = self.value.best_of(row)
        kinds, line_of, units = self._pools_by_kind(row), self.pools, self._units[row]
        end_s = best.start_s + self._length_s[row]
        for like in kinds[best.pool]:
            if line_of[like].is_free(best.start_s, end_s, units, self._mw[like][row]):
                return best if like == best.pool else replace(best, pool=like)
        places = [self._cheapest_in(row, like, low, high) for like in kinds.values()]
        return earliest_cheapest([place for place in places if place])

    def _cheapest_anyhow(self, row: int) -> Place | None:
        """Return the cheapest place as if nothing were held."""
        holding = self.pools
        self.pools = let_go(holding)
        found = self.cheapest(row)
        self.pools = holding
        return found

    def _pools_by_kind(self, row: int) -> Mapping[int, Sequence[int]]:
        """Return the pools with enough units that a row may use, those that are alike together, by the first such."""
        own = self._candidates.demands.pools[row]
        if own not in self._kinds:
            kinds: dict[int, list[int]] = {}
            for pool in own:
                kinds.setdefault(self._like[pool], []).append(pool)
            self._kinds[own] = kinds
        return self._kinds[own]

    def _cheapest_in(self, row: int, pools: Sequence[int], low: int, high: int) -> Place | None:
        """Weigh the candidates that are free in one of these like pools, and the starts beside what is reserved."""
        units, length_s, mine = self._units[row], self._length_s[row], slice(low, high)
        pools = [pool for pool in pools if units <= self.pools[pool].units]
        if not pools:
            return None
        starts_s, costs = self._candidates.starts_s[mine], self.value.costs[mine]
        if len(self.pools) > 1 and len(self._candidates.demands.pools[row]) > 1:
            listed = self._candidates.pool[mine] == self._like[pools[0]]
            starts_s, costs, at = starts_s[listed], costs[listed], low + listed.nonzero()[0]
        else:
            at = None
        frees, besides_s = [], []
        for pool in pools:
            free, beside_s = self.pools[pool].starts(starts_s, length_s, units, self._mw[pool][row])
            frees.append(free)
            besides_s.append(beside_s)
        is_free = frees[0] if len(frees) == 1 else np.logical_or.reduce(frees)
        found = np.where(is_free, costs, np.inf)
        best, place = first_least(found), None
        if found[best] < np.inf:
            pool = next(pool for pool, free in zip(pools, frees, strict=True) if free[best])
            nth, cost = low + best if at is None else int(at[best]), float(costs[best])
            place = Place(float(starts_s[best]), pool, float(self._candidates.grams[nth]), cost, False)
        beside_s = besides_s[0] if len(besides_s) == 1 else np.concatenate(besides_s)
        inside = ((beside_s > self._release_s[row]) & (beside_s < self._latest_s[row])).nonzero()[0]
        if not len(inside):
            return place
        beside_s = beside_s[inside]
        if len(pools) > 1:
            order = beside_s.argsort(kind="stable")  # of equals those of the first pool come first
            inside, beside_s = inside[order], beside_s[order]
        start_s = self._cheapest_beside(row, pools[0], beside_s, starts_s, costs)
        if start_s is None:
            return place
        up_to = np.cumsum([len(own_s) for own_s in besides_s])
        pool = pools[int(up_to.searchsorted(inside[beside_s.searchsorted(start_s)], "right"))]
        other = self.value.place_at(row, start_s, pool)
        return earliest_cheapest([place, other] if place else [other])

    def _cheapest_beside(self, row: int, pool: int, beside_s: Floats, starts_s: Floats, costs: Floats) -> float | None:
        """Return the first of the cheapest of some starts in order; None where the intensity is not known for any.

        `starts_s` and `costs` are the row's candidates in the pool: between them costs are linear (candidates.py).
        """
        if self._is_covered[row]:
            return float(beside_s[first_least(np.interp(beside_s, starts_s, costs))])
        return cheapest_start(beside_s, self.value.priced(row, beside_s, pool))

    def _cheapest_flexible(self, row: int, job: Interruptible) -> Place | None:
        """Weigh the cheapest cells against runs in one piece, which need not begin or end at a cell's border."""
        found = self._suspended(row, job)
        if job.is_running:
            return found
        return earliest_cheapest([place for place in (found, self._cheapest_whole(row)) if place])

    def _cheapest_whole(self, row: int) -> Place | None:
        """Return the cheapest free place of a row in one piece, be it among its candidates or not."""
        whole = [self._whole_in(pool, row) for pool in self._candidates.demands.pools[row]]
        return earliest_cheapest([place for place in whole if place])

    def _whole_in(self, pool: int, row: int) -> Place | None:
        length_s, low, high, line = self._length_s[row], self._ready_s(row), self._latest_s[row], self.pools[pool]
        ahead = self.value.costs_to_go.get(row, ())
        units, mw = self._units[row], self._mw[pool][row]
        borders = np.concatenate([self._knots_s, *line.blocked(units, mw)])
        starts_s = np.concatenate(
            [borders, borders - length_s, [low, high], *(rest.starts_s - length_s for rest in ahead)]
        )
        starts_s = np.unique(starts_s[(starts_s >= low) & (starts_s <= high)])
        starts_s = starts_s[line.fits(starts_s, length_s, units, mw)]
        costs = self.value.priced(row, starts_s, pool) if len(self._curves[0]) else np.full(len(starts_s), np.nan)
        for rest in ahead:
            costs += rest.at(starts_s + length_s)
        start_s = cheapest_start(starts_s, costs)
        return None if start_s is None else self.value.place_at(row, start_s, pool)

    def _suspended(self, row: int, job: Interruptible) -> Place | None:
        """Return the cheapest free intervals of a row that may be suspended."""
        pools = self._candidates.demands.pools[row]
        lines, ready_s = [self.pools[pool] for pool in pools], self._ready_s(row)
        watts, means = self.value.watts[row] * J_PER_KWH, self._means
        rates = [rates_of(means, watts, self.value.prices[pool], job.units) for pool in pools]
        needs_mw = [self._mw[pool][row] for pool in pools]
        found = cheapest_intervals(job, pools, self._knots_s, rates, lines, ready_s, needs_mw)
        if found is None:
            return None
        grams = self.value.emitted(row, found.spans)
        return Place(found.spans[0][0], found.pool, grams, found.cost, False, pieces=found.spans)

    def _in_best_cells(self, row: int, job: Interruptible) -> Place | None:
        """Return the cheapest free place of a row among those that begin and end at the borders of its cells."""
        options = []
        for pool in self._candidates.demands.pools[row] if len(job.edges_s) else ():
            paid = rise(job.edges_s[:-1], job.edges_s[1:], self._knots_s, self.value.spent[pool]) * job.units
            is_ready = job.edges_s[:-1] >= self._ready_s(row) - EPSILON_S
            free = job.free_in(self.pools[pool], self._mw[pool][row]) & is_ready
            if found := job.cheapest(paid, free):
                grams = self.value.emitted(row, found[1])
                options.append(Place(found[1][0][0], pool, grams, found[0], False, pieces=found[1]))
        return earliest_cheapest(options)

    def _worth_it(self, row: int, found: Place) -> Place:
        """Return the soonest place instead when it is clean enough, or waiting does not gain enough."""
        run_below_g, min_ratio = self._start_thresholds[row]
        soonest = self.soonest(row)
        if soonest.grams <= run_below_g * SAME and soonest.known:
            return replace(soonest, why=ReasonCode.CLEAN_ENOUGH)
        gains = found.grams <= (1 - min_ratio) * soonest.grams * SAME or not (soonest.known and found.known)
        if gains or soonest.start_s >= found.start_s:
            return found
        return replace(soonest, why=ReasonCode.NOT_WORTH_WAITING, waiting_g=found.grams)

    def _pair_in(self, pool: int, first: int, second: int) -> tuple[Place, Place] | None:
        length_s, after_s, line = self._length_s[first], self._length_s[second], self.pools[pool]
        low = max(self._release_s[first], self._release_s[second] - length_s)
        high = min(self._latest_s[first], self._latest_s[second] - length_s)
        first_mw, second_mw = self._mw[pool][first], self._mw[pool][second]
        larger = max(self._units[first], self._units[second]), max(first_mw, second_mw)
        borders = np.concatenate([self._knots_s, *line.blocked(*larger)])
        starts_s = np.concatenate([borders, borders - length_s, borders - length_s - after_s, [low, high]])
        starts_s = np.unique(starts_s[(starts_s >= low) & (starts_s <= high)])
        starts_s = starts_s[line.fits(starts_s, length_s, self._units[first], first_mw)]
        starts_s = starts_s[line.fits(starts_s + length_s, after_s, self._units[second], second_mw)]
        costs = self.value.priced(first, starts_s, pool) + self.value.priced(second, starts_s + length_s, pool)
        start_s = cheapest_start(starts_s, costs)
        if start_s is None:
            return None
        return self.value.place_at(first, start_s, pool), self.value.place_at(second, start_s + length_s, pool)

    def latest(self, row: int) -> Place | None:
        """Return the last free place inside the row's limits, whatever it emits; None when there is none."""
        ready_s, latest_s, length_s = self._ready_s(row), self._latest_s[row], self._length_s[row]
        found = [
            (start_s, -pool)
            for pool in self._candidates.demands.pools[row]
            if (start_s := self._last_fit(row, pool, ready_s, latest_s, length_s)) is not None
        ]
        if not found:
            return None
        start_s, pool = max(found)
        return self.value.place_at(row, start_s, -pool)

    def _last_fit(self, row: int, pool: int, ready_s: float, latest_s: float, length_s: float) -> float | None:
        return self.pools[pool].last_fit(ready_s, latest_s, length_s, self._units[row], self._mw[pool][row])

    def soonest(self, row: int) -> Place:
        """Return the first free place, whatever it emits, and be it held for others."""
        ready_s = self._ready_s(row)
        place = self.value.place_at(row, *self._soonest(row, ready_s))
        job = self._flexible.get(row)
        if job is None or not self._may_be_in_parts:
            return place
        if not job.must_stop_by(self._end_s(row, place)) and not self._lacks_power(row, place, ready_s):
            return place
        parts = self._soonest_in_parts(row, job, ready_s)
        is_sooner = parts is not None and self._end_s(row, parts) < self._end_s(row, place) - EPSILON_S
        return parts if parts and (job.is_running or is_sooner) else place

    def _lacks_power(self, row: int, place: Place, ready_s: float) -> bool:
        """Whether a row could start before its soonest place if there were power enough: else a cap changes nothing."""
        lines = let_go(self.pools) if self._is_holding else self.pools
        length_s, units = self._length_s[row], self._units[row]
        found = (lines[pool].first_fit(ready_s, length_s, units) for pool in self._candidates.demands.pools[row])
        return any(start_s is not None and start_s < place.start_s - EPSILON_S for start_s in found)

    def _soonest_in_parts(self, row: int, job: Interruptible, ready_s: float) -> Place | None:
        """Return the place of a row that is suspended wherever others leave it no GPUs or no power."""
        lines = let_go(self.pools) if self._is_holding else self.pools
        found = [
            (spans[-1][1], pool, spans)
            for pool in self._candidates.demands.pools[row]
            if (spans := job.soonest(job.blocked_in(lines[pool], self._mw[pool][row]), ready_s))
        ]
        if not found:
            return None
        _, pool, spans = min(found)
        return self._in_parts(row, job, pool, spans)

    def _in_parts(self, row: int, job: Interruptible, pool: int, spans: Spans) -> Place:
        grams, is_late = self.value.emitted(row, spans), spans[-1][1] > job.deadline_s + EPSILON_S
        known = all(self.value.is_known(*span) for span in spans)
        place = Place(spans[0][0], pool, grams, grams, is_late, pieces=spans, known=known)
        return replace(place, cost=grams + self.value.spent_on(row, place))

    def _soonest(self, row: int, ready_s: float) -> tuple[float, int]:
        lines = let_go(self.pools) if self._is_holding else self.pools
        found = [
            (start_s, pool)
            for pool in self._candidates.demands.pools[row]
            if (start_s := self._first_fit(lines[pool], row, pool, ready_s)) is not None
        ]
        return min(found)

    def _first_fit(self, line: Timeline, row: int, pool: int, ready_s: float) -> float | None:
        return line.first_fit(ready_s, self._length_s[row], self._units[row], self._mw[pool][row])

    def fits_in(self, row: int, pool: int, spans: Spans) -> Place | None:
        """Return the place of a row in intervals that it had before; None when they do not suit it any more."""
        units, line, job = self._units[row], self.pools[pool], self._flexible.get(row)
        if not self.places.keys() >= set(self._after.get(row, ())) or not self._suits(row, pool, spans):
            return None
        mw, goes_on_s = self._mw[pool][row], job.goes_on_s if job else -np.inf
        if not all(_is_free(line, start_s, end_s, units, mw, goes_on_s) for start_s, end_s in spans):
            return None
        if job is None:
            return self.value.place_at(row, spans[0][0], pool)
        return self._in_parts(row, job, pool, spans)

    def _suits(self, row: int, pool: int, spans: Spans) -> bool:
        """Whether a row may run in these intervals if the GPUs are free; what it waits for has its place."""
        if pool not in self._candidates.demands.pools[row] or self._units[row] > self.pools[pool].units:
            return False
        job = self._flexible.get(row)
        return spans[0][0] >= self._ready_s(row) - EPSILON_S and (
            job.suits(spans) if job else self._is_to_come(row, spans)
        )

    def _is_to_come(self, row: int, spans: Spans) -> bool:
        """Whether a place in one piece begins later, or begins now and is as long as the row."""
        begin_s, end_s = spans[0]
        lasts = abs(end_s - begin_s - self._length_s[row]) <= EPSILON_S
        return len(spans) == 1 and (begin_s > self._now_s or (begin_s == self._now_s and lasts))

    def _end_s(self, row: int, place: Place) -> float:
        return float(place.pieces[-1][1] if place.pieces else place.start_s + self._length_s[row])

    def _ready_s(self, row: int) -> float:
        """Return the first instant at which a row may start, beside the places of the rows that it waits for."""
        ends_s = [self._end_s(other, self.places[other]) for other in self._after.get(row, ())]
        return float(max([self._release_s[row], *ends_s]))


def _needs_mw(problem: PlanningProblem) -> list[list[int]]:
    """Return what each row draws of the site's power, by pool and row."""
    own = problem.rows.demands.mw
    if own is not None:
        found: list[list[int]] = own.tolist()
        return found
    return [[0] * len(problem.jobs)] * len(problem.pools)


def _is_free(line: Timeline, start_s: float, end_s: float, units: int, mw: int, goes_on_s: float) -> bool:
    """Tell whether units are free over an interval, and power from `goes_on_s` on."""
    if goes_on_s == -np.inf or line.power is None:
        return line.is_free(start_s, end_s, units, mw)
    from_s = max(start_s, goes_on_s)
    return line.is_free(start_s, end_s, units) and (end_s <= from_s or line.power.is_free(from_s, end_s, mw))
