"""Pools: the GPUs of one kind, and the CPU slots; a run takes all its GPUs from one pool."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from greenrun.core.energy.model import Device
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.capacity import Timeline
from greenrun.core.planning.explain import counted_text
from greenrun.core.planning.model import DeviceKind, Situation

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


def too_few(job: Job, pools: Iterable[Pool]) -> Reason:
    """Say what a job asks for that no pool has, and what there is of it."""
    suiting = [pool.units for pool in pools if pool.kind is not None and is_kind(pool.kind, job)]
    spec, most = job.spec, max(suiting, default=0)
    wishes = [f"of model {spec.gpu_model}"] if spec.gpu_model else []
    wishes += [f"with {spec.gpu_memory_gib:g} GiB"] if spec.gpu_memory_gib else []
    have = [str(most or "none")] + ["such"] * bool(wishes) + ["of one kind"] * (len(suiting) > 1)
    asked = [counted_text(spec.gpus, "GPU"), *wishes]
    return because(ReasonCode.TOO_FEW_GPUS, gpus=" ".join(asked), have=" ".join(have))


def pools_of(situation: Situation) -> tuple[Pool, ...]:
    """Return the pools of a situation: its kinds of GPU in order of their first device, then the CPU slots."""
    by_kind: dict[DeviceKind, list[str]] = {}
    for device in situation.devices:
        by_kind.setdefault(situation.kinds.get(device, ANY), []).append(device)
    gpus = [Pool(name=pool_name(kind), kind=kind, devices=tuple(devices)) for kind, devices in by_kind.items()]
    return (*gpus, Pool(name=CPU, kind=None, slots=situation.cpu_slots))


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
    now_s = situation.now.timestamp()
    rows = [Timeline(pool.units) for pool in pools]
    home = home_of(pools)
    for device, until in situation.busy.items():
        if device in home:
            rows[home[device]].reserve(now_s - 1, max(until.timestamp(), now_s), 1)
    for until in situation.cpu_busy:
        rows[-1].reserve(now_s - 1, max(until.timestamp(), now_s), 1)
    return rows


def home_of(pools: Sequence[Pool]) -> Mapping[str, int]:
    """Return the index of each device's pool."""
    return {device: index for index, pool in enumerate(pools) for device in pool.devices}
