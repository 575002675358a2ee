"""A few rows put in every order, which finds the best schedule of them or comes near it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import permutations

from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.scheduling.schedule import Schedule

FEW = 5  # rows that are tried in every order
EVERY_ORDER = 400  # more turns than it takes to put so few as soon as they fit in every order: limits are worth it

Objective = tuple[int, int, int, float]  # limits missed, by how many seconds, places of unknown emissions, and cost
Step = tuple[tuple[int, ...], Callable[[], object]]  # rows, and what puts them


class ExhaustiveSearch:
    """A schedule to which rows are added in every order; `places` are the best seen, None when none was better.

    What is better by less than the share `gap` is not looked for. At most `turns` rows, or pairs of them, are put,
    unless limits are missed.
    """

    def __init__(
        self, made: Schedule, objective: Callable[[Schedule], Objective], best: Objective, *, gap: float, turns: int
    ) -> None:
        self.places: Mapping[int, Place] | None = None
        self._made = made
        self._objective = objective
        self._best = best
        self._worth = 1 - gap
        self._turns, self._most = 0, turns
        self._seen: set[frozenset[tuple[int, float, int]]] = set()

    def run(self, least: Mapping[int, float]) -> None:
        """Put the rows of `least`, what each costs at least, in every order."""
        if self._best[0]:
            self._run(list(least), least, self._soonest, EVERY_ORDER)
        self._seen = set()
        self._run(list(least), least, self._steps, self._turns + self._most)

    def _run(
        self, rows: Sequence[int], least: Mapping[int, float], steps: Callable[[Sequence[int]], list[Step]], until: int
    ) -> None:
        """Take every step that could lead to something better; each gets its share of the turns that are left."""
        *limits, cost = found = self._objective(self._made)
        least_cost = cost + sum(least[row] for row in rows)
        if (*limits, least_cost) >= (*self._best[:3], self._best[3] * self._worth):
            return
        if not rows:
            self._best, self.places = found, dict(self._made.places)
            return
        every = steps(rows)
        for nth, (put, carry_out) in enumerate(every):
            if self._turns >= until:
                return
            self._turns += 1
            if carry_out() is None:
                continue
            if self._is_new():
                share = self._turns + -(-(until - self._turns) // (len(every) - nth))
                self._run([row for row in rows if row not in put], least, steps, share)
            for row in put:
                self._made.remove(row)

    def _is_new(self) -> bool:
        """Whether these places were not met before: jobs not in each other's way give the same in any order."""
        places = frozenset((row, place.start_s, place.pool) for row, place in self._made.places.items())
        known = len(self._seen)
        self._seen.add(places)
        return len(self._seen) > known

    def _steps(self, rows: Sequence[int]) -> list[Step]:
        alone: list[Step] = [((row,), partial(self._made.add, row)) for row in rows]
        pairs: list[Step] = [(pair, partial(self._made.add_pair, *pair)) for pair in permutations(rows, 2)]
        return alone + pairs + self._soonest(rows)

    def _soonest(self, rows: Sequence[int]) -> list[Step]:
        return [((row,), partial(self._made.add_soonest, row)) for row in rows]
