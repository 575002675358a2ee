"""Tell a shortage of GPUs from a choice of hours: why a row has not the place that it would have if it were alone."""

from collections.abc import Mapping
from datetime import UTC, datetime

from greenrun.core.planning.capacity import EPSILON_S, Timeline
from greenrun.core.planning.model import Situation
from greenrun.core.planning.precedence.room import end_of, spans_of
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place

JUST_BEFORE_S = 1.0  # a place that is free this long before it begins could begin sooner


class Shortage:
    """What holds rows back that all have their places."""

    def __init__(self, problem: PlanningProblem, places: Mapping[int, Place], situation: Situation) -> None:
        self._problem, self._places, self._situation = problem, places, situation
        self._full: list[Timeline] | None = None
        self._ending: dict[tuple[int, datetime], list[int]] = {}

    def wanted_s(self, row: int) -> float | None:
        """Return when a row would start if there were GPUs enough, where it starts later because there are not.

        That is so where it starts as soon as GPUs are free for it. A row that could start sooner waits for an hour.
        """
        place, rows = self._places[row], self._problem.rows
        mine = slice(rows.first[row], rows.first[row + 1])
        if place.pieces or not len(rows.grams[mine]):
            return None
        grams, starts_s = rows.grams[mine], rows.starts_s[mine]
        wanted_s = float(starts_s[grams <= grams.min() * SAME].min())
        if wanted_s >= place.start_s - EPSILON_S or self._could_start_sooner(row, place):
            return None
        return wanted_s

    def start(self, row: int) -> datetime:
        """Return when a row starts."""
        return datetime.fromtimestamp(self._places[row].start_s, UTC)

    def leaves_cleaner(self, row: int) -> bool:
        """Tell whether what runs already leaves a cleaner place than this one, so that others in the queue have it."""
        place, problem = self._places[row], self._problem
        rows, demands = problem.rows, problem.rows.demands
        mine = slice(rows.first[row], rows.first[row + 1])
        cleaner = rows.grams[mine] < place.grams / SAME
        if place.pieces or row in problem.flexible:
            return True
        length_s, units = float(demands.length_s[row]), int(demands.units[row])
        return any(
            problem.taken[pool].fits(rows.starts_s[mine][cleaner & (rows.pool[mine] == pool)], length_s, units).any()
            for pool in demands.pools[row]
        )

    def holders(self, row: int) -> list[int]:
        """Return the ids of the jobs, live or planned, that hold GPUs of its pool until this row starts, in order."""
        if not self._ending:
            self._ending = self._ends()
        return sorted(self._ending.get((self._places[row].pool, self.start(row)), ()))

    def _ends(self) -> dict[tuple[int, datetime], list[int]]:
        """Return which jobs end when, by pool: a live one where a device of the pool is expected back just then."""
        problem, asked = self._problem, self._situation
        found: dict[tuple[int, datetime], list[int]] = {}
        for other, at in self._places.items():
            end = datetime.fromtimestamp(end_of(problem, other, at), UTC)
            found.setdefault((at.pool, end), []).append(problem.jobs[other].id)
        for index, pool in enumerate(problem.pools):
            back = {asked.busy[device] for device in pool.devices if device in asked.busy}
            back |= set() if pool.devices else set(asked.cpu_busy)
            for job_id, end in asked.ends.items():
                if end in back:
                    found.setdefault((index, end), []).append(job_id)
        return found

    def _could_start_sooner(self, row: int, place: Place) -> bool:
        """Whether the row fits, as all others are placed, in some pool before its place."""
        demands, lines = self._problem.rows.demands, self._lines()
        length_s, units, release_s = (
            float(demands.length_s[row]),
            int(demands.units[row]),
            float(demands.release_s[row]),
        )
        before_s = max(release_s, place.start_s - JUST_BEFORE_S)
        if lines[place.pool].is_free(before_s, place.start_s, units):
            return True
        own = lines[place.pool].twin()
        own.reserve(place.start_s, place.start_s + length_s, -units)
        others = ((own if pool == place.pool else lines[pool]) for pool in demands.pools[row])
        found = (line.first_fit(release_s, length_s, units) for line in others)
        soonest_s = min((start_s for start_s in found if start_s is not None), default=place.start_s)
        return soonest_s < place.start_s - EPSILON_S

    def _lines(self) -> list[Timeline]:
        if self._full is None:
            full = [line.copy() for line in self._problem.taken]
            for row, place in self._places.items():
                for begin_s, end_s in spans_of(self._problem, row, place):
                    full[place.pool].reserve(begin_s, end_s, int(self._problem.rows.demands.units[row]))
            self._full = full  # whole: others may ask at the same time
        return self._full
