"""The routes of devices: what there is, who uses it, and on which nothing is to be started."""

from collections.abc import Sequence

from fastapi import APIRouter

from greenrun.api.device_models import DeviceOut, DrainIn, DrainOut, ResumeIn, devices_out
from greenrun.api.identity import Caller
from greenrun.api.problems import refusals
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.api.visibility import seen_devices
from greenrun.core.errors import InvalidTransition
from greenrun.core.jobs.availability import MACHINE, Drain, gpus_named

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["devices"], responses=refusals(409))


@router.get("/devices")
def get_devices(daemon: ServiceDep, caller: Caller) -> list[DeviceOut]:
    """List the devices of this host, who has them, who else uses them, and on which nothing is started."""
    host = daemon.scheduler.host
    live, elsewhere = daemon.store.runs.live_runs(), host.held_elsewhere()
    outs = devices_out(host.devices(), live, elsewhere, host.idle_powers_w(), host.powers_w(), host.gpu_state)
    return seen_devices(daemon, caller, outs)


@router.get("/drains")
def get_drains(daemon: ServiceDep, caller: Caller) -> list[DrainOut]:
    """List what is drained now."""
    return _out(daemon.scheduler.host.drains())


@router.post("/drain")
def post_drain(asked: DrainIn, daemon: ServiceDep, caller: Caller) -> list[DrainOut]:
    """Start nothing new on GPUs, or on the whole machine, until they are resumed; what runs goes on.

    What is drained already is so from now on for this reason. Answers with all that is drained then.
    """
    daemon.settings.access.require_role(caller, "drain GPUs")
    names = [device.id for device in gpus_named(asked.gpus, daemon.scheduler.host.devices())] or [MACHINE]
    now = daemon.now()
    drains = [Drain(device=name, user=caller.name, since=now, reason=asked.reason.strip()) for name in names]
    return _out(daemon.scheduler.host.drain(drains, caller.origin))


@router.post("/resume")
def post_resume(asked: ResumeIn, daemon: ServiceDep, caller: Caller) -> list[DrainOut]:
    """Let jobs be started again on drained GPUs, or on all that is drained. Answers with what is drained then."""
    daemon.settings.access.require_role(caller, "resume GPUs")
    drains = daemon.scheduler.host.drains()
    gone = [drain.device for drain in drains if drain.device in asked.gpus]  # it may be there no longer
    named = [name for name in asked.gpus if name not in gone]
    names = [*gone, *(device.id for device in gpus_named(named, daemon.scheduler.host.devices()))]
    whole = next((drain for drain in drains if drain.device == MACHINE), None)
    if names and whole:
        raise InvalidTransition(
            f"the whole machine is {whole.text}; nothing was changed: `greenrun resume` without --gpu resumes it, "
            "then `greenrun drain --gpu` can drain single GPUs"
        )
    resumed = daemon.scheduler.host.resume(names, user=caller.name, now=daemon.now(), origin=caller.origin)
    return _out(resumed)


def _out(drains: Sequence[Drain]) -> list[DrainOut]:
    return [DrainOut.model_validate(drain) for drain in drains]
