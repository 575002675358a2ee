"""The routes of reservations: GPUs that no job gets from when to when, for people who work on them."""

from fastapi import APIRouter

from greenrun.api.device_models import ReservationIn, ReservationOut
from greenrun.api.identity import Caller
from greenrun.api.orders import WITHOUT_FIELDS
from greenrun.api.problems import refusals
from greenrun.api.service import Service, ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.core.planning.site_limits.reserved import Reservation

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["devices"], responses=refusals(404, 409))


@router.get("/reservations")
def get_reservations(daemon: ServiceDep, caller: Caller) -> list[ReservationOut]:
    """List the reservations that are not over, in order of start, and those of the settings as they come next."""
    return _out(daemon)


@router.post("/reservations")
def post_reservation(asked: ReservationIn, daemon: ServiceDep, caller: Caller) -> ReservationOut:
    """Keep GPUs from jobs for a span of time, for people who work on them; answers with what was reserved.

    Interruptible jobs are suspended before it begins, the others on these GPUs go on. For root, the daemon's own user
    and members of an admin group.
    """
    daemon.settings.access.require_role(caller, "reserve GPUs")
    now = daemon.now()
    start = now if asked.start is None else asked.start
    wanted = Reservation(
        devices=(), start=start, end=asked.end, user=caller.name, for_user=asked.for_user, reason=asked.reason.strip()
    )
    host = daemon.scheduler.host
    return _one(host.reserve(wanted, names=asked.gpus, count=asked.count, now=now, origin=caller.origin))


@router.post("/reservations/{number}/end", dependencies=[WITHOUT_FIELDS])
def post_reservation_end(number: int, daemon: ServiceDep, caller: Caller) -> ReservationOut:
    """End a reservation now, or take it back before it begins; answers with it."""
    daemon.settings.access.require_role(caller, "end reservations")
    host = daemon.scheduler.host
    return _one(host.end_reservation(number, user=caller.name, now=daemon.now(), origin=caller.origin))


def _out(daemon: Service) -> list[ReservationOut]:
    rows = daemon.scheduler.host.reservations(daemon.now())
    return [_one(row) for row in rows]


def _one(row: Reservation) -> ReservationOut:
    is_weekly = row.id == 0
    return ReservationOut(
        id=None if is_weekly else row.id,
        name=row.user if is_weekly else row.name,
        gpus=list(row.devices),
        start=row.start,
        end=row.end,
        user=None if is_weekly else row.user,
        for_user=row.for_user,
        reason=row.reason,
        repeats=is_weekly,
    )
