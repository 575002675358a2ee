"""The routes of everything but jobs: the plan, the forecast, the devices and the books."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException

from greenrun.api.peer import Caller
from greenrun.api.schemas import DeviceOut, EntryOut, ForecastOut, PlanOut
from greenrun.api.service import Daemon, Service
from greenrun.api.views import device_views, entry_view, forecast_view, plan_view
from greenrun.core.intensity import Forecast, Rung

_FOREVER = datetime.max.replace(tzinfo=UTC)

router = APIRouter(prefix="/v1", tags=["grid"])


@router.get("/plan")
def get_plan(daemon: Daemon, caller: Caller) -> PlanOut:
    """Return the latest plan."""
    return plan_view(daemon.scheduler.plan())


@router.get("/forecast")
def get_forecast(
    daemon: Daemon,
    caller: Caller,
    zone: str | None = None,
    hours: Annotated[float | None, Query(gt=0, le=24 * 366)] = None,
) -> ForecastOut:
    """Return the forecast in use from now on, for the next `hours` or as far as it reaches."""
    known = daemon.settings.zone
    if zone not in (None, known):
        raise HTTPException(404, _unknown(zone, known))
    forecast = daemon.store.latest_forecast(known) if known else None
    if forecast is None:
        return ForecastOut(zone=known)
    now = daemon.now()
    fetched_at = max(forecast.fetched_at, daemon.scheduler.health().forecast_fetched_at or forecast.fetched_at)
    until = now + timedelta(hours=hours) if hours else _FOREVER
    return forecast_view(forecast, fetched_at, _rung(daemon, forecast, now - fetched_at), now, until)


@router.get("/devices")
def get_devices(daemon: Daemon, caller: Caller) -> list[DeviceOut]:
    """List the devices of this host and who has them."""
    scheduler = daemon.scheduler
    return device_views(scheduler.devices(), daemon.store.live_runs(), scheduler.held_elsewhere())


@router.get("/ledger")
def get_ledger(
    daemon: Daemon,
    caller: Caller,
    job: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 1000,
) -> list[EntryOut]:
    """List the latest `limit` slices of energy in the books, in time order."""
    return [entry_view(entry) for entry in daemon.store.entries(job_id=job, limit=limit)]


def _unknown(zone: str | None, known: str | None) -> str:
    if known is None:
        return f"No zone is set, so there is no forecast for {zone} or any other: set [grid] zone."
    return f"This daemon knows the zone {known} only, not {zone}."


def _rung(daemon: Service, forecast: Forecast, age: timedelta) -> Rung:
    limit = daemon.settings.stale_after
    is_old = limit is not None and age > limit
    return Rung.STALE if is_old and forecast.rung is Rung.FRESH else forecast.rung
