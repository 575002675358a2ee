"""Few jobs are put in every order: a queue of one, two or five deserves the best plan there is, and it costs little.

Put as soon as they fit, jobs in some order meet all limits if any plan does; put at their cheapest free start, some
order seldom misses the cleanest plan. Both are tried at every turn, and turns that cannot beat the best are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations

from greenrun.core.placing import Arrangement, Place

FEW = 5  # rows that are tried in every order
TURNS = 400  # at most so many rows, or pairs of them, are put, all orders together

Put = Callable[[int], object]
Merit = tuple[int, int, float]  # limits missed, places of unknown emissions, and what it costs: less is better


class Trial:
    """An arrangement to which rows are added in every order; `places` are the best seen, None when none was better."""

    def __init__(self, made: Arrangement, merit: Callable[[Arrangement], Merit], best: Merit, gap: float) -> None:
        self.places: Mapping[int, Place] | None = None
        self._made = made
        self._merit = merit
        self._best = best
        self._worth = 1 - gap
        self._turns = 0
        self._seen: set[frozenset[tuple[int, float, int]]] = set()

    def run(self, least: Mapping[int, float]) -> None:
        """Put the rows of `least`, what each costs at least, in every order."""
        ways: tuple[Put, ...] = (self._made.add, self._soonest)
        if self._best[0]:
            self._run(list(least), least, ways[1:])
        self._turns, self._seen = 0, set()
        self._run(list(least), least, ways)

    def _run(self, rows: Sequence[int], least: Mapping[int, float], ways: Sequence[Put]) -> None:
        missed, unknown, cost = self._merit(self._made)
        if (missed, unknown, cost + sum(least[row] for row in rows)) >= (*self._best[:2], self._best[2] * self._worth):
            return
        if not rows:
            self._best, self.places = (missed, unknown, cost), dict(self._made.places)
            return
        for put in ways:
            for row in rows:
                if self._turns >= TURNS:
                    return
                self._turns += 1
                put(row)
                if self._is_new():
                    self._run([other for other in rows if other != row], least, ways)
                self._made.remove(row)
        if len(ways) > 1:
            self._run_pairs(rows, least, ways)

    def _run_pairs(self, rows: Sequence[int], least: Mapping[int, float], ways: Sequence[Put]) -> None:
        """Put two rows at a time, one right after the other, where both together are cheapest."""
        for pair in permutations(rows, 2):
            if self._turns >= TURNS:
                return
            self._turns += 1
            if not self._made.add_pair(*pair):
                continue
            if self._is_new():
                self._run([other for other in rows if other not in pair], least, ways)
            for row in pair:
                self._made.remove(row)

    def _is_new(self) -> bool:
        """Whether these places were not met before: jobs that are not in each other's way give the same in any order."""
        places = frozenset((row, place.start_s, place.pool) for row, place in self._made.places.items())
        known = len(self._seen)
        self._seen.add(places)
        return len(self._seen) > known

    def _soonest(self, row: int) -> None:
        self._made.put(row, self._made.soonest(row))
