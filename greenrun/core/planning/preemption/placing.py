"""Where one interruptible job runs cheapest among the stretches of time that are free, in continuous time.

The work is priced (Lagrangian relaxation of the time that the job still needs): at a price of time each stretch is run
in or not, which one pass decides. The best price has a choice of runs that do a little too much and one that do too
little; both are made to do just what is needed, and the cheaper one is taken. Near the optimum, not proved to be it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S

Run = tuple[float, float]
ROUNDS = 12  # prices of time tried at most
WIDEN = 1.05  # by how much they rise or fall at first, from the marginal cost of time on
ROUNDED, CLOSE = 1e-9, 1e-3
SAME = 1 + ROUNDED
SHORTEST_S = 1.0  # a restart is followed by some work


class Terms(NamedTuple):
    """What a job asks for, in seconds: see `Interruptible`. `begins_s` is the first instant at which it may run."""

    length_s: float
    min_run_s: float
    restart_s: float
    is_running: bool
    forced_s: float
    begins_s: float


class _Chain(NamedTuple):
    """The last run of some, from the begin of one stretch to the begin (or end) of another, and those before it."""

    first: int
    last: int
    before: "_Chain | None"


@dataclass(slots=True)
class _Answer:
    """Runs that are the best at some price of time, what they cost and how much of the work they do."""

    cost: float
    work_s: float
    runs: list[Run]


@dataclass(slots=True)
class FreeTime:
    """The stretches in which a job may run, in order: where they begin and end, and what running there costs, in g/s.

    All stretches are at least a microsecond long, and costs are at least 0.
    """

    begins_s: Sequence[float]
    ends_s: Sequence[float]
    rates: Sequence[float]
    _time: list[float] = field(init=False)
    _cost: list[float] = field(init=False)

    def __post_init__(self) -> None:
        time, cost = [0.0], [0.0]
        for begin_s, end_s, rate in zip(self.begins_s, self.ends_s, self.rates, strict=True):
            time.append(time[-1] + end_s - begin_s)
            cost.append(cost[-1] + rate * (end_s - begin_s))
        self._time, self._cost = time, cost

    def cheapest(self, terms: Terms, guess: float | None = None) -> tuple[float, list[Run]] | None:
        """Return what the cheapest runs found cost, in g, and when they are; None when there is not the time.

        `guess` is a price of time to begin with, in g/s.
        """
        if self._time[-1] < terms.length_s - EPSILON_S:
            return None
        if not terms.restart_s and terms.min_run_s <= EPSILON_S and terms.forced_s <= EPSILON_S:
            return self._filled(terms.length_s)
        return _PricedWork(self, terms).cheapest(guess)

    def _filled(self, length_s: float) -> tuple[float, list[Run]]:
        """Take the cheapest stretches, which is best where suspending costs nothing."""
        left_s, cost, runs = length_s, 0.0, list[Run]()
        rates = self.rates
        for at in sorted(range(len(rates)), key=lambda at: round(rates[at], 12)):
            if left_s <= EPSILON_S:
                break
            taken_s = min(left_s, self.ends_s[at] - self.begins_s[at])
            left_s, cost = left_s - taken_s, cost + taken_s * rates[at]
            runs.append((self.begins_s[at], self.begins_s[at] + taken_s))
        return cost, _joined(sorted(runs))

    def cost_of(self, runs: Sequence[Run]) -> float:
        """Return what runs within the stretches cost, in g."""
        total, at = 0.0, 0
        for begin_s, end_s in runs:
            while self.ends_s[at] <= begin_s + EPSILON_S:
                at += 1
            while at < len(self.rates) and self.begins_s[at] < end_s - EPSILON_S:
                total += (min(end_s, self.ends_s[at]) - max(begin_s, self.begins_s[at])) * self.rates[at]
                at += 1
            at -= 1
        return total


class _PricedWork:
    """The search for the price of time at which a job does what it needs."""

    def __init__(self, free: FreeTime, terms: Terms) -> None:
        self._free, self._terms = free, terms
        self._time, self._cost, self._count = free._time, free._cost, len(free.rates)
        begins_s, ends_s = free.begins_s, free.ends_s
        gaps = [begins_s[at] > ends_s[at - 1] + EPSILON_S for at in range(1, self._count)]
        self._is_gap = [False, *gaps, False]  # before each stretch, and after the last
        self._may_end: list[list[tuple[int, bool]]] = [[] for _ in range(self._count + 1)]
        if not terms.is_running:
            self._begin(terms.min_run_s, is_first=True)
        self._begin(terms.min_run_s + terms.restart_s, is_first=False)
        self._goes_on = self._end_of_forced() if terms.is_running else None

    def _begin(self, least_s: float, *, is_first: bool) -> None:
        """Note for each stretch where a run that begins there, and lasts at least so long, may end first."""
        end, time = 0, self._time
        for begin in range(self._count):
            end = max(end, begin + 1)
            while not self._is_gap[end] and end < self._count and time[end] - time[begin] < least_s - EPSILON_S:
                end += 1
            if time[end] - time[begin] >= least_s - EPSILON_S:
                self._may_end[end].append((begin, is_first))

    def _end_of_forced(self) -> int | None:
        """Return how many stretches a job that runs must go on for; None when it cannot go on."""
        if self._free.begins_s[0] > self._terms.begins_s + EPSILON_S:
            return None
        end = 0
        while self._time[end] < self._terms.forced_s - EPSILON_S:
            if end == self._count or self._is_gap[end]:
                return None
            end += 1
        return end

    def cheapest(self, guess: float | None) -> tuple[float, list[Run]] | None:
        """Return the cheaper of the two ways to do just the work, and what it costs."""
        terms = self._terms
        if terms.is_running and terms.forced_s > EPSILON_S and self._goes_on is None:
            return None
        less, more = self._bracketed(guess)
        found = [
            (self._free.cost_of(runs), runs)
            for runs in (
                self._going_on(),
                _Exact(self._free, terms, more.runs).shortened() if more else None,
                _Exact(self._free, terms, less.runs).lengthened() if less and less.runs else None,
            )
            if runs
        ]
        return min(found, key=lambda one: one[0], default=None)  # the first of equals

    def _going_on(self) -> list[Run] | None:
        """Return the one run of a job that is never suspended again, if its GPUs are free for so long."""
        if self._goes_on is None:
            return None
        end = next((at for at in range(1, self._count + 1) if self._is_gap[at]), self._count)
        begin_s = self._free.begins_s[0]
        return (
            [(begin_s, begin_s + self._terms.length_s)] if self._time[end] >= self._terms.length_s - EPSILON_S else None
        )

    def _bracketed(self, guess: float | None) -> tuple[_Answer | None, _Answer | None]:
        """Return the best runs at the best price of time that do less than is needed, and those that do enough."""
        need_s = self._terms.length_s
        top = max(self._free.rates)
        price, widen = self._marginal(), WIDEN
        less: _Answer | None = None
        more: _Answer | None = None
        for _ in range(ROUNDS):
            found = self._at(price)
            line = found.cost - price * (found.work_s - need_s)
            if found.work_s >= need_s - EPSILON_S:
                if more and less and line >= more.cost - price * (more.work_s - need_s) - CLOSE * abs(more.cost):
                    break
                more = found
                if found.work_s <= need_s + EPSILON_S:
                    break
            else:
                if more and less and line >= less.cost - price * (less.work_s - need_s) - CLOSE * abs(more.cost):
                    break
                less = found
            if more is None:
                if price > 1e6 * top:
                    break
                price, widen = max(price * widen, ROUNDED * top), widen**2
            elif less is None:
                if not price:
                    break
                price, widen = price / widen if price > ROUNDED * top else 0.0, widen**2
            else:
                price = (more.cost - less.cost) / (more.work_s - less.work_s)
        return less, more

    def _marginal(self) -> float:
        """Return what the dearest second would cost if suspending cost nothing: the price sought is a little more."""
        left_s, free, last = self._terms.length_s, self._free, 0
        for at in sorted(range(self._count), key=free.rates.__getitem__):
            left_s, last = left_s - (free.ends_s[at] - free.begins_s[at]), at
            if left_s <= 0:
                break
        return free.rates[last]

    def _at(self, price: float) -> _Answer:
        """Return the best runs at a price of time, the earliest of equals.

        `worth` is what all stretches before one cost less the price of their time: a run adds the difference between
        its end and its begin. `on` is what being in a run costs but for the worth of its end, `off` being in none, and
        `last` being in the last one, which may be shorter than others.
        """
        count, terms, is_gap = self._count, self._terms, self._is_gap
        restart = price * terms.restart_s
        worth = [cost - price * time for cost, time in zip(self._cost, self._time, strict=True)]
        tiny = ROUNDED * (self._cost[-1] + price * self._time[-1]) / count
        off = 0.0 if terms.is_running and terms.forced_s <= EPSILON_S else inf
        on, begun, before = inf, 0, None
        done: _Chain | None = None
        best: _Chain | None = None
        last, last_begun, least = inf, 0, off
        offs: list[float] = []
        chains: list[_Chain | None] = []
        for at in range(count + 1):
            for start, is_first in self._may_end[at]:
                entry = (0.0 if is_first else offs[start] + restart) - worth[start]
                if entry < on - tiny:
                    on, begun, before = entry, start, None if is_first else chains[start]
            if at == self._goes_on and on > 0:
                on, begun, before = 0.0, 0, None
            if on + worth[at] < off - tiny:
                off, done = on + worth[at], _Chain(begun, at, before)
                if off < least - tiny:
                    least, best = off, done
            if last + worth[at] < least - tiny:
                least, best = last + worth[at], _Chain(last_begun, at, chains[last_begun])
            if is_gap[at]:
                on = last = inf
            if off + restart - worth[at] < last - tiny:
                last, last_begun = off + restart - worth[at], at
            offs.append(off)
            chains.append(done)
        return self._answer(best if terms.is_running or least < 0 else None)

    def _answer(self, done: _Chain | None) -> _Answer:
        runs: list[Run] = []
        cost = time_s = 0.0
        while done:
            runs.append((self._free.begins_s[done.first], self._free.ends_s[done.last - 1]))
            cost += self._cost[done.last] - self._cost[done.first]
            time_s += self._time[done.last] - self._time[done.first]
            done = done.before
        runs.reverse()
        return _Answer(cost, time_s - restarts_in(runs, self._terms) * self._terms.restart_s, runs)


def spans_around(blocked: tuple[Floats, Floats], terms: Terms) -> tuple[Run, ...] | None:
    """Return the soonest runs of a job that is suspended only where it must be, in the `blocked` intervals.

    None where that leaves it no time. Unlike `FreeTime.cheapest` it needs no intensities, and knows no end.
    """
    begins_s, ends_s = (edges_s[blocked[1] > terms.begins_s] for edges_s in blocked)
    left_s, runs = terms.length_s, list[Run]()
    for from_s, until_s in zip([terms.begins_s, *ends_s.tolist()], [*begins_s.tolist(), inf], strict=True):
        goes_on = terms.is_running and not runs and from_s <= terms.begins_s + EPSILON_S
        restart_s = 0.0 if goes_on or not (runs or terms.is_running) else terms.restart_s
        least_s = terms.forced_s if goes_on else max(terms.min_run_s, SHORTEST_S) + restart_s
        least_s = least_s if least_s > EPSILON_S else SHORTEST_S
        if until_s - from_s < min(least_s, left_s + restart_s) - EPSILON_S:
            continue
        end_s = min(until_s, from_s + left_s + restart_s)
        runs.append((from_s, end_s))
        left_s -= end_s - from_s - restart_s
        if left_s <= EPSILON_S:
            return tuple(runs)
    return None


def restarts_in(runs: Sequence[Run], terms: Terms) -> int:
    """Return how many of these runs are restarts: all but the first, and the first too of a job that is suspended."""
    goes_on = terms.is_running and bool(runs) and runs[0][0] <= terms.begins_s + EPSILON_S
    return max(0, len(runs) - 1) + (terms.is_running and not goes_on and bool(runs))


class _Exact:
    """Runs that are shortened or lengthened until they do just the work that is needed."""

    def __init__(self, free: FreeTime, terms: Terms, runs: Sequence[Run]) -> None:
        self._free, self._terms = free, terms
        self._goes_on = terms.is_running and runs[0][0] <= terms.begins_s + EPSILON_S
        self._runs = [list(run) for run in runs]

    def _over_s(self) -> float:
        """By how much the runs do more than is needed."""
        runs = [(begin_s, end_s) for begin_s, end_s in self._runs]
        total_s = sum(end_s - begin_s for begin_s, end_s in runs)
        return total_s - self._terms.length_s - restarts_in(runs, self._terms) * self._terms.restart_s

    def _least_s(self, nth: int) -> float:
        """How long a run must be at least; the last one may end sooner, since the work is done."""
        terms = self._terms
        if nth == 0 and self._goes_on:
            return max(terms.forced_s, SHORTEST_S)
        restart_s = terms.restart_s if nth or terms.is_running else 0.0
        return restart_s + (SHORTEST_S if nth == len(self._runs) - 1 else terms.min_run_s)

    def shortened(self) -> list[Run] | None:
        """Take away what is dearest at the ends of the runs, and runs that do no more than is too much."""
        while (over_s := self._over_s()) > EPSILON_S:
            dropped = self._dearest_whole(over_s)
            rate, nth, is_end, most_s = self._dearest_end()
            if dropped is not None and (most_s <= 0 or dropped[0] > rate * SAME):
                del self._runs[dropped[1]]
            elif most_s <= 0:
                return None
            else:
                cut_s = min(over_s, most_s)
                self._runs[nth][is_end] += -cut_s if is_end else cut_s
        return [(begin_s, end_s) for begin_s, end_s in self._runs] if self._over_s() >= -EPSILON_S else None

    def _dearest_whole(self, over_s: float) -> tuple[float, int] | None:
        """Return which run can be left out altogether, and what it costs for each second that it gains."""
        best = None
        for nth, (begin_s, end_s) in enumerate(self._runs):
            gained_s = end_s - begin_s - self._terms.restart_s
            if len(self._runs) == 1 or (nth == 0 and self._goes_on) or not EPSILON_S < gained_s <= over_s + EPSILON_S:
                continue
            rate = self._free.cost_of([(begin_s, end_s)]) / gained_s
            if best is None or rate >= best[0]:
                best = rate, nth
        return best

    def _dearest_end(self) -> tuple[float, int, bool, float]:
        """Return the rate at the dearest end of a run, the last of equals; which, and how much of it can go."""
        best = (-1.0, 0, True, 0.0)
        for nth in reversed(range(len(self._runs))):
            begin_s, end_s = self._runs[nth]
            slack_s = end_s - begin_s - self._least_s(nth)
            if slack_s <= EPSILON_S:
                continue
            at = bisect_left(self._free.ends_s, end_s - EPSILON_S)
            if self._free.rates[at] > best[0] * SAME:
                best = self._free.rates[at], nth, True, min(slack_s, end_s - max(begin_s, self._free.begins_s[at]))
            if nth == 0 and self._goes_on:
                continue
            at = bisect_right(self._free.begins_s, begin_s + EPSILON_S) - 1
            if self._free.rates[at] > best[0] * SAME:
                best = self._free.rates[at], nth, False, min(slack_s, min(end_s, self._free.ends_s[at]) - begin_s)
        return best

    def lengthened(self) -> list[Run] | None:
        """Add what is cheapest beside the runs; two that meet are one, which saves a restart."""
        while (over_s := self._over_s()) < -EPSILON_S:
            nth, is_end, most_s = self._cheapest_end()
            if most_s <= 0:
                return None
            step_s = min(-over_s, most_s)
            self._runs[nth][is_end] += step_s if is_end else -step_s
            self._runs = [list(run) for run in _joined([(begin_s, end_s) for begin_s, end_s in self._runs])]
        return self.shortened()

    def _cheapest_end(self) -> tuple[int, bool, float]:
        """Return beside which end of a run it is cheapest, the first of equals, and how much can be added there."""
        best, least = (0, True, 0.0), inf
        free = self._free
        for nth, (begin_s, end_s) in enumerate(self._runs):
            at = bisect_left(free.ends_s, begin_s - EPSILON_S)
            since_s = max(free.begins_s[at], self._runs[nth - 1][1] if nth else -inf)
            if since_s < begin_s - EPSILON_S and free.rates[at] * SAME < least:
                best, least = (nth, False, begin_s - since_s), free.rates[at]
            at = bisect_right(free.begins_s, end_s + EPSILON_S) - 1
            until_s = min(free.ends_s[at], self._runs[nth + 1][0] if nth + 1 < len(self._runs) else inf)
            if until_s > end_s + EPSILON_S and free.rates[at] * SAME < least:
                best, least = (nth, True, until_s - end_s), free.rates[at]
        return best


def _joined(runs: Sequence[Run]) -> list[Run]:
    """Put runs together that follow one another without a break."""
    joined: list[Run] = []
    for begin_s, end_s in runs:
        if joined and begin_s <= joined[-1][1] + EPSILON_S:
            joined[-1] = (joined[-1][0], max(end_s, joined[-1][1]))
        else:
            joined.append((begin_s, end_s))
    return joined
