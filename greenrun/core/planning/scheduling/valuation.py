"""What the places of rows emit, and what they cost with prices on GPUs."""

from collections.abc import Sequence

import numpy as np

from greenrun.core.carbon.intensity import UNCOVERED_S, Floats
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.lagrangian import spendings
from greenrun.core.planning.piecewise import PiecewiseLinear, rise
from greenrun.core.planning.preemption.intervals import Spans
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.cost_to_go import CostToGo, costs_to_go
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.units import J_PER_KWH


class Valuation:
    """What places are worth at given prices, shape (pools, cells), at which `costs` are those of all candidates.

    `spent` is what a GPU of each pool costs from the first knot up to each, in g. The lists have an item for each row;
    `watts` are in g/s for each g/kWh.
    """

    def __init__(self, problem: PlanningProblem, prices: Floats, costs: Floats) -> None:
        self._problem, demands = problem, problem.rows.demands
        self.length_s: list[float] = demands.length_s.tolist()
        self.latest_s: list[float] = demands.latest_s.tolist()
        self.units: list[int] = demands.units.astype(np.int64).tolist()
        self.watts: list[float] = (demands.watts / J_PER_KWH).tolist()
        self._curves, self._knots_s = problem.intensity.curves, problem.rows.knots_s
        self._integral, self._covered = problem.integral, problem.covered
        self._set_prices(prices, costs)

    def _set_prices(self, prices: Floats, costs: Floats) -> None:
        self.prices, self.costs = prices, costs
        self.costs_to_go: dict[int, list[CostToGo]] = costs_to_go(self._problem, costs) if self._problem.after else {}
        self.spent = spendings(prices, self._knots_s)
        self._spendings = [PiecewiseLinear(self._knots_s, spent) for spent in self.spent]
        self._best: dict[int, Place] = {}

    def at(self, prices: Floats, costs: Floats) -> "Valuation":
        """Return the same at other prices."""
        other = Valuation.__new__(Valuation)
        other.__dict__.update(self.__dict__)
        other._set_prices(prices, costs)
        return other

    def best_of(self, row: int) -> Place:
        """Return the place of the first of a row's cheapest candidates, of which it has some."""
        if not self._best:
            rows, first = self._problem.rows, self._problem.rows.first
            filled = np.diff(first).nonzero()[0]
            begins = first[filled]
            least = np.minimum.reduceat(self.costs, begins) * SAME
            hits = (self.costs <= np.repeat(least, np.diff(first)[filled])).nonzero()[0]
            best = hits[hits.searchsorted(begins)]
            columns = (rows.starts_s[best], rows.pool[best], rows.grams[best], self.costs[best])
            places = zip(*(column.tolist() for column in columns), strict=True)
            self._best = {
                own: Place(start_s, pool, grams, cost, False)
                for own, (start_s, pool, grams, cost) in zip(filled.tolist(), places, strict=True)
            }
        return self._best[row]

    def rents(self, rows: Sequence[int], starts_s: Floats, pools: Sequence[int]) -> Floats:
        """Return what the GPUs of rows in one piece cost that start then in these pools, in g: shape (n,)."""
        demands, own = self._problem.rows.demands, np.array(pools, dtype=np.int64)
        ends_s, spent = starts_s + demands.length_s[rows], np.zeros(len(rows))
        for pool in np.unique(own).tolist():
            mine = own == pool
            spent[mine] = rise(starts_s[mine], ends_s[mine], self._knots_s, self.spent[pool])
        return np.asarray(spent * demands.units[rows])

    def places_at(self, rows: Sequence[int], starts_s: Floats, pool: int) -> list[Place]:
        """Return what `place_at` says of each of these rows."""
        demands, (knots_s, integral, covered) = self._problem.rows.demands, self._curves
        lengths_s = demands.length_s[rows]
        ends_s = starts_s + lengths_s
        grams = rise(starts_s, ends_s, knots_s, integral) * demands.watts[rows] / J_PER_KWH
        costs = grams + self.rents(rows, starts_s, [pool] * len(rows))
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
        spans = place.pieces or ((place.start_s, place.start_s + self.length_s[row]),)
        return float(sum(spent.at(end_s) - spent.at(start_s) for start_s, end_s in spans) * self.units[row])

    def emitted(self, row: int, spans: Spans) -> float:
        """Return what a row emits that runs in these intervals, in g."""
        over = sum(self._integral.at(end_s) - self._integral.at(start_s) for start_s, end_s in spans)
        return float(over * self.watts[row])

    def is_known(self, start_s: float, end_s: float) -> bool:
        """Whether the intensity is known throughout."""
        return self._covered.at(end_s) - self._covered.at(start_s) >= end_s - start_s - UNCOVERED_S

    def priced(self, row: int, starts_s: Floats, pool: int) -> Floats:
        """What starting at each of these instants costs; NaN where the intensity of the run is not known."""
        ends_s, (knots_s, integral, covered_s) = starts_s + self.length_s[row], self._curves
        costs = rise(starts_s, ends_s, knots_s, integral) * self.watts[row]
        costs += rise(starts_s, ends_s, self._knots_s, self.spent[pool]) * self.units[row]
        costs[rise(starts_s, ends_s, knots_s, covered_s) < self.length_s[row] - UNCOVERED_S] = np.nan
        return np.asarray(costs)

    def place_at(self, row: int, start_s: float, pool: int) -> Place:
        """The place of a row at a start; what is not known of its grams is left out of them."""
        end_s = start_s + self.length_s[row]
        grams = (self._integral.at(end_s) - self._integral.at(start_s)) * self.watts[row]
        spent = (self._spendings[pool].at(end_s) - self._spendings[pool].at(start_s)) * self.units[row]
        known = self._covered.at(end_s) - self._covered.at(start_s) >= self.length_s[row] - UNCOVERED_S
        return Place(start_s, pool, grams, grams + spent, start_s > self.latest_s[row] + EPSILON_S, known=known)
