"""What power limit a new job allows: its own or the site's, with the slowdown to plan with, and what it lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from greenrun.api.service import Service
from greenrun.core.energy.model import gpus
from greenrun.core.energy.power_limit import PowerCap, parse_power_cap
from greenrun.core.jobs.job import JobSpec
from greenrun.core.planning.power_capping.slowdown import with_slowdown


def with_allowed_caps(daemon: Service, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Return the jobs with the site's default where they say nothing, and with the slowdown to plan with.

    A job on a part of a board has none: the limit of the board is others' too.
    """
    return [_with_cap(daemon, spec) for spec in specs]


def cap_warnings(daemon: Service, spec: JobSpec) -> Iterator[str]:
    """Yield why the power limit of a job's GPUs is not going to be lowered, though it says that it may be."""
    if not spec.power_cap or parse_power_cap(spec.power_cap).is_none:
        return
    if not spec.gpus:
        yield "--power-cap has no effect on a job without GPUs"
    elif not daemon.settings.lowers_power_limits:
        yield "--power-cap has no effect, so it runs at full power: it is turned off ([gpu_power_limit] enabled)"
    elif why := daemon.scheduler.host.power_limit_trouble():
        yield f"--power-cap has no effect for now, so it runs at full power: {why}"


def _with_cap(daemon: Service, spec: JobSpec) -> JobSpec:
    if not spec.gpus or spec.takes_part:
        return spec
    cap = parse_power_cap(spec.power_cap) if spec.power_cap else daemon.settings.default_cap
    if cap is None:
        return spec
    planned, note = with_slowdown(cap, _share(daemon, cap), None)
    return replace(spec, power_cap=str(planned), power_cap_note=note)


def _share(daemon: Service, cap: PowerCap) -> float | None:
    """Return what the limit is of what the GPUs here may draw; None where that is not known of any."""
    if cap.share is not None:
        return cap.share
    known = [device.power_w for device in gpus(daemon.scheduler.host.devices()) if device.power_w]
    return min(1.0, (cap.watts or 0.0) / max(known)) if known else None
