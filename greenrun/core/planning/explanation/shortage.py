"""Tell a shortage of GPUs from a choice of hours: why a row has not the place that it would have if it were alone."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Timeline, copies, drawing_on, twins
from greenrun.core.planning.model import Situation
from greenrun.core.planning.power_cap.site_power import MW
from greenrun.core.planning.precedence.room import end_of, spans_of
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.site_limits.reserved import Reserved

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

    def power_before(self, row: int) -> float | None:
        """Return what the site's power cap leaves for a row just before it starts, in watts, where it waits for that.

        None where GPUs keep it from starting sooner, or nothing does. One that runs is suspended for want of power
        where there is not enough for it now.
        """
        place, site = self._places[row], self._situation.power
        mw = self._problem.rows.demands.of_power(row, place.pool)
        now_s = self._problem.now_s
        runs = row in self._problem.running
        ready_s = now_s if runs else max(now_s, float(self._problem.rows.demands.release_s[row]))
        if site is None or not mw or place.start_s <= ready_s + EPSILON_S:
            return None
        if not runs and not self._could_start_sooner(row, place, is_capped=False):
            return None
        lines = self._lines()
        at_s = now_s if runs else max(now_s, place.start_s - JUST_BEFORE_S)
        left_mw = self._left_mw(lines, at_s)
        return left_mw / MW if left_mw < mw else None

    @staticmethod
    def _left_mw(lines: Sequence[Timeline], at_s: float) -> int:
        power = lines[0].power
        found = power.free_between(at_s, at_s + JUST_BEFORE_S / 2) if power is not None else ()
        return min((mw for _, _, mw in found), default=0)

    def reserved(self, row: int, wanted_s: float) -> tuple[Reserved, ...]:
        """Return what is reserved in the way of a row that could else start before its place, wanted then."""
        place, demands = self._places[row], self._problem.rows.demands
        length_s, units = float(demands.length_s[row]), int(demands.units[row])
        pool = self._problem.pools[place.pool]
        span = datetime.fromtimestamp(wanted_s, UTC), datetime.fromtimestamp(place.start_s, UTC)
        kept = [one for one in self._situation.reserved if one.device in pool.devices]
        if place.start_s <= wanted_s + EPSILON_S or not kept:
            return ()
        line, mw = twins(self._lines())[place.pool], demands.of_power(row, place.pool)
        for (begin_s, end_s), own in zip(spans_of(self._problem, row, place), place.splits(), strict=True):
            line.reserve(begin_s, end_s, -units, -mw, own)
        now_s = self._problem.now_s
        for one in kept:  # as `timelines` took them
            start = max(one.start, self._situation.busy.get(one.device, one.start))
            if start < one.end:
                begin_s = now_s - 1 if start <= self._situation.now else start.timestamp()
                line.reserve(begin_s, one.end.timestamp(), -1, own=line.split_of([one.device]))
        sooner_s = line.first_fit(wanted_s, length_s, units, mw)
        if sooner_s is None or sooner_s >= place.start_s - EPSILON_S:
            return ()
        end = datetime.fromtimestamp(sooner_s + length_s, UTC)
        return tuple(one for one in kept if one.start < max(end, span[1]) and one.end > span[0])

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
        cleaner_s = {pool: rows.starts_s[mine][cleaner & (rows.pool[mine] == pool)] for pool in demands.pools[row]}
        return any(
            problem.taken[pool].fits(starts_s, length_s, units, demands.of_power(row, pool)).any()
            for pool, starts_s in cleaner_s.items()
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

    def _could_start_sooner(self, row: int, place: Place, *, is_capped: bool = True) -> bool:
        """Whether the row fits, as all others are placed, in some pool before its place; or would without a cap."""
        demands, lines = self._problem.rows.demands, self._lines()
        if not is_capped:
            lines = drawing_on(None, [line.twin() for line in lines])
        length_s, units, release_s = (
            float(demands.length_s[row]),
            int(demands.units[row]),
            float(demands.release_s[row]),
        )
        before_s = max(release_s, place.start_s - JUST_BEFORE_S)
        mw = demands.of_power(row, place.pool)
        if lines[place.pool].is_free(before_s, place.start_s, units, mw):
            return True
        without = twins(lines)
        without[place.pool].reserve(place.start_s, place.start_s + length_s, -units, -mw, place.splits()[0])
        found = (
            without[pool].first_fit(release_s, length_s, units, demands.of_power(row, pool))
            for pool in demands.pools[row]
        )
        soonest_s = min((start_s for start_s in found if start_s is not None), default=place.start_s)
        return soonest_s < place.start_s - EPSILON_S

    def _lines(self) -> list[Timeline]:
        if self._full is None:
            full, demands = copies(self._problem.taken), self._problem.rows.demands
            for row, place in self._places.items():
                units, mw = int(demands.units[row]), demands.of_power(row, place.pool)
                for (begin_s, end_s), own in zip(spans_of(self._problem, row, place), place.splits(), strict=True):
                    full[place.pool].reserve(begin_s, end_s, units, mw, own)
            self._full = full  # whole: others may ask at the same time
        return self._full
