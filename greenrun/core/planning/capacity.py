"""Capacity over time: pools of like GPUs, what is reserved of each, and the starts at which a job still fits.

Where the site caps its power, that is a second resource, which all pools draw on: a job fits where both are free.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from greenrun.core.energy.model import Device
from greenrun.core.formatting import count_text, duration_text
from greenrun.core.jobs.availability import waits_for
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.gpu_timelines.grouped_timeline import timeline_of
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.model import DeviceKind, Situation
from greenrun.core.planning.power_cap.site_power import UNCAPPED_MW, SitePower, whole_mw
from greenrun.core.planning.site_limits.reserved import Reserved, now_reserved

LITTLE = timedelta(seconds=2)

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
    """Tell whether a device of this kind is what the job asks for; an unknown memory size is not enough for any.

    A part of a board is for a job of one GPU that is content with a part, or names the profile of a MIG instance.
    """
    model, memory_gib = job.spec.gpu_model, job.spec.gpu_memory_gib
    if kind.of_board and job.spec.gpus > 1:
        return False
    if bool(kind.of_board) != job.spec.shared and not _names_profile(model, kind):
        return False
    if model is not None and model.casefold() not in kind.model.casefold():
        return False
    return memory_gib is None or (kind.memory_gib is not None and kind.memory_gib >= memory_gib)


def _names_profile(model: str | None, kind: DeviceKind) -> bool:
    """Tell whether a model names the profile of a MIG instance, whose kind's model ends with it."""
    return bool(model and kind.of_board and kind.of_board.casefold() in model.casefold() and _is_profile(kind))


def _is_profile(kind: DeviceKind) -> bool:
    return kind.model.endswith(kind.of_board)


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
        line = timeline_of(pool.devices, 0, reserved_ahead(kept))
        for row in kept:
            line.reserve(row.start.timestamp(), row.end.timestamp(), 1, own=line.split_of([row.device]))
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
    wishes = ["to share"] * job.spec.shared + [f"of model {model}"] * bool(model)
    return wishes + ([f"with {memory_gib:g} GiB"] if memory_gib else [])


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
    gib = None if memory is None else round(memory / 2**30, 1)
    return DeviceKind(model=device.model, memory_gib=gib, of_board=device.of_board)


def pool_name(kind: DeviceKind) -> str:
    """Name a pool, the same after a restart: `A100 80 GiB`, `gpu`."""
    memory = f" {kind.memory_gib:g} GiB" if kind.memory_gib is not None else ""
    slot = f", {kind.of_board}" if kind.of_board and not _is_profile(kind) else ""
    return f"{kind.model or 'gpu'}{memory}{slot}"


def timelines(situation: Situation, pools: Sequence[Pool]) -> list[Timeline]:
    """Return when the units of each pool are taken by what runs now and will not be moved."""
    now_s, site = situation.now.timestamp(), situation.power
    power = power_line(situation, site)[0] if site else None
    kept = [*_reserved_beside(situation)]
    ahead = reserved_ahead(row for row in kept if row.start > situation.now)
    rows = [timeline_of(pool.devices, pool.slots, ahead, power) for pool in pools]
    home = home_of(pools)
    for device, until in situation.busy.items():
        mw = site.held_mw(device) if site else 0
        begin_s, end_s = now_s - 1, max(until.timestamp(), now_s)
        if device in home:
            line = rows[home[device]]
            line.reserve(begin_s, end_s, 1, mw, line.split_of([device]))
        elif power is not None:
            power.reserve(begin_s, end_s, mw)
    for row in kept:
        if row.device in home:
            line = rows[home[row.device]]
            begin_s = now_s - 1 if row.start <= situation.now else row.start.timestamp()
            line.reserve(begin_s, row.end.timestamp(), 1, own=line.split_of([row.device]))
    for until in situation.cpu_busy if rows[-1].units else ():
        rows[-1].reserve(now_s - 1, max(until.timestamp(), now_s), 1)
    return rows


def _reserved_beside(situation: Situation) -> Iterator[Reserved]:
    """Yield what is reserved; a job that overruns into it has its GPU first, and no other one."""
    for row in situation.reserved:
        start = max(row.start, situation.busy.get(row.device, row.start))
        if start < row.end:
            yield row if start == row.start else replace(row, start=start)


def reserved_ahead(rows: Iterable[Reserved]) -> dict[str, tuple[tuple[float, float], ...]]:
    """Return when each device is reserved, in epoch seconds: devices of which that is the same are alike."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        found.setdefault(row.device, []).append((row.start.timestamp(), row.end.timestamp()))
    return {device: tuple(sorted(spans)) for device, spans in found.items()}


def power_line(situation: Situation, site: SitePower) -> tuple[Timeline, float]:
    """Return what may be drawn of the site's power beside its host and all GPUs, idle ones and those of others.

    It is known up to the instant that goes with it, in epoch seconds; later, all is free.
    """
    jobs = [*situation.jobs, *(run.job for run in situation.running)]
    latest = max((job.earliest_start for job in jobs), default=situation.now)
    until = max(situation.now, latest) + site.ahead(jobs, situation.devices)
    line = power_left(site, situation.now, until, base_mw(situation, site))
    for begin_s, end_s, mw in _drawn_by_people(situation, site):
        line.reserve(begin_s, end_s, mw)
    return line, until.timestamp()


def base_mw(situation: Situation, site: SitePower) -> int:
    """Return what the host and all idle GPUs draw, and those that others use for nobody knows how long."""
    others = [one for one in situation.away if one in site.drawn_w and one not in situation.busy]
    return whole_mw(site.base_w(situation.devices)) + sum(map(site.held_mw, others))


def _drawn_by_people(situation: Situation, site: SitePower) -> Iterator[tuple[float, float, int]]:
    """Yield from when until when, in epoch seconds, people for whom GPUs are reserved now draw so many milliwatts.

    It is over with the reservation. What a job draws that still runs there is its own.
    """
    if not situation.reserved:
        return
    jobs = {device for run in situation.running for device in run.devices}
    for device, row in now_reserved(situation.reserved, situation.now).items():
        if device not in site.drawn_w or device in jobs or device in situation.away:
            continue
        if device in situation.busy and device not in situation.elsewhere:
            continue
        begin_s = situation.busy[device].timestamp() if device in situation.busy else situation.now.timestamp() - 1
        if begin_s < row.end.timestamp():
            yield begin_s, row.end.timestamp(), site.held_mw(device)


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
