"""Capacity over time: pools of like GPUs, what is reserved of each, and the starts at which a job still fits.

Where the site caps its power, that is a second resource, which all pools draw on: a job fits where both are free.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats
from greenrun.core.energy.model import Device
from greenrun.core.formatting import count_text, duration_text
from greenrun.core.jobs.availability import waits_for
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.model import DeviceKind, Situation
from greenrun.core.planning.power_cap.site_power import UNCAPPED_MW, SitePower, whole_mw
from greenrun.core.planning.site_limits.reserved import now_reserved

LITTLE = timedelta(seconds=2)
EPSILON_S = 1e-6  # instants closer than a microsecond, the resolution of a datetime, are the same

_EVER, _NEVER = np.array([-np.inf]), np.array([np.inf])


Blocked = tuple[Floats, Floats]


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

    def reserve(self, start_s: float, end_s: float, units: int, mw: int = 0) -> None:
        """Take `units` and `mw` over `[start_s, end_s)`; negative numbers give them back."""
        if mw and self.power is not None:
            self.power.reserve(start_s, end_s, mw)
        first = self._split(start_s)
        last = self._split(end_s)  # before the array is named below: making room replaces it
        self._used[first:last] += units
        self._blocked.clear()

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
        twin, count = Timeline.__new__(Timeline), len(at_s)
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
            return _either(own, (np.maximum(begins[later], goes_on_s), ends[later]))
        drawn, known = self.power.blocked(mw), self._both.get((units, mw))
        if known is None or known[0] is not own or known[1] is not drawn:
            known = self._both[units, mw] = own, drawn, _either(own, drawn)
        return known[2]

    def _blocked_units(self, units: int) -> Blocked:
        if units not in self._blocked:
            full = self._used[: self._count] > self.units - units
            turns = (full[1:] != full[:-1]).nonzero()[
                0
            ] + 1  # before the first instant, and after the last, all is free
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

    def fits(self, starts_s: Floats, duration_s: float, units: int, mw: int = 0) -> np.ndarray:
        """Tell for each start whether `units` and `mw` are free over `[start, start + duration_s)`."""
        if units > self.units:
            return np.zeros(len(starts_s), bool)
        begins, ends = self.blocked(units, mw)
        if not len(begins):
            return np.ones(len(starts_s), bool)
        following = ends.searchsorted(starts_s + EPSILON_S, side="right")
        return np.asarray(np.append(begins, np.inf)[following] >= starts_s + (duration_s - EPSILON_S))

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
        begins, _ = self.blocked(units, mw)
        starts_s = np.append(begins - duration_s, latest_s)
        starts_s = np.sort(starts_s[(starts_s >= earliest_s) & (starts_s <= latest_s)])
        fitting = starts_s[self.fits(starts_s, duration_s, units, mw)]
        return float(fitting[-1]) if len(fitting) else None

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


def _either(left: Blocked, right: Blocked) -> Blocked:
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


CPU = "cpu"
ANY = DeviceKind()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Devices that are all alike to a job; the pool of CPU slots has `slots` in their place."""

    name: str
    kind: DeviceKind | None
    devices: tuple[str, ...] = ()
    slots: int = 0

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.devices) if self.kind else self.slots

    def suits(self, job: Job) -> bool:
        """Tell whether the job could run here if all of it were free."""
        if self.kind is None or not job.spec.gpus:
            return self.kind is None and not job.spec.gpus and self.units > 0
        return job.spec.gpus <= self.units and is_kind(self.kind, job)


def is_kind(kind: DeviceKind, job: Job) -> bool:
    """Tell whether a device of this kind is what the job asks for; an unknown memory size is not enough for any."""
    model, memory_gib = job.spec.gpu_model, job.spec.gpu_memory_gib
    if model is not None and model.casefold() not in kind.model.casefold():
        return False
    return memory_gib is None or (kind.memory_gib is not None and kind.memory_gib >= memory_gib)


def too_few(job: Job, pools: Iterable[Pool], note: str = "") -> Reason:
    """Return the reason for a job that asks for more than any pool has; `note` says why there are no more GPUs."""
    suiting = [pool.units for pool in pools if pool.kind is not None and is_kind(pool.kind, job)]
    most, wishes = max(suiting, default=0), _wishes(job)
    have = [str(most or "none")] + ["such"] * bool(wishes) + ["of one kind"] * (len(suiting) > 1)
    return because(ReasonCode.TOO_FEW_GPUS, gpus=_asked(job), have=" ".join(have) + (note and f": {note}"))


def until_back(job: Job, situation: Situation) -> Reason | None:
    """Return why a job waits for devices that are away; None for one that would find no place if they were back."""
    if not any(pool.suits(job) for pool in all_pools(situation)):
        return None
    if situation.machine_away:
        return waits_for(_asked(job), 0, [situation.machine_away])
    usable = [pool for pool in pools_of(situation) if pool.kind is not None and is_kind(pool.kind, job)]
    missed = [absence for device, absence in situation.away.items() if is_kind(situation.kinds.get(device, ANY), job)]
    return waits_for(_asked(job), max((pool.units for pool in usable), default=0), missed) if missed else None


def shut_out(job: Job, situation: Situation, pools: Iterable[Pool]) -> Reason | None:
    """Return why a job waits that can never run in one go between the hours in which GPUs are reserved every week.

    None for one that can, or that may be suspended. There is a pool that suits it.
    """
    if not job.spec.gpus or job.spec.interruptible or not any(row.repeats for row in situation.reserved):
        return None
    length_s, ready_s = job.remaining.total_seconds(), max(situation.now, job.earliest_start).timestamp()
    for pool in pools:
        kept = [row for row in situation.reserved if row.device in pool.devices]
        if not pool.suits(job) or not any(row.repeats for row in kept):
            if pool.suits(job):
                return None
            continue
        line = Timeline(pool.units)
        for row in kept:
            line.reserve(row.start.timestamp(), row.end.timestamp(), 1)
        start_s = line.first_fit(ready_s, length_s, job.spec.gpus)
        if start_s is not None and start_s < max(row.start for row in kept if row.repeats).timestamp():
            return None
        if ready_s >= max(row.start for row in kept if row.repeats).timestamp():
            return None  # what is reserved then is not known yet
    weekly = sorted({row.name for row in situation.reserved if row.repeats})
    what = f"waits for {_asked(job)} for {duration_text(job.remaining)} in one go"
    who = f"GPUs are reserved every week ({', '.join(weekly)}), and never free for that long between"
    why = "shorten it, make it interruptible, or take GPUs that are not reserved"
    return because(ReasonCode.RESERVED, what=what, who=who, why=why)


def _asked(job: Job) -> str:
    return " ".join([count_text(job.spec.gpus, "GPU"), *_wishes(job)]) if job.spec.gpus else "a CPU slot"


def _wishes(job: Job) -> list[str]:
    model, memory_gib = job.spec.gpu_model, job.spec.gpu_memory_gib
    return [f"of model {model}"] * bool(model) + ([f"with {memory_gib:g} GiB"] if memory_gib else [])


def all_pools(situation: Situation) -> tuple[Pool, ...]:
    """Return the pools as they are when nothing is away."""
    return pools_of(replace(situation, away={}, machine_away=None))


def pools_of(situation: Situation) -> tuple[Pool, ...]:
    """Return what can be planned with: the kinds of GPU in order of their first device, then the CPU slots."""
    by_kind: dict[DeviceKind, list[str]] = {}
    for device in () if situation.machine_away else situation.devices:
        if device not in situation.away:
            by_kind.setdefault(situation.kinds.get(device, ANY), []).append(device)
    gpus = [Pool(name=pool_name(kind), kind=kind, devices=tuple(devices)) for kind, devices in by_kind.items()]
    return (*gpus, Pool(name=CPU, kind=None, slots=0 if situation.machine_away else situation.cpu_slots))


def kind_of(device: Device) -> DeviceKind:
    """Return what tells a device apart for a job."""
    memory = device.memory_bytes
    return DeviceKind(model=device.model, memory_gib=None if memory is None else round(memory / 2**30, 1))


def pool_name(kind: DeviceKind) -> str:
    """Name a pool, the same after a restart: `A100 80 GiB`, `gpu`."""
    memory = f" {kind.memory_gib:g} GiB" if kind.memory_gib is not None else ""
    return f"{kind.model or 'gpu'}{memory}"


def timelines(situation: Situation, pools: Sequence[Pool]) -> list[Timeline]:
    """Return when the units of each pool are taken by what runs now and will not be moved."""
    now_s, site = situation.now.timestamp(), situation.power
    power = power_line(situation, site)[0] if site else None
    rows = [Timeline(pool.units, power) for pool in pools]
    home = home_of(pools)
    for device, until in situation.busy.items():
        mw = site.held_mw(device) if site else 0
        line = rows[home[device]] if device in home else power
        if line is not None:
            begin_s, end_s = now_s - 1, max(until.timestamp(), now_s)
            line.reserve(begin_s, end_s, 1, mw) if device in home else line.reserve(begin_s, end_s, mw)
    for row in situation.reserved:
        start = max(row.start, situation.busy.get(row.device, row.start))  # one that overruns has it, and no other
        if row.device in home and start < row.end:
            begin_s = now_s - 1 if start <= situation.now else start.timestamp()
            rows[home[row.device]].reserve(begin_s, row.end.timestamp(), 1)
    for until in situation.cpu_busy if rows[-1].units else ():
        rows[-1].reserve(now_s - 1, max(until.timestamp(), now_s), 1)
    return rows


def power_line(situation: Situation, site: SitePower) -> tuple[Timeline, float]:
    """Return what may be drawn of the site's power beside its host and all GPUs, idle ones and those of others.

    It is known up to the instant that goes with it, in epoch seconds; later, all is free.
    """
    jobs = [*situation.jobs, *(run.job for run in situation.running)]
    latest = max((job.earliest_start for job in jobs), default=situation.now)
    until = max(situation.now, latest) + site.ahead(jobs, situation.devices)
    return power_left(site, situation.now, until, base_mw(situation, site)), until.timestamp()


def base_mw(situation: Situation, site: SitePower) -> int:
    """Return what the host and all idle GPUs draw, and those that others use, in milliwatts."""
    theirs = now_reserved(situation.reserved, situation.now) if situation.reserved else {}
    others = [one for one in {**situation.away, **theirs} if one in site.drawn_w and one not in situation.busy]
    return whole_mw(site.base_w(situation.devices)) + sum(map(site.held_mw, others))


def power_left(site: SitePower, now: datetime, until: datetime, beside_mw: int = 0) -> Timeline:
    """Return what may be drawn beside so much from now on, in milliwatts."""
    line = Timeline(UNCAPPED_MW)
    for begin_s, end_s, cap_mw in site.caps(now - LITTLE, until):
        if end_s > now.timestamp():
            line.reserve(begin_s, end_s, UNCAPPED_MW - max(0, cap_mw - beside_mw))
    return line


def needs_mw(site: SitePower | None, jobs: Sequence[Job], pools: Sequence[Pool]) -> NDArray[np.int64]:
    """Return what each job draws in each pool in milliwatts, shape (pools, jobs); 0 where nothing is capped."""
    found = np.zeros((len(pools), len(jobs)), dtype=np.int64)
    for index, pool in enumerate(pools) if site else ():
        if site and pool.devices:
            found[index] = [site.need_mw(job, pool.devices) for job in jobs]
    return found


def home_of(pools: Sequence[Pool]) -> Mapping[str, int]:
    """Return the index of each device's pool."""
    return {device: index for index, pool in enumerate(pools) for device in pool.devices}
