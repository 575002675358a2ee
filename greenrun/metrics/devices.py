"""Metrics of devices: what they are, their energy, the GPUs' telemetry, and how well they can be read."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric

from greenrun.core.energy.gpu_parts import board_of, weight_of
from greenrun.core.energy.model import Component, Device, boards, every_gpu, package_of
from greenrun.core.histogram import CounterKey
from greenrun.core.jobs.job import Run
from greenrun.metrics.state import LiveState

MAX_USERS = 8  # of each GPU that have processes beside the run which holds it; the rest are told together
OTHER = "other"
_GPU = ("gpu_uuid",)
_ENERGY = {
    Component.GPU: ("greenrun_gpu_energy_joules_total", "Energy used by the GPU.", "gpu_uuid"),
    Component.CPU: ("greenrun_cpu_package_energy_joules_total", "Energy used by the processor package.", "package"),
    Component.DRAM: ("greenrun_dram_energy_joules_total", "Energy used by the memory of the package.", "package"),
}
_TELEMETRY = {
    "power_w": ("greenrun_gpu_power_watts", "What the GPU drew when it was last asked."),
    "power_limit_w": ("greenrun_gpu_power_limit_watts", "What the GPU is kept below."),
    "utilization": ("greenrun_gpu_utilization_ratio", "In what part of the last second the GPU was busy."),
    "memory_used_bytes": ("greenrun_gpu_memory_used_bytes", "Memory of the GPU that is in use."),
    "temperature_c": ("greenrun_gpu_temperature_celsius", "How warm the GPU is."),
}


def device_metrics(state: LiveState, live: Sequence[Run], totals: Mapping[CounterKey, float]) -> Iterator[Metric]:
    """Yield the GPUs and which of them are leased, each present device's energy, and the GPUs' telemetry."""
    devices = state.devices()
    info = InfoMetricFamily("greenrun_gpu", "A GPU of this host, and the source of its energy readings.")
    text = "Whether a job holds the GPU, or the part of one; a board that is given out in parts has none."
    leased = GaugeMetricFamily("greenrun_gpu_leased", text, labels=_GPU)
    text = "How much of the board jobs hold: 1 is all of it, and a part counts with its share."
    ratio = GaugeMetricFamily("greenrun_gpu_held_ratio", text, labels=_GPU)
    held = [device for run in live for device in run.devices]
    taken = {name for device in held for name in (device, board_of(device))}
    for device in every_gpu(devices):
        info.add_metric((), _gpu_labels(device))
        if not device.is_divided:
            leased.add_metric((device.id,), float(device.id in taken))
    for board in boards(devices):
        own = (device for device in held if board_of(device) == board.id)
        ratio.add_metric((board.id,), min(1.0, weight_of(own)))
    yield from (info, leased, ratio)
    yield from _availability(state)
    unread = {row.device for row in state.meter().devices if not row.was_read}
    whole = [device for device in devices if not device.part]  # a board's joules are counted once
    yield from _energy([device for device in whole if device.id not in unread], whole, totals)
    yield from _telemetry(state)


def _availability(state: LiveState) -> Iterator[Metric]:
    """Yield which GPUs jobs may be started on, why not on others, and who uses them beside the runs that hold them."""
    text = "Whether jobs may be started on the GPU once it is free; a board that is given out in parts has none."
    may = GaugeMetricFamily("greenrun_gpu_available", text, labels=_GPU)
    text = "That no job may be started on the GPU, for each reason why."
    why = GaugeMetricFamily("greenrun_gpu_unavailable", text, labels=(*_GPU, "reason"))
    text = "Processes on the GPU that are not of the run which holds it; the user is empty where it cannot be told."
    count = GaugeMetricFamily("greenrun_gpu_others_processes", text, labels=(*_GPU, "user"))
    text = "Memory of the GPU that such processes have, as far as that is known."
    memory = GaugeMetricFamily("greenrun_gpu_others_memory_bytes", text, labels=(*_GPU, "user"))
    for device in every_gpu(state.devices()):
        found = state.gpu_state(device)
        if not device.is_divided:  # no job gets it as a whole: its parts tell
            may.add_metric((device.id,), float(not found.absences))
        for code in dict.fromkeys(absence.code.value for absence in found.absences):
            why.add_metric((device.id, code), 1.0)
        occupants = found.occupants or ()
        shown = list(dict.fromkeys(sorted(occupant.user or "" for occupant in occupants)))[:MAX_USERS]
        users = [(occupant.user or "") if (occupant.user or "") in shown else OTHER for occupant in occupants]
        for user in dict.fromkeys(users):
            theirs = [occupant for occupant, name in zip(occupants, users, strict=True) if name == user]
            count.add_metric((device.id, user), len(theirs))
            memory.add_metric((device.id, user), sum(occupant.memory_bytes or 0 for occupant in theirs))
    yield from (may, why, count, memory)


def meter_metrics(state: LiveState) -> Iterator[Metric]:
    """Yield whether each GPU can be read, its read errors, and its sampler's health; all from memory."""
    health = state.meter()
    gpus = {device.id for device in state.devices() if device.kind is Component.GPU}
    up = GaugeMetricFamily("greenrun_gpu_up", "Whether the GPU was read in the last seconds.", labels=_GPU)
    text = "Time since the daemon started in which the GPU was not read, as far as that is over or it never was read."
    gaps = CounterMetricFamily("greenrun_gpu_gap_seconds_total", text, labels=_GPU)
    text = "What was wrong with readings of the GPU, since the daemon started."
    errors = CounterMetricFamily("greenrun_gpu_read_errors_total", text, labels=(*_GPU, "cause"))
    for device in health.devices:
        if device.device not in gpus:
            continue
        up.add_metric((device.device,), float(device.is_up))
        gaps.add_metric((device.device,), device.gap_s)
        for cause, count in device.troubles.items():
            errors.add_metric((device.device, cause), count)
    yield from (up, gaps, errors)
    text = "Processes that read the meters and had to be replaced, since the daemon started."
    yield CounterMetricFamily("greenrun_sampler_restarts_total", text, value=health.restarts)
    if health.lag_s is not None:
        yield GaugeMetricFamily(
            "greenrun_sampler_lag_seconds", "How long ago a meter last reported.", value=health.lag_s
        )


def _energy(read: Sequence[Device], devices: Sequence[Device], totals: Mapping[CounterKey, float]) -> Iterator[Metric]:
    """Yield the energy of each device: of one that could never be read it is not 0 J, but not known."""
    for kind, (name, text, label) in _ENERGY.items():
        family = CounterMetricFamily(name, text, labels=(label,))
        first = dict.fromkeys((_label(device) for device in read if device.kind is kind), 0.0)
        there = dict.fromkeys(_label(device) for device in devices if device.kind is kind)
        booked = {value: totals[name, ((label, value),)] for value in there if (name, ((label, value),)) in totals}
        for value, energy_j in (first | booked).items():
            family.add_metric((value,), energy_j)
        yield family


def _label(device: Device) -> str:
    return device.id if device.kind is Component.GPU else package_of(device.id)


def _telemetry(state: LiveState) -> Iterator[Metric]:
    """Yield the GPUs' telemetry; what was not reported in the last seconds is absent."""
    gpus = {device.id for device in state.devices() if device.kind is Component.GPU}
    known = [device for device in state.meter().devices if device.device in gpus]
    for figure, (name, text) in _TELEMETRY.items():
        family = GaugeMetricFamily(name, text, labels=_GPU)
        for device in known:
            if (value := getattr(device.telemetry, figure)) is not None:
                family.add_metric((device.device,), value)
        yield family


def _gpu_labels(device: Device) -> dict[str, str]:
    return {
        "gpu": device.name,
        "gpu_uuid": device.id,
        "model": device.model,
        "vendor": device.vendor,
        "energy_source": "emulated" if device.emulated else device.source,
        "mig": str(device.mig).lower(),
    }
