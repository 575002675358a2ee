"""Which GPUs jobs may be started on now: not drained ones, nor lost ones, nor those that others use."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from greenrun.core.energy.gpu_parts import board_of, is_part
from greenrun.core.energy.model import Device, GpuUse, gpus
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.availability import (
    FREE_AFTER,
    MACHINE,
    USED_AFTER,
    Absence,
    Drain,
    GpuState,
    Occupant,
    Presence,
    ProcessOwner,
    most_lasting,
    others_on,
    still_named,
    used_by,
)
from greenrun.core.jobs.job import Origin, Run
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.engine.ports import DrainStore, Executor, Meter
from greenrun.engine.site_limits.reserved_gpus import ReservedGpus

log = structlog.get_logger("greenrun.engine.availability")

AT_ONCE = timedelta(0)


@dataclass(slots=True)
class _Gpu:
    """What is known of one GPU: the last that was said of it, who uses it beside its holder, and what came of that.

    `occupants` is None where that cannot be told, `named` are those of its absence, `fault` likewise.
    """

    last: GpuUse | None = None
    occupants: tuple[Occupant, ...] | None = None
    named: tuple[Occupant, ...] = ()
    fault: str = ""
    use: Presence = field(default_factory=Presence)
    loss: Presence = field(default_factory=Presence)


class Availability:
    """Keeps what meter, executor and users say of GPUs."""

    def __init__(self, meter: Meter, executor: Executor, drains: DrainStore, reserved: ReservedGpus) -> None:
        self._meter, self._executor, self._store = meter, executor, drains
        self.reserved = reserved
        self._gpus: dict[str, _Gpu] = {}
        self._drains: Mapping[str, Drain] | None = None  # not read yet
        self._told: Mapping[str, Absence] = {}

    def observe(self, live: Sequence[Run], *, is_urgent: bool = False) -> None:
        """Take in what the driver says of the GPUs; ask it anew where somebody is about to start a run."""
        uses = self._meter.gpu_uses(is_urgent=is_urgent)
        news = {device: use for device, use in uses.items() if use != self._gpu(device).last}
        owners = self._owners(news, live) if news else {}
        holders: dict[str, set[str]] = {}
        for run in live:
            for device in (*run.devices, *map(board_of, run.devices)):
                holders.setdefault(device, set()).add(run.label)
        for device, use in news.items():
            self._take_in(self._gpu(device), use, owners, holders.get(device, ()))

    def absences(self, devices: Sequence[Device]) -> Mapping[str, Absence]:
        """Return why no job may be started on those of these GPUs that are away now; log what has changed."""
        found = {
            device.id: absence for device in devices if (absence := most_lasting(self._reasons(device, self.drains)))
        }
        self._tell(found)
        return found

    def state(self, device: Device, now: datetime) -> GpuState:
        """Return what is known of a GPU, from memory, and whether it is reserved."""
        drains = self._drains or {}
        drain = drains.get(MACHINE) or drains.get(device.id) or drains.get(board_of(device.id))
        machine = [_drained(_name(device), drains[MACHINE])] if MACHINE in drains else []
        reserved, coming = self.reserved.told(gpus(self._meter.devices()), device, now)
        absences = (*_excluded(device), *reserved, *machine, *self._reasons(device, drains))
        occupants = self._gpu(device.id).occupants
        return GpuState(absences=absences, occupants=occupants, drain=drain, reserved_next=coming)

    @property
    def is_told(self) -> bool:
        """Whether a driver tells who uses the GPUs."""
        return any(gpu.last is not None for gpu in self._gpus.values())

    @property
    def machine_absence(self) -> Absence | None:
        """Why no job at all may be started on this machine."""
        whole = self.drains.get(MACHINE)
        return _drained("the machine", whole) if whole else None

    @property
    def drains(self) -> Mapping[str, Drain]:
        """Return what is drained, by device or MACHINE; raise StoreError when it has to be read and cannot be."""
        if self._drains is None:
            self._drains = {drain.device: drain for drain in self._store.drains()}
        return self._drains

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> None:
        """Have nothing started on these from now on, in place of what was said of them before; raise StoreError."""
        self._store.drain(drains, origin)
        self._drains = None

    def resume(self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None) -> None:
        """Let jobs be started on these again (all that is drained, without any); raise StoreError."""
        self._store.resume(devices, user=user, now=now, origin=origin)
        self._drains = None

    def occupied(self, devices: Collection[str], live: Sequence[Run]) -> Collection[str]:
        """Return those of these free GPUs on which nothing must be started just now, asking the driver once more.

        One that others are seen on counts as theirs from now on; what cannot be seen has to stay for that.
        """
        if not devices:
            return ()
        self.observe(live, is_urgent=True)
        boards = {name for device in devices for name in _ways(device)}
        bad = {device for device in boards if self._gpu(device).occupants or self._has_fault(device)}
        found = [device for device in devices if not bad.isdisjoint(_ways(device))]
        for device in bad:
            gpu = self._gpu(device)
            if any(occupant.is_seen for occupant in gpu.occupants or ()):
                gpu.use = Presence(is_there=True)
        return found

    def _gpu(self, device: str) -> _Gpu:
        return self._gpus.setdefault(device, _Gpu())

    def _has_fault(self, device: str) -> bool:
        last = self._gpu(device).last
        return last is not None and last.fault is not None

    def _owners(self, news: Mapping[str, GpuUse], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        pids = {process.pid for use in news.values() for process in use.processes or ()}
        if not pids:
            return {}
        try:
            return self._executor.owners(pids, live)
        except ExecutorError as exc:
            log.warning("cannot tell whose the processes on the GPUs are", error=str(exc))
            return {}

    def _take_in(self, gpu: _Gpu, use: GpuUse, owners: Mapping[int, ProcessOwner], holders: Collection[str]) -> None:
        is_first, gpu.last = gpu.last is None, use
        gpu.loss = gpu.loss.after(use.fault is not None, use.at, AT_ONCE, FREE_AFTER)
        gpu.fault = use.fault or gpu.fault
        gpu.occupants = None if use.processes is None else others_on(use.processes, owners, holders)
        if gpu.occupants is None:
            return  # for as long as it is not told who uses it, what was known holds
        gpu.use = gpu.use.after(bool(gpu.occupants), use.at, AT_ONCE if is_first else USED_AFTER, FREE_AFTER)
        if gpu.occupants:
            gpu.named = still_named(gpu.named, gpu.occupants)

    def _reasons(self, device: Device, drains: Mapping[str, Drain]) -> Sequence[Absence]:
        return [reason for each in _ways(device.id) for reason in self._reasons_of(each, _name(device), drains)]

    def _reasons_of(self, device: str, name: str, drains: Mapping[str, Drain]) -> Sequence[Absence]:
        """Return what keeps jobs from a device; what holds for a board holds for its parts, by their `name`."""
        gpu, drain = self._gpu(device), drains.get(device)
        found = [_drained(name, drain)] if drain else []
        found += [Absence(name=name, code=ReasonCode.GPUS_LOST, text=f"lost: {gpu.fault}")] if gpu.loss.is_there else []
        return [*found, used_by(name, gpu.named)] if gpu.use.is_there else found

    def _tell(self, found: Mapping[str, Absence]) -> None:
        for device, absence in found.items():
            if self._told.get(device) != absence:
                log.warning("GPU unavailable", device=device, gpu=absence.name, why=absence.text)
        for device in self._told.keys() - found.keys():
            log.info("GPU available again", device=device)
        self._told = found


def _excluded(device: Device) -> list[Absence]:
    text = f"excluded by the settings (devices.exclude names {device.excluded}): no job gets it"
    return [Absence(name=_name(device), code=ReasonCode.EXCLUDED, text=text)] if device.excluded is not None else []


def _drained(name: str, drain: Drain) -> Absence:
    return Absence(name=name, code=ReasonCode.DRAINED, text=drain.text)


def _name(device: Device) -> str:
    return f"GPU {device.name}"


def _ways(device: str) -> Sequence[str]:
    """Return a device, and the board that it is a part of: what keeps jobs from either keeps them from it."""
    return (device, board_of(device)) if is_part(device) else (device,)
