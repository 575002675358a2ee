"""The meters as the daemon would open them: which answer, which GPUs they have, and how energy is read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from greenrun.core.energy.device_names import named, names_text
from greenrun.core.energy.gpu_parts import parts_within
from greenrun.core.energy.model import Component, Device, Quality, every_gpu, gpus
from greenrun.core.errors import MeterError
from greenrun.core.formatting import count_text
from greenrun.doctor.finding import Area, Finding, failed, ok, warning
from greenrun.meters import MeterSettings, open_meter
from greenrun.meters.arrangement import not_there

_GRADES = {
    Quality.MEASURED: "by its energy counter",
    Quality.INTEGRATED: "by its power, integrated: it has no energy counter",
    Quality.ESTIMATED: "by the watts of the settings, an estimate",
    Quality.EMULATED: "as emulated: what it tells is made up",
}
_RAPL = (
    "greenrun config units greenrun-rapl.conf: its first lines say how to let a group read them; or leave cpu_meter out"
)


class _Quiet:
    """A sampler's warnings, dropped: what is wrong shows in what was read."""

    def info(self, event: str, **facts: object) -> None:
        """Say nothing."""

    def warning(self, event: str, **facts: object) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What meters answered: their devices, how each was read (None: not at all), and why others were not used."""

    devices: tuple[Device, ...] = ()
    qualities: Mapping[str, Quality] | None = None
    refusals: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The GPUs among them that jobs can be given."""
        return gpus(self.devices)

    @property
    def boards_and_parts(self) -> tuple[Device, ...]:
        """The GPUs that jobs can be given, whole or in parts, and the parts."""
        return tuple(device for device in every_gpu(self.devices) if device.excluded is None)

    @property
    def excluded(self) -> tuple[Device, ...]:
        """The GPUs among them that the settings keep from jobs."""
        return tuple(device for device in every_gpu(self.devices) if device.excluded is not None)

    @property
    def source(self) -> str:
        """The meter that reads the GPUs, "none" without GPUs."""
        return every[0].source if (every := every_gpu(self.devices)) else "none"


def find_devices(settings: MeterSettings) -> Found:
    """Open the meters, read every device once, and close them; leave nothing behind."""
    with TemporaryDirectory(prefix="greenrun-doctor-") as name:
        folder = Path(name)
        try:
            meter = open_meter(settings, runs_dir=folder / "runs", state_dir=folder, log=_Quiet())
        except MeterError as exc:
            return Found(problem=str(exc))
        try:
            devices = tuple(meter.devices())
            qualities = {reading.device: reading.quality for reading in meter.read({})}
            return Found(devices=devices, qualities=qualities, refusals=tuple(meter.refusals))
        finally:
            meter.close()


def gpu_text(device: Device) -> str:
    """Return a GPU as `0 NVIDIA A100 80 GiB (GPU-…)`, and say so where it is imaginary."""
    memory = f" {device.memory_bytes / 2**30:.0f} GiB" if device.memory_bytes else ""
    return f"{device.name} {device.model}{memory} ({device.id}{', EMULATED' if device.emulated else ''})"


def check_gpus(
    settings: MeterSettings, *, is_stated: bool, reserved: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Iterator[Finding]:
    """Look for GPUs; `is_stated`: the settings name the meters, so that having none is not what they say.

    `reserved` are the names of GPUs in each weekly reservation.
    """
    found = find_devices(replace(settings, cpu_kinds=("none",), external=()))
    if found.problem is not None:
        yield failed(
            Area.GPUS, found.problem, 'mend that, or set devices.meter = "none": until then greenrun does not start'
        )
        return
    for refusal in found.refusals:
        kind, _, why = refusal.partition(": ")
        if found.gpus:
            yield ok(Area.GPUS, f"{kind} is not used: {why}")
        else:
            yield warning(
                Area.GPUS, f"{kind} is not used: {why}", "mend that if this machine has such a GPU; else never mind"
            )
    if not found.gpus:
        yield _without_gpus(settings.kinds, is_stated=is_stated)
    for device in found.boards_and_parts:
        yield _read(device, found.qualities or {}, has_parts=bool(parts_within(device.id, found.devices)))
    yield from _kept_from_jobs(found, settings, reserved)


def _kept_from_jobs(found: Found, settings: MeterSettings, reserved: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for device in found.excluded:
        energy = "in the books as nobody's" if device.booked else "not in the books"
        yield ok(
            Area.GPUS,
            f"GPU {gpu_text(device)} is excluded (devices.exclude names {device.excluded}): no job gets it, and what "
            f"it uses is {energy}",
        )
    for sentence in not_there(found.devices, settings):
        yield warning(Area.GPUS, sentence, "mend the name in devices.exclude, unless that GPU is yet to come")
    for section, names in reserved.items():
        for name in names:
            if not named(name, found.gpus):
                yield warning(
                    Area.GPUS,
                    f"devices.reserved.{section} names {name}, which is no GPU that jobs can be given now; there is "
                    f"{names_text(found.gpus)}",
                    "mend the name, unless that GPU is yet to come",
                )


def _without_gpus(kinds: Sequence[str], *, is_stated: bool) -> Finding:
    text = "no GPU is used: jobs with --gpus 0 run, all others are refused"
    if kinds == ("none",) and is_stated:
        return ok(Area.GPUS, f'{text} (devices.meter = "none")')
    return warning(Area.GPUS, text, 'set devices.meter; for a trial without hardware, devices.meter = "emulated"')


def _read(device: Device, qualities: Mapping[str, Quality], *, has_parts: bool) -> Finding:
    what, quality = f"GPU {gpu_text(device)}", qualities.get(device.id)
    if device.part:
        return ok(Area.GPUS, f"{what}: a part of GPU {device.index} ({device.of_board}), which tells its energy")
    if device.within is not None:
        return ok(Area.GPUS, f"{what}: its energy is in that of {device.within}")
    if quality is None:
        smi = {"nvidia": "nvidia-smi", "amd": "amd-smi"}.get(device.vendor, "the driver's own tool")
        return failed(Area.GPUS, f"{what} told no energy: what jobs use on it is unknown", f"see what {smi} says of it")
    if device.mig and not device.is_divided:
        return warning(
            Area.GPUS, f"{what} is split by MIG: jobs get all of it, its parts are not given out",
            "nvidia-smi -mig 0, unless that is meant",
        )  # fmt: skip
    if device.is_divided and not has_parts:
        return warning(
            Area.GPUS, f"{what} is in MIG mode and has no instances, so no job gets it",
            "nvidia-smi mig -cgi 3g.40gb,3g.40gb -C, then start greenrun again; or nvidia-smi -mig 0",
        )  # fmt: skip
    in_parts = "; jobs get its parts, and none gets all of it" if device.is_divided else ""
    return ok(Area.GPUS, f"{what}, read {_GRADES.get(quality, quality.value)}{in_parts}")


def check_cpu(settings: MeterSettings, *, is_stated: bool) -> Iterator[Finding]:
    """Look for the counters of CPUs; where the settings do not name a meter, say whether `rapl` could be one."""
    wanted = settings.cpu_kinds != ("none",)
    kinds = settings.cpu_kinds if wanted else ("rapl", "none")
    found = find_devices(replace(settings, kinds=("none",), cpu_kinds=kinds, external=()))
    read = [device for device in found.devices if device.kind in (Component.CPU, Component.DRAM)]
    if found.problem is not None:
        yield failed(Area.CPU, found.problem, f"{_RAPL}: until then greenrun does not start")
    elif read and wanted:
        yield ok(Area.CPU, f"{count_text(len(read), 'counter')} of CPUs and memory can be read")
    elif read and not is_stated:
        yield warning(
            Area.CPU, "the energy of CPUs and memory could be read, and is not", 'set devices.cpu_meter = "rapl"'
        )
    elif wanted:
        yield warning(Area.CPU, _told(found.refusals), _RAPL)
    else:
        yield ok(Area.CPU, f"the energy of CPUs and memory is not read{_because(found.refusals, read)}")


def _told(refusals: Collection[str]) -> str:
    return f"the energy of CPUs and memory is not read: {' '.join(refusals)}"


def _because(refusals: Sequence[str], read: Sequence[Device]) -> str:
    if read or not refusals:
        return ', as devices.cpu_meter = "none" says'
    return f": {refusals[0].partition(': ')[2]}"
