"""The routes of everything but jobs: the plan, the forecast, the devices and the books."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from greenrun.api.grid_models import DeviceOut, EntryOut, ForecastOut
from greenrun.api.identity import Caller
from greenrun.api.job_models import PlanOut
from greenrun.api.service import ApiSettings, Daemon
from greenrun.api.views import device_views, entry_view, forecast_view

_FOREVER = datetime.max.replace(tzinfo=UTC)

router = APIRouter(prefix="/v1", tags=["grid"])


@router.get("/plan")
def get_plan(daemon: Daemon, caller: Caller) -> PlanOut:
    """Return the latest plan."""
    return PlanOut.model_validate(daemon.scheduler.plan())


@router.get("/forecast")
def get_forecast(
    daemon: Daemon,
    caller: Caller,
    zone: str | None = None,
    hours: Annotated[float | None, Query(gt=0, le=24 * 366)] = None,
) -> ForecastOut:
    """Return what is gone by in a watched zone from now on, for the next `hours` or as far as it reaches."""
    active = daemon.scheduler.active_forecast(zone)
    if active is None:
        raise HTTPException(404, _unknown(zone, daemon.settings))
    now = daemon.now()
    until = now + timedelta(hours=hours) if hours else _FOREVER
    return forecast_view(zone or daemon.settings.zone, active, now, until)


@router.get("/devices")
def get_devices(daemon: Daemon, caller: Caller) -> list[DeviceOut]:
    """List the devices of this host and who has them."""
    scheduler = daemon.scheduler
    live, elsewhere = daemon.store.live_runs(), scheduler.held_elsewhere()
    return device_views(scheduler.devices(), live, elsewhere, scheduler.idle_powers_w())


@router.get("/ledger")
def get_ledger(
    daemon: Daemon,
    caller: Caller,
    job: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 1000,
) -> list[EntryOut]:
    """List the latest `limit` slices of energy in the books, in time order."""
    return [entry_view(entry) for entry in daemon.store.entries(job_id=job, limit=limit)]


def _unknown(zone: str | None, settings: ApiSettings) -> str:
    known = [name for name in (settings.zone, *settings.also) if name]
    if not known:
        return f"No zone is set, so there is no forecast for {zone} or any other: set [grid] zone."
    only = f"the zone {known[0]} only" if len(known) == 1 else f"the zones {', '.join(known)} only"
    return f"This daemon knows {only}, not {zone}; to have more zones watched, name them in [grid] also."
