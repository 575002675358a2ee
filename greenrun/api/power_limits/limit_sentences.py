"""Sentences about the power limits of a job's GPUs, for `explain`."""

from collections.abc import Sequence

from greenrun.api.service import Host
from greenrun.core.energy.model import gpus
from greenrun.core.energy.power_limit import PowerCap
from greenrun.core.formatting import power_text
from greenrun.core.jobs.job import FINISHED, Job, Run


def limit_sentences(job: Job, runs: Sequence[Run], host: Host) -> list[str]:
    """Return what is done with the power limits of a job's GPUs and why; nothing for a job that allows none."""
    cap = job.spec.allowed_cap
    if cap is None or job.state in FINISHED:
        return []
    live = [run for run in runs if run.outcome is None]
    return [_allowed(job, cap), *(_of_run(run, host) for run in live)]


def _allowed(job: Job, cap: PowerCap) -> str:
    whose = "of each GPU's default limit" if cap.share is not None else "for each GPU"
    grounds = f", {job.spec.power_cap_note}" if job.spec.power_cap_note else ", as its user said"
    slower = "" if cap.slowdown is None else f"; it is expected to take {cap.slowdown * 100:.1f} % longer{grounds}"
    room = job.room_for_power_cap
    limits = "" if room or not cap.slowdown else "; its limits leave no room for that, so plans reckon with full power"
    return f"In dirty hours the power limit of its GPUs may be {cap.limit_text} {whose}{slower}{limits}."


def _of_run(run: Run, host: Host) -> str:
    in_force, said = host.power_limits(), host.cappings().get(run.id)
    lowered = [row for device in run.devices if (row := in_force.get(device)) and row.kept_at]
    if lowered:
        names = {device.id: f"GPU {device.name}" for device in gpus(host.devices())}
        capped = ", ".join(
            f"{names.get(row.device, row.device)} is capped to {power_text(row.set_w)}, from {power_text(row.found_w)}"
            for row in lowered
        )
        why = said.why if said and said.is_on else "it may not be raised again yet"
        return f"{capped}, because {why}."
    if said is None:
        return "Its GPUs run at full power: it has only just started."
    if said.is_on:
        why = host.power_limit_trouble(run.devices) or "it is lowered shortly, or is as low already"
        return f"Its GPUs run at full power, though {said.why}: {why}."
    return f"Its GPUs run at full power, because {said.why}."
