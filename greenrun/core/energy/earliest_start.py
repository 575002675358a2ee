"""The baseline of reports for a schedule that says how many GPUs a run has, but not which: a plan's, or a simulation's.

As in `baseline.py` runs take their places in the order of their starts, each as early as its GPUs are free of those
before it. Which GPUs it has is what a scheduler does that takes the first ones that are free.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SLACK_S = 1e-6  # instants that differ by less are the same, but for the noise of a float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stint:
    """A run of `gpus` of a pool over `[start_s, end_s)`, of which it did more than load from `resumes_s` on.

    Its job could start at `ready_s`, but not before the places of the stints `after` (by their rows) have ended.
    """

    start_s: float
    resumes_s: float
    end_s: float
    ready_s: float
    gpus: int
    pool: int | None = None
    after: tuple[int, ...] = ()

    @property
    def length_s(self) -> float:
        """How long it would have taken without loading."""
        return max(0.0, self.end_s - self.resumes_s)


def earliest_starts(stints: Sequence[Stint], free_s: Mapping[int, Sequence[float]]) -> list[float]:
    """Return the instant at which each would have begun; never a later one than that from which it did more than load.

    `free_s` tells for each pool from when on each of its GPUs is free; a pool that is not in it has as many as needed.
    """
    pools = {name: _Pool(own) for name, own in free_s.items()}
    places_s = [stint.resumes_s for stint in stints]
    for row in sorted(range(len(stints)), key=lambda row: (stints[row].start_s, row)):
        stint = stints[row]
        ready_s = max([stint.ready_s, *(places_s[other] + stints[other].length_s for other in stint.after)])
        pool = None if stint.pool is None else pools.get(stint.pool)
        gpus = pool.take(stint) if pool is not None else []
        at_s = min(_free_from(gpus, ready_s, stint.length_s), stint.resumes_s)
        for gpu in gpus:
            gpu.hold(at_s, at_s + stint.length_s)
        places_s[row] = at_s
    return places_s


def _free_from(gpus: Sequence["_Gpu"], ready_s: float, length_s: float) -> float:
    """Return the first instant from `ready_s` on from which all of these are free for so long."""
    at_s, before_s = ready_s, None
    while at_s != before_s:
        before_s = at_s
        for gpu in gpus:
            at_s = gpu.free_from(at_s, length_s)
    return at_s


class _Gpu:
    """When a GPU is held in the baseline, as intervals that do not touch."""

    __slots__ = ("ends_s", "starts_s")

    def __init__(self, free_s: float) -> None:
        self.starts_s, self.ends_s = [float("-inf")], [free_s]

    def free_from(self, at_s: float, length_s: float) -> float:
        index = bisect_right(self.ends_s, at_s)
        while index < len(self.starts_s) and self.starts_s[index] < at_s + length_s - _SLACK_S:
            at_s = max(at_s, self.ends_s[index])
            index += 1
        return at_s

    def hold(self, start_s: float, end_s: float) -> None:
        first, last = bisect_left(self.ends_s, start_s - _SLACK_S), bisect_right(self.starts_s, end_s + _SLACK_S)
        if first < last:
            start_s, end_s = min(start_s, self.starts_s[first]), max(end_s, self.ends_s[last - 1])
        self.starts_s[first:last], self.ends_s[first:last] = [start_s], [end_s]


class _Pool:
    """The GPUs of a kind, as the schedule itself takes them: the first that are free."""

    def __init__(self, free_s: Sequence[float]) -> None:
        self._gpus: defaultdict[int, _Gpu] = defaultdict(lambda: _Gpu(float("-inf")))
        self._gpus.update({row: _Gpu(at_s) for row, at_s in enumerate(free_s) if at_s > float("-inf")})
        self._busy = [(at_s, row) for row, at_s in enumerate(free_s)]  # (until when, which), by the schedule
        heapq.heapify(self._busy)
        self._free: list[int] = []

    def take(self, stint: Stint) -> list[_Gpu]:
        """Give a stint its GPUs; those before it must have been given theirs."""
        while self._busy and self._busy[0][0] <= stint.start_s + _SLACK_S:
            heapq.heappush(self._free, heapq.heappop(self._busy)[1])
        rows = [heapq.heappop(self._free) for _ in range(min(stint.gpus, len(self._free)))]
        rows += [heapq.heappop(self._busy)[1] for _ in range(min(stint.gpus - len(rows), len(self._busy)))]  # overrun
        for row in rows:
            heapq.heappush(self._busy, (stint.end_s, row))
        return [self._gpus[row] for row in rows]
