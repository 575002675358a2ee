"""Capacity over time: what is reserved of like GPUs, or of power, and the starts at which a job still fits."""

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats

EPSILON_S = 1e-6  # instants closer than a microsecond, the resolution of a datetime, are the same

_EVER, _NEVER = np.array([-np.inf]), np.array([np.inf])


Blocked = tuple[Floats, Floats]
Split = tuple[int, ...]  # how many GPUs of each group, where they are not all alike; else ()


class Timeline:
    """`units` identical GPUs (or CPU slots) and how many are taken, as a step function of epoch seconds.

    Those held for others (`holding`) count as taken, until they are let go (`letting_go`). `power` is the same of the
    milliwatts that a site may draw, which the pools have in common; None where it may draw what it likes. Copies share
    it until they get one of their own (`copies`, `twins`, `let_go`). What a job needs of it is `mw`.
    """

    __slots__ = ("_at_s", "_blocked", "_both", "_count", "_held", "_used", "power", "units")

    def __init__(self, units: int, power: "Timeline | None" = None) -> None:
        self.units, self.power = units, power
        self._both: dict[tuple[int, int], tuple[Blocked, Blocked, Blocked]] = {}
        self._at_s = np.full(32, -np.inf)
        self._used = np.zeros(32, dtype=np.int64)
        self._held: NDArray[np.int64] | None = None  # of those used, on the same steps
        self._count = 1
        self._blocked: dict[int, Blocked] = {}  # what was asked for since the last change

    def split_of(self, devices: Iterable[str]) -> Split:
        """Return how many of these devices there are in each group, where there are groups."""
        return ()

    def shares(self, split: Split) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Return of which devices how many there are in a split."""
        return ()

    def reserve(self, start_s: float, end_s: float, units: int, mw: int = 0, own: Split = ()) -> Split:
        """Take `units` and `mw` over `[start_s, end_s)`; negative numbers give them back.

        Return of which groups, those in `own` if it can be; () where there are none.
        """
        if mw and self.power is not None:
            self.power.reserve(start_s, end_s, mw)
        first = self._split(start_s)
        last = self._split(end_s)  # before the array is named below: making room replaces it
        self._used[first:last] += units
        self._blocked.clear()
        return ()

    def taking(self, starts_s: Floats, ends_s: Floats, units: Floats) -> "Timeline | None":
        """Return a copy with so many units taken over each of these intervals; None where there are not as many.

        What they draw is not taken.
        """
        count = self._count
        at_s = np.concatenate([self._at_s[:count], starts_s, ends_s])
        at_s.sort()
        new = np.ones(len(at_s), bool)
        new[1:] = at_s[1:] > at_s[:-1] + EPSILON_S
        at_s = at_s[new]
        before = self._at_s[:count].searchsorted(at_s + EPSILON_S, side="right") - 1
        begins, ends = (at_s.searchsorted(edges_s - EPSILON_S) for edges_s in (starts_s, ends_s))
        size = len(at_s) + 1
        more = np.bincount(begins, units, size) - np.bincount(ends, units, size)
        taken = np.cumsum(more)[:-1].round().astype(np.int64)
        used = self._used[before] + taken
        if (used[taken > 0] > self.units).any():
            return None
        return self._with(at_s, used, None if self._held is None else self._held[before])

    def copy(self) -> "Timeline":
        """Return an independent copy, without the instants at which nothing changes any more."""
        used = self._used[: self._count]
        keep = np.ones(self._count, bool)
        np.not_equal(used[1:], used[:-1], out=keep[1:])
        if self._held is not None:
            held = self._held[: self._count]
            keep[1:] |= held[1:] != held[:-1]
        return self._with(self._at_s[: self._count][keep], used[keep], None if self._held is None else held[keep])

    def twin(self) -> "Timeline":
        """Return an independent copy as it is, which costs less than one without needless instants."""
        return self._with(self._at_s[: self._count], self._used[: self._count], self._held)

    def holding(self, knots_s: Floats, held: NDArray[np.int64]) -> "Timeline":
        """Return a copy in which so many more units are taken between successive knots, shape (n,), to be let go."""
        twin = self.copy()
        twin._held = np.zeros_like(twin._used)
        turns = np.flatnonzero(np.diff(held, prepend=0, append=0))
        for begin, end in pairwise(turns.tolist()):
            first, last = twin._split(float(knots_s[begin])), twin._split(float(knots_s[end]))
            twin._used[first:last] += held[begin]
            twin._held[first:last] += held[begin]
        return twin

    def letting_go(self) -> "Timeline":
        """Return a copy in which nothing is held."""
        used = self._used[: self._count]
        return self._with(self._at_s[: self._count], used if self._held is None else used - self._held[: self._count])

    def _with(self, at_s: Floats, used: NDArray[np.int64], held: NDArray[np.int64] | None = None) -> "Timeline":
        twin, count = Timeline.__new__(type(self)), len(at_s)
        size = 2 * count + 32
        twin.units, twin._count, twin._held, twin._blocked = self.units, count, None, {}
        twin.power, twin._both = self.power, {}
        twin._at_s = np.full(size, -np.inf)
        twin._at_s[:count] = at_s
        twin._used = np.zeros(size, dtype=np.int64)
        twin._used[:count] = used
        if held is not None:
            twin._held = np.zeros(size, dtype=np.int64)
            twin._held[:count] = held[:count]
        return twin

    def blocked(self, units: int, mw: int = 0, goes_on_s: float = -np.inf) -> Blocked:
        """Return the starts and ends, shape (n,), of the merged intervals in which `units` and `mw` are not free.

        Up to `goes_on_s` power is no matter: what cannot be suspended before that draws it anyway.
        """
        own = self._blocked_units(units)
        if not mw or self.power is None:
            return own
        if goes_on_s > -np.inf:
            begins, ends = self.power.blocked(mw)
            later = ends > goes_on_s + EPSILON_S
            return either(own, (np.maximum(begins[later], goes_on_s), ends[later]))
        drawn, known = self.power.blocked(mw), self._both.get((units, mw))
        if known is None or known[0] is not own or known[1] is not drawn:
            known = self._both[units, mw] = own, drawn, either(own, drawn)
        return known[2]

    def _blocked_units(self, units: int) -> Blocked:
        if units not in self._blocked:
            full = self._used[: self._count] > self.units - units
            # before the first instant, and after the last, all is free
            turns = (full[1:] != full[:-1]).nonzero()[0] + 1
            times = self._at_s[turns]
            self._blocked[units] = times[0::2], times[1::2]
        return self._blocked[units]

    def is_free(self, start_s: float, end_s: float, units: int, mw: int = 0) -> bool:
        """Tell whether `units` and `mw` are free over `[start_s, end_s)`."""
        if mw and self.power is not None and not self.power.is_free(start_s, end_s, mw):
            return False
        if units in self._blocked and units <= self.units:  # it is known already: one look instead of two and a sum
            begins, ends = self._blocked[units]
            following = ends.searchsorted(start_s + EPSILON_S, "right")
            return bool(following == len(begins) or begins[following] >= end_s - EPSILON_S)
        at_s = self._at_s[: self._count]
        first = at_s.searchsorted(start_s + EPSILON_S, "right") - 1
        last = at_s.searchsorted(end_s - EPSILON_S, "right")
        return bool(self._used[first:last].max() <= self.units - units)

    def free_throughout(self, start_s: float, end_s: float) -> int:
        """Return how many units are free all the time of `[start_s, end_s)`; negative where more are taken."""
        at_s = self._at_s[: self._count]
        first = at_s.searchsorted(start_s + EPSILON_S, "right") - 1
        last = max(first + 1, at_s.searchsorted(end_s - EPSILON_S, "right"))
        return self.units - int(self._used[first:last].max())

    def free_from(self, at_s: Floats) -> NDArray[np.int64]:
        """Return how many units are free at each of these instants, shape (n,)."""
        first = self._at_s[: self._count].searchsorted(at_s + EPSILON_S, "right") - 1
        return np.asarray(self.units - self._used[first])

    def fits(self, starts_s: Floats, duration_s: float, units: int, mw: int = 0) -> np.ndarray:
        """Tell for each start whether `units` and `mw` are free over `[start, start + duration_s)`."""
        if units > self.units:
            return np.zeros(len(starts_s), bool)
        return is_clear(self.blocked(units, mw), starts_s, duration_s)

    def starts(self, starts_s: Floats, duration_s: float, units: int, mw: int = 0) -> tuple[NDArray[np.bool_], Floats]:
        """Tell for each start whether it fits, and return, in order, the starts that fit right beside what is taken."""
        begins, ends = self.blocked(units, mw)
        before = np.concatenate((begins, _NEVER))  # the run must be over before the next of these
        last_s = before - (duration_s - EPSILON_S)
        free = last_s[ends.searchsorted(starts_s + EPSILON_S, "right")] >= starts_s
        follows = ends[last_s[1:] >= ends]
        precede = begins - duration_s
        precede = precede[np.concatenate((_EVER, ends[:-1])) <= precede + EPSILON_S] if len(begins) else precede
        return free, np.sort(np.concatenate((follows, precede)))

    def first_fit(self, earliest_s: float, duration_s: float, units: int, mw: int = 0) -> float | None:
        """Return the earliest start at or after `earliest_s` that fits; None when there never are that many units."""
        if units > self.units:
            return None
        begins, ends = self.blocked(units, mw)
        following = int(ends.searchsorted(earliest_s + EPSILON_S, "right"))  # the first that is not over by then
        if following == len(begins) or begins[following] >= earliest_s + (duration_s - EPSILON_S):
            return earliest_s
        enough = begins[following + 1 :] - ends[following:-1] >= duration_s - EPSILON_S
        nth = int(enough.argmax()) if len(enough) else 0
        return float(ends[following + nth] if len(enough) and enough[nth] else ends[-1])

    def free_between(self, start_s: float, end_s: float) -> list[tuple[float, float, int]]:
        """Return `(start, end, units)` for each stretch of an interval in which some units are free."""
        edges = self._at_s[1 : self._count]
        borders = [start_s, *edges[(edges > start_s) & (edges < end_s)].tolist(), end_s]
        at_s = self._at_s[: self._count]
        rows = []
        for begin_s, until_s in pairwise(borders):
            free = self.units - int(self._used[at_s.searchsorted(begin_s, side="right") - 1])
            if free > 0:
                rows.append((begin_s, until_s, free))
        return rows

    def last_fit(self, earliest_s: float, latest_s: float, duration_s: float, units: int, mw: int = 0) -> float | None:
        """Return the latest start from `earliest_s` to `latest_s` that fits; None when there is none."""
        begins, _ = self._borders_s(units, mw)
        starts_s = np.append(begins - duration_s, latest_s)
        starts_s = np.sort(starts_s[(starts_s >= earliest_s) & (starts_s <= latest_s)])
        fitting = starts_s[self.fits(starts_s, duration_s, units, mw)]
        return float(fitting[-1]) if len(fitting) else None

    def _borders_s(self, units: int, mw: int) -> Blocked:
        """Return where anything begins, and where anything ends, that keeps `units` and `mw` from being free."""
        return self.blocked(units, mw)

    def free_steps(self) -> tuple[list[float], list[int]]:
        """Return the instants from which on, in epoch seconds, how many units are free: in order, from the first on."""
        return self._at_s[1 : self._count].tolist(), (self.units - self._used[1 : self._count]).tolist()

    def means(self, knots_s: Floats) -> Floats:
        """Return the mean number of units taken between successive knots: shape (n,) to (n - 1,)."""
        return self._means(self._used[: self._count], knots_s)

    def short(self, each: int, most: int, knots_s: Floats) -> Floats:
        """Return of how many of `most` that take `each`, in the mean between successive knots, not all fit."""
        fit = (self.units - self._used[: self._count]) // each
        return self._means(np.clip(most - fit, 0, most), knots_s)

    def _means(self, values: NDArray[np.int64], knots_s: Floats) -> Floats:
        at_s = self._at_s[1 : self._count]
        if not len(at_s):
            return np.zeros(len(knots_s) - 1)
        area = np.concatenate([[0.0], np.cumsum(np.diff(at_s) * values[1:-1])])
        return np.asarray(np.diff(np.interp(knots_s, at_s, area)) / np.diff(knots_s))

    def _split(self, at_s: float) -> int:
        """Return the index of the step that begins at this instant, made if need be."""
        count = self._count
        index = int(self._at_s[:count].searchsorted(at_s - EPSILON_S))
        if index < count and self._at_s[index] <= at_s + EPSILON_S:
            return index
        if count == len(self._at_s):
            self._at_s = np.concatenate([self._at_s, np.full(count, -np.inf)])
            self._used = np.concatenate([self._used, np.zeros(count, dtype=np.int64)])
            if self._held is not None:
                self._held = np.concatenate([self._held, np.zeros(count, dtype=np.int64)])
        self._at_s[index + 1 : count + 1] = self._at_s[index:count]
        self._used[index + 1 : count + 1] = self._used[index:count]
        self._at_s[index] = at_s
        self._used[index] = self._used[index - 1]
        if self._held is not None:
            self._held[index + 1 : count + 1] = self._held[index:count]
            self._held[index] = self._held[index - 1]
        self._count += 1
        return index


def is_clear(blocked: Blocked, starts_s: Floats, duration_s: float) -> NDArray[np.bool_]:
    """Tell for each start, shape (n,), whether `[start, start + duration_s)` is free of what is blocked."""
    begins, ends = blocked
    if not len(begins):
        return np.ones(len(starts_s), bool)
    following = ends.searchsorted(starts_s + EPSILON_S, side="right")
    return np.asarray(np.append(begins, np.inf)[following] >= starts_s + (duration_s - EPSILON_S))


def either(left: Blocked, right: Blocked) -> Blocked:
    """Return the merged intervals of both."""
    if not len(left[0]):
        return right
    if not len(right[0]):
        return left
    at_s = np.concatenate([left[0], right[0], left[1], right[1]])
    count = len(left[0]) + len(right[0])
    steps = np.repeat(np.array([1, -1]), count)
    order = np.lexsort((-steps, at_s))  # where one ends and another begins, they are one
    at_s, depth = at_s[order], np.cumsum(steps[order])
    begins = (steps[order] == 1) & (depth == 1)
    return at_s[begins], at_s[depth == 0]


def copies(lines: Iterable[Timeline]) -> list[Timeline]:
    """Return independent copies of the timelines of all pools, which share a copy of their power."""
    return _sharing([line.copy() for line in lines], Timeline.copy)


def twins(lines: Iterable[Timeline]) -> list[Timeline]:
    """Return the same by `Timeline.twin`."""
    return _sharing([line.twin() for line in lines], Timeline.twin)


def let_go(lines: Iterable[Timeline]) -> list[Timeline]:
    """Return the same by `Timeline.letting_go`."""
    return _sharing([line.letting_go() for line in lines], Timeline.letting_go)


def _sharing(lines: list[Timeline], copied: Callable[[Timeline], Timeline]) -> list[Timeline]:
    power = lines[0].power if lines else None
    return lines if power is None else drawing_on(copied(power), lines)


def drawing_on(power: Timeline | None, lines: list[Timeline]) -> list[Timeline]:
    """Let these timelines draw on one and the same power; return them."""
    for line in lines:
        line.power = power
    return lines
