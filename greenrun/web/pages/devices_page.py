"""The page of the devices: what each draws, who has it, and why nothing is started on it."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from greenrun.api.device_models import DeviceOut
from greenrun.api.identity import Visitor
from greenrun.api.routes.devices import get_devices
from greenrun.api.routes.reservations import get_reservations
from greenrun.api.service import Service, ServiceDep
from greenrun.core.jobs.access import ANYBODY, Sharing, Viewer
from greenrun.web.page_route import PageRoute, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/devices")
def get_devices_page(request: Request, daemon: ServiceDep, visitor: Visitor) -> Response:
    """Return the page of the devices."""
    values = {
        "devices": _devices(daemon, visitor),
        "limits": daemon.scheduler.host.power_limits(),
        "reservations": get_reservations(daemon, visitor) if visitor else [],
    }
    return page(request, "devices.html", values, visitor=visitor)


def _devices(daemon: Service, visitor: Viewer | None) -> list[DeviceOut]:
    """Return the devices; who is not known is told neither of people nor of processes, as by /metrics."""
    if visitor is not None:
        return get_devices(daemon, visitor)
    hidden: dict[str, object] = {"held_elsewhere": None, "processes": None, "reserved_next": None}
    if daemon.settings.access.others is Sharing.PRIVATE:
        hidden |= {"leased_by_job": None, "leased_by_run": None}
    return [_for_anybody(out, hidden) for out in get_devices(daemon, ANYBODY)]


def _for_anybody(out: DeviceOut, hidden: dict[str, object]) -> DeviceOut:
    codes = [row.model_copy(update={"text": row.code.value.replace("_", " ")}) for row in out.unavailable]
    changed: DeviceOut = out.model_copy(update={**hidden, "unavailable": codes})
    return changed
