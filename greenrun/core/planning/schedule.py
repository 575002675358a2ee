"""Plans that fit: jobs put one by one at their cheapest free start, and a few taken out and put back to do better."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from greenrun.core.carbon.intensity import UNCOVERED_S, Floats
from greenrun.core.jobs.dependencies import in_order
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.capacity import EPSILON_S, Timeline
from greenrun.core.planning.costing import (
    SAME,
    Place,
    cheapest_intervals,
    cheapest_start,
    earliest_cheapest,
    first_least,
    rates_of,
)
from greenrun.core.planning.lagrangian import spendings
from greenrun.core.planning.preemption.intervals import Interruptible, Spans
from greenrun.core.planning.problem import BEHIND, PiecewiseLinear, PlanningProblem, rise
from greenrun.core.units import J_PER_KWH


@dataclass(frozen=True, slots=True, kw_only=True)
class CostToGo:
    """What a row, and all that comes after it, cost at least from an instant on, as if all GPUs were free."""

    starts_s: Floats
    least: Floats

    def at(self, ready_s: Floats) -> Floats:
        """Return the least cost from each of these instants on; past the last start it stays what it is there."""
        after = self.starts_s.searchsorted(ready_s - EPSILON_S)
        return np.asarray(self.least[np.minimum(after, len(self.least) - 1)])


def costs_to_go(problem: PlanningProblem, costs: Floats) -> dict[int, list[CostToGo]]:
    """Return by row what comes right after it, at what the candidate starts cost; rows without candidates count not."""
    rows, length_s = problem.rows, problem.rows.demands.length_s
    ahead: dict[int, list[CostToGo]] = {}
    for row in reversed(in_order(sorted(problem.tied), problem.after)):
        mine = slice(rows.first[row], rows.first[row + 1])
        starts_s, cost = rows.starts_s[mine], costs[mine].copy()
        if not len(starts_s):
            continue
        for rest in ahead.get(row, ()):
            cost += rest.at(starts_s + length_s[row])
        least = np.minimum.accumulate(cost[::-1])[::-1]
        for other in problem.after.get(row, ()):
            ahead.setdefault(other, []).append(CostToGo(starts_s=starts_s, least=least))
    return ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """What is reserved of each pool, where rows are, and the sums over all: what `Schedule` names."""

    pools: tuple[Timeline, ...]
    places: Mapping[int, Place]
    sums: tuple[float, float, int, float, int]


class Schedule:
    """Places of a problem's rows at given prices, changed in place.

    `grams` and `cost` (grams and what the GPUs cost) are the sums of all places, `missed` weighs the limits that are
    missed (`PlanningProblem.limits`), `late_s` adds up by how much, and `unknown` counts the places whose emissions are
    not known. A row that waits for others is put after them.
    """

    def __init__(self, problem: PlanningProblem, prices: Floats, costs: Floats) -> None:
        candidates = problem.rows
        self._problem, self._candidates = problem, candidates
        self._weight, self._meets_own_limit, self._after = problem.limits, problem.meets_own_limit, problem.after
        self._soft_deadlines, self._has_limit = problem.soft_deadlines, [job.has_limit for job in problem.jobs]
        self._start_thresholds, self._flexible, self._now_s = problem.start_thresholds, problem.flexible, problem.now_s
        self._first = candidates.first.tolist()
        demands = candidates.demands
        self._length_s, self._units = demands.length_s.tolist(), demands.units.astype(np.int64).tolist()
        self._release_s, self._latest_s = demands.release_s.tolist(), demands.latest_s.tolist()
        self._watts = (demands.watts / J_PER_KWH).tolist()
        self._curves = problem.intensity.curves
        self._integral, self._covered = problem.integral, problem.covered
        self._knots_s = knots_s = candidates.knots_s
        self._is_covered = self._covered_rows()
        self._means = problem.intensity.means_between(knots_s[:-1], knots_s[1:]) if self._flexible else prices[:0]
        self.pools = [line.copy() for line in problem.taken]
        self._like = demands.alike or tuple(range(len(self.pools)))
        self._kinds: dict[tuple[int, ...], Mapping[int, Sequence[int]]] = {}
        self._is_holding = problem.is_holding
        self._set_prices(prices, costs)
        self.places: dict[int, Place] = {}
        self.grams = self.cost = 0.0
        self.missed = self.unknown = 0
        self._late_s = 0.0

    def _set_prices(self, prices: Floats, costs: Floats) -> None:
        self._prices, self._costs = prices, costs
        self._costs_to_go = costs_to_go(self._problem, costs) if self._after else {}
        self._spent = spendings(prices, self._knots_s)
        self._spendings = [PiecewiseLinear(self._knots_s, spent) for spent in self._spent]
        self._best: dict[int, Place] = {}

    def _best_of(self, row: int) -> Place:
        """Return the place of the first of a row's cheapest candidates, of which it has some."""
        if not self._best:
            rows, first = self._candidates, self._candidates.first
            filled = np.diff(first).nonzero()[0]
            begins = first[filled]
            least = np.minimum.reduceat(self._costs, begins) * SAME
            hits = (self._costs <= np.repeat(least, np.diff(first)[filled])).nonzero()[0]
            best = hits[hits.searchsorted(begins)]
            columns = (rows.starts_s[best], rows.pool[best], rows.grams[best], self._costs[best])
            places = zip(*(column.tolist() for column in columns), strict=True)
            self._best = {
                own: Place(start_s, pool, grams, cost, False)
                for own, (start_s, pool, grams, cost) in zip(filled.tolist(), places, strict=True)
            }
        return self._best[row]

    def _covered_rows(self) -> list[bool]:
        """Tell of each row whether the intensity is known from its earliest start to its latest end, without a hole."""
        demands, (knots_s, _, covered) = self._candidates.demands, self._curves
        if not len(knots_s):
            return [False] * len(demands)
        ends_s = demands.latest_s + demands.length_s
        known_s = rise(demands.release_s, ends_s, knots_s, covered)
        return [bool(known) for known in known_s >= ends_s - demands.release_s - EPSILON_S]

    @classmethod
    def unpriced(cls, problem: PlanningProblem) -> "Schedule":
        """Begin a schedule in which only grams count."""
        prices = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
        return cls(problem, prices, problem.rows.grams)

    def twin(self) -> "Schedule":
        """Return an independent copy."""
        twin = Schedule.__new__(Schedule)
        twin.__dict__.update(self.__dict__)
        twin.restore(self.state())
        return twin

    def repriced(self, problem: PlanningProblem, prices: Floats, costs: Floats) -> "Schedule":
        """Return the same places, weighed at other prices; `problem` has the same rows, but may have less room."""
        twin = self.twin() if problem.taken is self._problem.taken else Schedule(problem, prices, costs)
        twin._set_prices(prices, costs)
        places = dict(zip(self.places, self._weighed(twin), strict=True))
        if twin.places:
            twin.places, twin.cost = places, sum(place.cost for place in places.values())
        else:
            for row, place in places.items():
                twin.put(row, place)
        return twin

    def _weighed(self, other: "Schedule") -> Iterator[Place]:
        """Yield the places as they are at the prices of another schedule."""
        whole = {row: place for row, place in self.places.items() if not place.pieces}
        rents = other._rents(
            list(whole), np.array([place.start_s for place in whole.values()]), [place.pool for place in whole.values()]
        )
        rent_of = dict(zip(whole, rents.tolist(), strict=True))
        for row, place in self.places.items():
            rent = rent_of[row] if row in rent_of else other.spent_on(row, place)
            yield place.costing(place.grams + rent)

    def _rents(self, rows: Sequence[int], starts_s: Floats, pools: Sequence[int]) -> Floats:
        """Return what the GPUs of rows in one piece cost that start then in these pools, in g: shape (n,)."""
        demands, own = self._candidates.demands, np.array(pools, dtype=np.int64)
        ends_s, spent = starts_s + demands.length_s[rows], np.zeros(len(rows))
        for pool in np.unique(own).tolist():
            mine = own == pool
            spent[mine] = rise(starts_s[mine], ends_s[mine], self._knots_s, self._spent[pool])
        return np.asarray(spent * demands.units[rows])

    def keep(self, kept: Mapping[int, tuple[int, Spans]]) -> None:
        """Put those of these rows in their pools and intervals that fit there, in order."""
        plain = not (self._after or self._flexible or not len(self._curves[0])) and len(kept) > 1
        for row, (pool, spans) in (self._kept_together(kept) if plain else kept).items():
            if place := self.fits_in(row, pool, spans):
                self.put(row, place)

    def _kept_together(self, kept: Mapping[int, tuple[int, Spans]]) -> Mapping[int, tuple[int, Spans]]:
        """Put rows, each in one piece, where all those of a pool fit beside each other; return the others."""
        rest = dict[int, tuple[int, Spans]]()
        by_pool: dict[int, list[int]] = {}
        for row, (pool, spans) in kept.items():
            if self._suits(row, pool, spans):
                by_pool.setdefault(pool, []).append(row)
        for pool, rows in by_pool.items():
            starts_s = np.array([kept[row][1][0][0] for row in rows])
            demands = self._candidates.demands
            line = self.pools[pool].taking(starts_s, starts_s + demands.length_s[rows], demands.units[rows])
            if line is None:
                rest |= {row: kept[row] for row in rows}
                continue
            self.pools[pool] = line
            for row, place in zip(rows, self._places_at(rows, starts_s, pool), strict=True):
                self._count(row, place)
        return rest

    def _places_at(self, rows: Sequence[int], starts_s: Floats, pool: int) -> list[Place]:
        """Return what `place_at` says of each of these rows."""
        demands, (knots_s, integral, covered) = self._candidates.demands, self._curves
        lengths_s = demands.length_s[rows]
        ends_s = starts_s + lengths_s
        grams = rise(starts_s, ends_s, knots_s, integral) * demands.watts[rows] / J_PER_KWH
        costs = grams + self._rents(rows, starts_s, [pool] * len(rows))
        late = starts_s > demands.latest_s[rows] + EPSILON_S
        known = rise(starts_s, ends_s, knots_s, covered) >= lengths_s - UNCOVERED_S
        columns = (starts_s, grams, costs, late, known)
        return [
            Place(start_s, pool, own_g, cost, is_late, known=is_known)
            for start_s, own_g, cost, is_late, is_known in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def spent_on(self, row: int, place: Place) -> float:
        """Return what the GPUs of a place cost, in g."""
        spent = self._spendings[place.pool]
        spans = place.pieces or ((place.start_s, place.start_s + self._length_s[row]),)
        return float(sum(spent.at(end_s) - spent.at(start_s) for start_s, end_s in spans) * self._units[row])

    def add(self, row: int) -> Place:
        """Put a row at its cheapest free start within its limits, else at the soonest after them.

        What is held for others is taken only where there is no other start within its limits.
        """
        found = self.cheapest(row)
        if found is None and self._is_holding:
            found = self._cheapest_anyhow(row)
        found = found or self.soonest(row)
        if row in self._start_thresholds:
            found = self._worth_it(row, found)
        self.put(row, found)
        return found

    def add_soonest(self, row: int) -> Place:
        """Put a row where it starts as soon as it can."""
        found = self.soonest(row)
        self.put(row, found)
        return found

    def add_pair(self, first: int, second: int) -> tuple[Place, Place] | None:
        """Put two rows one right after the other where both together are cheapest; None where they cannot be put."""
        alone = {first, second} & (self._flexible.keys() | self._start_thresholds.keys())
        if alone or any(self._first[row] == self._first[row + 1] for row in (first, second)):
            return None
        found = [
            pair
            for pool in self._candidates.demands.pools[first]
            if pool in self._candidates.demands.pools[second] and (pair := self._pair_in(pool, first, second))
        ]
        best = min(found, key=lambda pair: pair[0].cost + pair[1].cost, default=None)
        for row, place in zip((first, second), best or (), strict=False):
            self.put(row, place)
        return best

    def _pair_in(self, pool: int, first: int, second: int) -> tuple[Place, Place] | None:
        length_s, after_s, line = self._length_s[first], self._length_s[second], self.pools[pool]
        low = max(self._release_s[first], self._release_s[second] - length_s)
        high = min(self._latest_s[first], self._latest_s[second] - length_s)
        borders = np.concatenate([self._knots_s, *line.blocked(max(self._units[first], self._units[second]))])
        starts_s = np.concatenate([borders, borders - length_s, borders - length_s - after_s, [low, high]])
        starts_s = np.unique(starts_s[(starts_s >= low) & (starts_s <= high)])
        starts_s = starts_s[line.fits(starts_s, length_s, self._units[first])]
        starts_s = starts_s[line.fits(starts_s + length_s, after_s, self._units[second])]
        costs = self._priced(first, starts_s, pool) + self._priced(second, starts_s + length_s, pool)
        start_s = cheapest_start(starts_s, costs)
        if start_s is None:
            return None
        return self.place_at(first, start_s, pool), self.place_at(second, start_s + length_s, pool)

    def add_all(self, rows: Iterable[int]) -> "Schedule":
        """Add rows in this order; return self."""
        for row in rows:
            self.add(row)
        return self

    def put(self, row: int, place: Place) -> None:
        """Put a row where it is known to fit."""
        self._reserve(row, place, self._units[row])
        self._count(row, place)

    def _count(self, row: int, place: Place) -> None:
        self.places[row] = place
        self.grams += place.grams
        self.cost += place.cost
        self.missed += self._miss(row, place)
        self._late_s += self._lateness_s(row, place)
        self.unknown += not place.known

    def state(self) -> "ScheduleState":
        """Return all that placing rows changes, to come back to."""
        sums = self.grams, self.cost, self.missed, self._late_s, self.unknown
        return ScheduleState(pools=tuple(line.twin() for line in self.pools), places=dict(self.places), sums=sums)

    def restore(self, state: "ScheduleState") -> None:
        """Come back to a state, once."""
        self.pools, self.places = list(state.pools), dict(state.places)
        self.grams, self.cost, self.missed, self._late_s, self.unknown = state.sums

    def remove(self, row: int) -> Place:
        """Take a row out and return where it was."""
        place = self.places.pop(row)
        self._reserve(row, place, -self._units[row])
        self.grams -= place.grams
        self.cost -= place.cost
        self.missed -= self._miss(row, place)
        self._late_s -= self._lateness_s(row, place)
        self.unknown -= not place.known
        return place

    def move_if_cheaper(self, row: int, *, exactly: bool) -> None:
        """Move a row to where it costs less, if there is such a place within its limits.

        `exactly`: look for the best cells of one that may be suspended as well, which takes long.
        """
        old = self.remove(row)
        found = [self.cheapest(row), self._in_best_cells(row, self._flexible[row]) if exactly else None]
        better = [place for place in found if place and (old.late or place.cost < old.cost / SAME)]
        self.put(row, min(better, key=lambda place: place.cost, default=old))

    def _in_best_cells(self, row: int, job: Interruptible) -> Place | None:
        """Return the cheapest free place of a row among those that begin and end at the borders of its cells."""
        options = []
        for pool in self._candidates.demands.pools[row] if len(job.edges_s) else ():
            paid = rise(job.edges_s[:-1], job.edges_s[1:], self._knots_s, self._spent[pool]) * job.units
            free = job.free_in(self.pools[pool]) & (job.edges_s[:-1] >= self._ready_s(row) - EPSILON_S)
            if found := job.cheapest(paid, free):
                grams = self._emitted(row, found[1])
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

    def _miss(self, row: int, place: Place) -> int:
        """Return what a place counts among the limits missed: little as long as it is within the row's own limit."""
        if not place.late:
            return 0
        return BEHIND if self._meets_own_limit(row, self._end_s(row, place)) else self._weight[row]

    @property
    def late_s(self) -> int:
        """By how many seconds limits of users are missed in all."""
        return round(self._late_s)

    def _lateness_s(self, row: int, place: Place) -> float:
        """Return by how much a place misses its user's limit; of one that was missed before, how long it waits."""
        if not place.late or not self._has_limit[row]:
            return 0.0
        end_s = self._end_s(row, place)
        due_s = self._soft_deadlines.get(row, self._latest_s[row] + self._length_s[row])
        if row in self._flexible:
            due_s = max(due_s, self._flexible[row].deadline_s)
        return max(0.0, float(end_s - due_s))

    def _end_s(self, row: int, place: Place) -> float:
        return float(place.pieces[-1][1] if place.pieces else place.start_s + self._length_s[row])

    def _ready_s(self, row: int) -> float:
        """Return the first instant at which a row may start, beside the places of the rows that it waits for."""
        ends_s = [self._end_s(other, self.places[other]) for other in self._after.get(row, ())]
        return float(max([self._release_s[row], *ends_s]))

    def _reserve(self, row: int, place: Place, units: int) -> None:
        for start_s, end_s in place.pieces or ((place.start_s, place.start_s + self._length_s[row]),):
            self.pools[place.pool].reserve(start_s, end_s, units)

    def fits_in(self, row: int, pool: int, spans: Spans) -> Place | None:
        """Return the place of a row in intervals that it had before; None when they do not suit it any more."""
        units, line, job = self._units[row], self.pools[pool], self._flexible.get(row)
        if not self.places.keys() >= set(self._after.get(row, ())) or not self._suits(row, pool, spans):
            return None
        if not all(line.is_free(start_s, end_s, units) for start_s, end_s in spans):
            return None
        if job is None:
            return self.place_at(row, spans[0][0], pool)
        grams = self._emitted(row, spans)
        place = Place(spans[0][0], pool, grams, grams, spans[-1][1] > job.deadline_s + EPSILON_S, pieces=spans)
        return replace(place, cost=grams + self.spent_on(row, place))

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

    def cheapest(self, row: int) -> Place | None:
        """Return the cheapest free place of a row within its limits, if there is one."""
        if row in self._flexible:
            return self._cheapest_flexible(row, self._flexible[row])
        if row in self._after or row in self._costs_to_go:
            return self._cheapest_whole(row)
        low, high = self._first[row], self._first[row + 1]
        if low == high:
            return None
        best = self._best_of(row)
        kinds, line_of, units = self._pools_by_kind(row), self.pools, self._units[row]
        end_s = best.start_s + self._length_s[row]
        for like in kinds[best.pool]:
            if line_of[like].is_free(best.start_s, end_s, units):
                return best if like == best.pool else replace(best, pool=like)
        places = [self._cheapest_in(row, like, low, high) for like in kinds.values()]
        return earliest_cheapest([place for place in places if place])

    def _cheapest_anyhow(self, row: int) -> Place | None:
        """Return the cheapest place as if nothing were held."""
        holding = self.pools
        self.pools = [line.letting_go() for line in holding]
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
        starts_s, costs = self._candidates.starts_s[mine], self._costs[mine]
        if len(self.pools) > 1 and len(self._candidates.demands.pools[row]) > 1:
            listed = self._candidates.pool[mine] == self._like[pools[0]]
            starts_s, costs, at = starts_s[listed], costs[listed], low + listed.nonzero()[0]
        else:
            at = None
        frees, besides_s = [], []
        for pool in pools:
            free, beside_s = self.pools[pool].starts(starts_s, length_s, units)
            frees.append(free)
            besides_s.append(beside_s[(beside_s > self._release_s[row]) & (beside_s < self._latest_s[row])])
        is_free = frees[0] if len(frees) == 1 else np.logical_or.reduce(frees)
        found = np.where(is_free, costs, np.inf)
        best, place = first_least(found), None
        if found[best] < np.inf:
            pool = next(pool for pool, free in zip(pools, frees, strict=True) if free[best])
            nth, cost = low + best if at is None else int(at[best]), float(costs[best])
            place = Place(float(starts_s[best]), pool, float(self._candidates.grams[nth]), cost, False)
        beside_s = besides_s[0] if len(besides_s) == 1 else np.sort(np.concatenate(besides_s))
        if not len(beside_s):
            return place
        start_s = self._cheapest_beside(row, pools[0], beside_s, starts_s, costs)
        if start_s is None:
            return place
        pool = next(pool for pool, own_s in zip(pools, besides_s, strict=True) if start_s in own_s)
        other = self.place_at(row, start_s, pool)
        return earliest_cheapest([place, other] if place else [other])

    def _cheapest_beside(self, row: int, pool: int, beside_s: Floats, starts_s: Floats, costs: Floats) -> float | None:
        """Return the first of the cheapest of some starts in order; None where the intensity is not known for any.

        `starts_s` and `costs` are the row's candidates in the pool: between them costs are linear (candidates.py).
        """
        if self._is_covered[row]:
            return float(beside_s[first_least(np.interp(beside_s, starts_s, costs))])
        return cheapest_start(beside_s, self._priced(row, beside_s, pool))

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
        ahead = self._costs_to_go.get(row, ())
        borders = np.concatenate([self._knots_s, *line.blocked(self._units[row])])
        starts_s = np.concatenate(
            [borders, borders - length_s, [low, high], *(rest.starts_s - length_s for rest in ahead)]
        )
        starts_s = np.unique(starts_s[(starts_s >= low) & (starts_s <= high)])
        starts_s = starts_s[line.fits(starts_s, length_s, self._units[row])]
        costs = self._priced(row, starts_s, pool) if len(self._curves[0]) else np.full(len(starts_s), np.nan)
        for rest in ahead:
            costs += rest.at(starts_s + length_s)
        start_s = cheapest_start(starts_s, costs)
        return None if start_s is None else self.place_at(row, start_s, pool)

    def _suspended(self, row: int, job: Interruptible) -> Place | None:
        """Return the cheapest free intervals of a row that may be suspended."""
        pools = self._candidates.demands.pools[row]
        lines, ready_s = [self.pools[pool] for pool in pools], self._ready_s(row)
        watts, means = self._watts[row] * J_PER_KWH, self._means
        rates = [rates_of(means, watts, self._prices[pool], job.units) for pool in pools]
        found = cheapest_intervals(job, pools, self._knots_s, rates, lines, ready_s)
        if found is None:
            return None
        grams = self._emitted(row, found.spans)
        return Place(found.spans[0][0], found.pool, grams, found.cost, False, pieces=found.spans)

    def _emitted(self, row: int, spans: Spans) -> float:
        over = sum(self._integral.at(end_s) - self._integral.at(start_s) for start_s, end_s in spans)
        return float(over * self._watts[row])

    def _priced(self, row: int, starts_s: Floats, pool: int) -> Floats:
        """What starting at each of these instants costs; NaN where the intensity of the run is not known."""
        ends_s, (knots_s, integral, covered_s) = starts_s + self._length_s[row], self._curves
        costs = rise(starts_s, ends_s, knots_s, integral) * self._watts[row]
        costs += rise(starts_s, ends_s, self._knots_s, self._spent[pool]) * self._units[row]
        costs[rise(starts_s, ends_s, knots_s, covered_s) < self._length_s[row] - UNCOVERED_S] = np.nan
        return np.asarray(costs)

    def place_at(self, row: int, start_s: float, pool: int) -> Place:
        """The place of a row at a start; what is not known of its grams is left out of them."""
        end_s = start_s + self._length_s[row]
        grams = (self._integral.at(end_s) - self._integral.at(start_s)) * self._watts[row]
        spent = (self._spendings[pool].at(end_s) - self._spendings[pool].at(start_s)) * self._units[row]
        known = self._covered.at(end_s) - self._covered.at(start_s) >= self._length_s[row] - UNCOVERED_S
        return Place(start_s, pool, grams, grams + spent, start_s > self._latest_s[row] + EPSILON_S, known=known)

    def latest(self, row: int) -> Place | None:
        """Return the last free place inside the row's limits, whatever it emits; None when there is none."""
        ready_s, latest_s, length_s = self._ready_s(row), self._latest_s[row], self._length_s[row]
        found = [
            (start_s, -pool)
            for pool in self._candidates.demands.pools[row]
            if (start_s := self.pools[pool].last_fit(ready_s, latest_s, length_s, self._units[row])) is not None
        ]
        if not found:
            return None
        start_s, pool = max(found)
        return self.place_at(row, start_s, -pool)

    def soonest(self, row: int) -> Place:
        """Return the first free place, whatever it emits, and be it held for others."""
        return self.place_at(row, *self._soonest(row, self._ready_s(row)))

    def _soonest(self, row: int, ready_s: float) -> tuple[float, int]:
        lines = [line.letting_go() for line in self.pools] if self._is_holding else self.pools
        found = [
            (start_s, pool)
            for pool in self._candidates.demands.pools[row]
            if (start_s := lines[pool].first_fit(ready_s, self._length_s[row], self._units[row])) is not None
        ]
        return min(found)

    def add_all_soonest(self, rows: Sequence[int]) -> "Schedule":
        """Put rows in this order, each where it starts as soon as it can; return self."""
        if self._after or self._is_holding or not len(self._curves[0]):
            for row in rows:
                self.add_soonest(row)
            return self
        by_pool: dict[int, tuple[list[int], list[float]]] = {}
        for row in rows:
            start_s, pool = self._soonest(row, self._release_s[row])
            self.pools[pool].reserve(start_s, start_s + self._length_s[row], self._units[row])
            own, starts_s = by_pool.setdefault(pool, ([], []))
            own.append(row)
            starts_s.append(start_s)
        places = dict[int, Place]()
        for pool, (own, starts_s) in by_pool.items():
            places |= zip(own, self._places_at(own, np.array(starts_s), pool), strict=True)
        for row in rows:
            self._count(row, places[row])
        return self
