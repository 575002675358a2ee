"""Capacity of like GPUs that are reserved at different times: a run keeps its GPUs, so that counting is not enough.

Where one GPU is reserved as another comes back, one is free at any time, but none for long. So GPUs with the same
reservations form a group. Inside a group counting is enough: what is planned there can be given to GPUs in order of
its start. What is reserved of the whole is split among the groups, and stays so.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Blocked, Split, Timeline, either, is_clear

CUT_S = 1e-3  # how long a run is at least interrupted that goes on with other GPUs

Spans = tuple[tuple[float, float], ...]


class GroupedTimeline(Timeline):
    """A timeline of GPUs in groups, and how many of each group are taken.

    What is held (`holding`) counts for the whole only: others may have it if need be.
    """

    __slots__ = ("_cut", "_edges", "_parts", "_splits", "groups")

    def __init__(self, groups: Sequence[tuple[str, ...]], power: Timeline | None = None) -> None:
        super().__init__(sum(map(len, groups)), power)
        self.groups = tuple(groups)
        self._parts = [Timeline(len(devices)) for devices in groups]
        self._splits: dict[tuple[float, float, int], tuple[Split, ...]] = {}  # of what is taken, by when and how many
        self._cut: dict[int, Blocked] = {}
        self._edges: Floats | None = None

    def split_of(self, devices: Iterable[str]) -> Split:
        """Return how many of these devices there are in each group."""
        asked = set(devices)
        return tuple(len(asked.intersection(own)) for own in self.groups)

    def shares(self, split: Split) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Return of which devices how many there are in a split."""
        return tuple((own, count) for own, count in zip(self.groups, split, strict=True) if count)

    def reserve(self, start_s: float, end_s: float, units: int, mw: int = 0, own: Split = ()) -> Split:
        """Take `units`, of the groups as in `own` if they are free there, else where the least else can be put.

        Negative numbers give back what was taken over just this time.
        """
        super().reserve(start_s, end_s, units, mw)
        self._cut.clear()
        self._edges = None
        key, count = (start_s, end_s, abs(units)), abs(units)
        known = self._splits.get(key, ())
        if units >= 0:
            split = self._given(start_s, end_s, count, own)
            self._splits[key] = (*known, split)
        else:
            split = own if own in known else known[-1] if known else self._used_most(start_s, end_s, count)
            at = known.index(split) if known else 0
            self._splits[key] = known[:at] + known[at + 1 :]
        for part, each in zip(self._parts, split, strict=True):
            if each:
                part.reserve(start_s, end_s, each if units >= 0 else -each)
        return split

    def _given(self, start_s: float, end_s: float, units: int, own: Split) -> Split:
        free = [max(0, part.free_throughout(start_s, end_s)) for part in self._parts]
        if sum(own) == units and all(each <= there for each, there in zip(own, free, strict=False)):
            return own
        order = sorted(range(len(free)), key=lambda nth: (_until_s(self._parts[nth], end_s), nth))
        split = [0] * len(free)
        for nth in order:
            split[nth] = min(free[nth], units - sum(split))
        for nth in order:  # more than there are: what runs may overrun
            split[nth] += min(self._parts[nth].units, units - sum(split))
        split[order[-1]] += units - sum(split)
        return tuple(split)

    def _used_most(self, start_s: float, end_s: float, units: int) -> Split:
        used = [part.units - part.free_throughout(start_s, end_s) for part in self._parts]
        split = [0] * len(used)
        for nth in sorted(range(len(used)), key=lambda nth: -used[nth]):
            split[nth] = min(max(0, used[nth]), units - sum(split))
        return tuple(split)

    def taking(self, starts_s: Floats, ends_s: Floats, units: Floats) -> "Timeline | None":
        """Return a copy with so many units taken over each of these intervals; None where there are not as many."""
        twin = self.copy()
        for start_s, end_s, each in sorted(zip(starts_s.tolist(), ends_s.tolist(), units.tolist(), strict=True)):
            if not twin.is_free(start_s, end_s, int(each)):
                return None
            twin.reserve(start_s, end_s, int(each))
        return twin

    def _with(self, at_s: Floats, used: NDArray[np.int64], held: NDArray[np.int64] | None = None) -> "GroupedTimeline":
        twin = super()._with(at_s, used, held)
        assert isinstance(twin, GroupedTimeline), "it is of this class"
        twin.groups, twin._splits, twin._cut, twin._edges = self.groups, dict(self._splits), {}, None
        twin._parts = [part.copy() for part in self._parts]
        return twin

    def _blocked_units(self, units: int) -> Blocked:
        """Return when as many are not free; and an instant wherever they are free before and after, but not the same.

        So whatever lies between can be had from its beginning to its end.
        """
        if units not in self._cut:
            counted = super()._blocked_units(units)
            cuts = np.array(self._cuts(units, counted)) if 0 < units <= self.units else np.zeros(0)
            self._cut[units] = either(counted, (cuts - CUT_S, cuts)) if len(cuts) else counted
        return self._cut[units]

    def _cuts(self, units: int, counted: Blocked) -> list[float]:
        edges = self._edges_s()
        free = np.array([np.maximum(part.free_from(edges), 0) for part in self._parts])  # from each edge to the next
        begins, ends = counted
        cuts: list[float] = []
        left: NDArray[np.int64] | None = None
        for nth, at_s in enumerate(edges.tolist()):
            following = int(ends.searchsorted(at_s + EPSILON_S, "right"))
            if following < len(begins) and begins[following] <= at_s + EPSILON_S:
                left = None
                continue
            now = free[:, nth] if left is None else np.minimum(left, free[:, nth])
            if left is not None and now.sum() < units:
                cuts.append(at_s)
                now = free[:, nth]
            left = now
        return cuts

    def _edges_s(self) -> Floats:
        """Return when anything changes: in a group it may where the whole stays the same."""
        if self._edges is None:
            every = [line._at_s[1 : line._count] for line in (self, *self._parts)]
            self._edges = np.unique(np.concatenate(every))
        return self._edges

    def is_free(self, start_s: float, end_s: float, units: int, mw: int = 0) -> bool:
        """Tell whether `units` and `mw` are free over `[start_s, end_s)`, the same ones all the time."""
        if not super().is_free(start_s, end_s, units, mw):
            return False
        return units <= 0 or sum(max(0, part.free_throughout(start_s, end_s)) for part in self._parts) >= units

    def fits(self, starts_s: Floats, duration_s: float, units: int, mw: int = 0) -> np.ndarray:
        """Tell for each start whether `units` and `mw` are free over `[start, start + duration_s)`."""
        if units > self.units or not len(starts_s):
            return np.zeros(len(starts_s), bool)
        fits = np.ones(len(starts_s), bool)
        for blocked in self._blocked_of_all(units, mw):
            fits &= is_clear(blocked, starts_s, duration_s)
        if units == 1:
            parts = (part.fits(starts_s, duration_s, 1) for part in self._parts)
            return np.asarray(fits & np.logical_or.reduce(list(parts)))
        free = np.zeros(len(starts_s), dtype=np.int64)
        for part in self._parts:
            for each in range(1, min(units, part.units) + 1):
                free += part.fits(starts_s, duration_s, each)
        return np.asarray(fits & (free >= units))

    def starts(self, starts_s: Floats, duration_s: float, units: int, mw: int = 0) -> tuple[NDArray[np.bool_], Floats]:
        """Tell for each start whether it fits, and return, in order, the starts that fit right beside what is taken."""
        begins, ends = self._borders_s(units, mw)
        beside_s = np.unique(np.concatenate((ends, begins - duration_s)))
        fits = self.fits(np.concatenate((starts_s, beside_s)), duration_s, units, mw)
        return fits[: len(starts_s)], beside_s[fits[len(starts_s) :]]

    def first_fit(self, earliest_s: float, duration_s: float, units: int, mw: int = 0) -> float | None:
        """Return the earliest start at or after `earliest_s` that fits; None when there never are that many units."""
        if units > self.units:
            return None
        _, ends = self._borders_s(units, mw)
        starts_s = np.concatenate(([earliest_s], np.sort(ends[ends > earliest_s])))
        found = self.fits(starts_s, duration_s, units, mw).nonzero()[0]
        return float(starts_s[found[0]] if len(found) else starts_s[-1])

    def _blocked_of_all(self, units: int, mw: int) -> list[Blocked]:
        """Return when as many are not free of the whole, and as much power."""
        power = [self.power.blocked(mw)] if mw and self.power is not None else []
        return [Timeline._blocked_units(self, units), *power]

    def _borders_s(self, units: int, mw: int) -> Blocked:
        """Return the same of the whole, of each group and of the power, in no order.

        What else changes, changes nothing for them: in long queues that is most of it.
        """
        every = self._blocked_of_all(units, mw)
        every += [part.blocked(each) for part in self._parts for each in range(1, min(units, part.units) + 1)]
        return np.concatenate([begins for begins, _ in every]), np.concatenate([ends for _, ends in every])


def timeline_of(
    devices: Sequence[str], slots: int, reserved: Mapping[str, Spans], power: Timeline | None = None
) -> Timeline:
    """Return an empty timeline of these devices, or of CPU slots; `reserved` is when each will be reserved."""
    groups: dict[Spans, list[str]] = {}
    for device in devices:
        groups.setdefault(reserved.get(device, ()), []).append(device)
    if len(groups) < 2:
        return Timeline(len(devices) or slots, power)
    return GroupedTimeline([tuple(own) for own in groups.values()], power)


def _until_s(part: Timeline, at_s: float) -> float:
    """Return from when on nothing of a part is free any more, as seen from an instant."""
    begins, ends = part.blocked(1)
    following = int(ends.searchsorted(at_s + EPSILON_S, "right"))
    return float(begins[following]) if following < len(begins) else float("inf")
