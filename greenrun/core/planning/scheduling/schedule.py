"""Plans that fit: jobs put one by one at their cheapest free start, and a few taken out and put back to do better."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.gpu_timelines.grouped_timeline import GroupedTimeline
from greenrun.core.planning.gpu_timelines.timeline import Split, Timeline, twins
from greenrun.core.planning.preemption.intervals import Spans
from greenrun.core.planning.problem import BEHIND, PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.scheduling.pool_occupancy import Occupancy
from greenrun.core.planning.scheduling.valuation import Valuation


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """What is reserved of each pool, where rows are, and the sums over all: what `Schedule` names."""

    pools: tuple[Timeline, ...]
    places: Mapping[int, Place]
    sums: tuple[float, float, int, float, int]


class Schedule(Occupancy):
    """Places of a problem's rows at given prices, changed in place.

    `grams` and `cost` (grams and what the GPUs cost) are the sums of all places, `missed` weighs the limits that are
    missed (`PlanningProblem.limits`), `late_s` adds up by how much, and `unknown` counts the places whose emissions are
    not known.
    """

    def __init__(self, problem: PlanningProblem, prices: Floats, costs: Floats) -> None:
        super().__init__(problem, prices, costs)
        self._has = problem.has
        self._is_grouped = any(isinstance(line, GroupedTimeline) for line in problem.taken)
        self._weight, self._meets_own_limit = problem.limits, problem.meets_own_limit
        self._soft_deadlines, self._has_limit = problem.soft_deadlines, [job.has_limit for job in problem.jobs]
        self.grams = self.cost = 0.0
        self.missed = self.unknown = 0
        self._late_s = 0.0

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
        twin.value = twin.value.at(prices, costs)
        places = dict(zip(self.places, self._weighed(twin.value), strict=True))
        if twin.places:
            twin.places, twin.cost = places, sum(place.cost for place in places.values())
        else:
            for row, place in places.items():
                twin.put(row, place)
        return twin

    def _weighed(self, value: Valuation) -> Iterator[Place]:
        """Yield the places as they are at other prices."""
        whole = {row: place for row, place in self.places.items() if not place.pieces}
        rents = value.rents(
            list(whole), np.array([place.start_s for place in whole.values()]), [place.pool for place in whole.values()]
        )
        rent_of = dict(zip(whole, rents.tolist(), strict=True))
        for row, place in self.places.items():
            rent = rent_of[row] if row in rent_of else value.spent_on(row, place)
            yield place.costing(place.grams + rent)

    def keep(self, kept: Mapping[int, tuple[int, Spans]]) -> None:
        """Put those of these rows in their pools and intervals that fit there, in order."""
        is_capped = self.pools[0].power is not None
        is_plain = not (self._after or self._flexible or is_capped or self._is_grouped)
        plain = is_plain and bool(len(self._curves[0])) and len(kept) > 1
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
            for row, place in zip(rows, self.value.places_at(rows, starts_s, pool), strict=True):
                self._count(row, place)
        return rest

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

    def add_all(self, rows: Iterable[int]) -> "Schedule":
        """Add rows in this order; return self."""
        for row in rows:
            self.add(row)
        return self

    def put(self, row: int, place: Place) -> None:
        """Put a row where it is known to fit."""
        on = self._reserve(row, place, 1)
        self._count(row, place if on == place.on else replace(place, on=on))

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
        return ScheduleState(pools=tuple(twins(self.pools)), places=dict(self.places), sums=sums)

    def restore(self, state: "ScheduleState") -> None:
        """Come back to a state, once."""
        self.pools, self.places = list(state.pools), dict(state.places)
        self.grams, self.cost, self.missed, self._late_s, self.unknown = state.sums

    def remove(self, row: int) -> Place:
        """Take a row out and return where it was."""
        place = self.places.pop(row)
        self._reserve(row, place, -1)
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

    def _reserve(self, row: int, place: Place, sign: int) -> tuple[Split, ...]:
        """Take what a place needs, or give it back; return of which groups of GPUs, where these differ."""
        units, mw, line = sign * self._units[row], sign * self._mw[place.pool][row], self.pools[place.pool]
        spans = place.pieces or ((place.start_s, place.start_s + self._length_s[row]),)
        if not isinstance(line, GroupedTimeline):
            for start_s, end_s in spans:
                line.reserve(start_s, end_s, units, mw)
            return ()
        own = place.splits()
        if not place.on and row in self._has and spans[0][0] <= self._now_s:
            own = (line.split_of(self._has[row]), *own[1:])
        return tuple(
            line.reserve(start_s, end_s, units, mw, each) for (start_s, end_s), each in zip(spans, own, strict=True)
        )

    def add_all_soonest(self, rows: Sequence[int]) -> "Schedule":
        """Put rows in this order, each where it starts as soon as it can; return self."""
        if self._after or self._is_holding or not len(self._curves[0]) or self._may_be_in_parts or self._is_grouped:
            for row in rows:
                self.add_soonest(row)
            return self
        by_pool: dict[int, tuple[list[int], list[float]]] = {}
        for row in rows:
            start_s, pool = self._soonest(row, self._release_s[row])
            end_s, mw = start_s + self._length_s[row], self._mw[pool][row]
            self.pools[pool].reserve(start_s, end_s, self._units[row], mw)
            own, starts_s = by_pool.setdefault(pool, ([], []))
            own.append(row)
            starts_s.append(start_s)
        places = dict[int, Place]()
        for pool, (own, starts_s) in by_pool.items():
            places |= zip(own, self.value.places_at(own, np.array(starts_s), pool), strict=True)
        for row in rows:
            self._count(row, places[row])
        return self
