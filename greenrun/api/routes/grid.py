"""The routes of the plan, the grid's forecast and history, their sources and the ledger."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from greenrun.api.grid_models import (
    EntryOut,
    FetchIn,
    FetchOut,
    ForecastOut,
    ForecastQualityOut,
    ImportIn,
    ImportOut,
    PartIn,
    ProviderOut,
    entry_out,
    forecast_out,
    quality_out,
)
from greenrun.api.identity import Caller
from greenrun.api.job_models import PlannedPowerOut, PlanOut, SitePowerOut
from greenrun.api.problems import refusals
from greenrun.api.reading.paging import Cursor, next_page
from greenrun.api.service import Service, ServiceDep, ServiceSettings
from greenrun.api.strict_route import StrictRoute
from greenrun.api.visibility import readable_jobs, seen_plan
from greenrun.core.errors import JobNotFound
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.grid.backfill import ImportedBlock, StatedSeries

_FOREVER = datetime.max.replace(tzinfo=UTC)

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["grid"], responses=refusals(404, 502))


@router.get("/plan")
def get_plan(daemon: ServiceDep, caller: Caller) -> PlanOut:
    """Return the latest plan."""
    out, (state, planned) = seen_plan(daemon, caller, daemon.scheduler.plan()), daemon.scheduler.site_power()
    if not state.has_cap:
        return out
    power = SitePowerOut.model_validate(state)
    rows = [PlannedPowerOut.model_validate(row) for row in planned]
    return out.model_copy(update={"site_power": power.model_copy(update={"planned": rows})})


@router.get("/forecast")
def get_forecast(
    daemon: ServiceDep,
    caller: Caller,
    zone: str | None = None,
    hours: Annotated[float | None, Query(gt=0, le=24 * 366)] = None,
) -> ForecastOut:
    """Return the active forecast of a watched zone from now on, for the next `hours` or as far as it reaches."""
    active = daemon.scheduler.active_forecast(zone)
    if active is None:
        raise HTTPException(404, _unknown(zone, daemon.settings))
    now = daemon.now()
    until = now + timedelta(hours=hours) if hours else _FOREVER
    return forecast_out(zone or daemon.settings.zone, active, now, until)


@router.get("/forecast/quality")
def get_forecast_quality(daemon: ServiceDep, caller: Caller, zone: str | None = None) -> ForecastQualityOut:
    """Return how good the forecasts of a zone were, the series whose last forecast is the newest first."""
    quality = daemon.scheduler.quality
    wanted = zone or daemon.settings.zone
    if zone is not None and zone not in quality.zones:
        known = ", ".join(quality.zones)
        does = f"has forecasts of {known} only" if known else "has no zone: set [grid] zone"
        raise HTTPException(404, f"This daemon {does}, so it judges none of {zone}.")
    rows = [quality_out(judged) for judged in quality.latest if judged.series.zone == wanted]
    return ForecastQualityOut(zone=wanted, judged_at=quality.judged_at, series=rows)


@router.get("/providers")
def get_providers(daemon: ServiceDep, caller: Caller) -> list[ProviderOut]:
    """List the configured sources of carbon intensity, with what is known by each of the daemon's zone."""
    return [ProviderOut.model_validate(state) for state in daemon.scheduler.sources.states()]


@router.get("/ledger")
def get_ledger(
    request: Request,
    response: Response,
    daemon: ServiceDep,
    caller: Caller,
    job: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 1000,
    cursor: Cursor = None,
) -> list[EntryOut]:
    """List the latest `limit` slices of energy in the books, in time order.

    Whose they are is null where the caller may not know it, and so is what is nobody's.
    """
    if job is not None:
        _require_read(daemon, caller, job)
    entries = daemon.store.books.entries(job_id=job, limit=limit, before=cursor)
    if len(entries) == limit and entries[0].id is not None:
        next_page(request, response, entries[0].id)
    told = readable_jobs(daemon, caller, (entry.job_id for entry in entries))
    return [entry_out(entry, is_told=entry.job_id in told) for entry in entries if job is None or job in told]


def _require_read(daemon: Service, caller: Viewer, job_id: int) -> None:
    """Raise NotPermitted where a job is listed only; of one that is hidden there are no entries, as of an unknown."""
    with suppress(JobNotFound):
        daemon.settings.access.require_read(caller, daemon.store.jobs.job(job_id), "what it used")


def _block(part: PartIn, step_s: float) -> ImportedBlock:
    """Return a part's slots with their ends."""
    steps_s = part.steps_s or [step_s] * len(part.slots)
    rows = [(start, start + timedelta(seconds=s), value) for (start, value), s in zip(part.slots, steps_s, strict=True)]
    return ImportedBlock(rows=rows, issued_at=part.issued_at)


@router.post("/history/import")
def post_import(body: ImportIn, daemon: ServiceDep, caller: Caller) -> ImportOut:
    """Keep values of the past, all or none; what is known already changes nothing."""
    daemon.settings.access.require_role(caller, "add to what this daemon knows of the past")
    stated = StatedSeries(**body.model_dump(include={field.name for field in fields(StatedSeries)}))
    parts = [_block(row, body.step_s) for row in body.parts]
    done = daemon.scheduler.backfill.import_parts(stated, parts, daemon.now())
    _tell_of_history(daemon, caller, {"how": "import", "provider": body.provider, "zone": body.zone})
    return ImportOut.model_validate(done)


@router.post("/history/fetch")
def post_fetch(body: FetchIn, daemon: ServiceDep, caller: Caller) -> FetchOut:
    """Ask a source for the last week of an interval, and keep it. It may take minutes and counts against its limits."""
    daemon.settings.access.require_role(caller, "have this daemon's sources asked")
    done = daemon.scheduler.backfill.fetch(body.zone, body.provider, body.start, body.end, daemon.now())
    _tell_of_history(daemon, caller, {"how": "fetch", "provider": body.provider, "zone": body.zone})
    return FetchOut.model_validate(done)


def _tell_of_history(daemon: Service, caller: Viewer, detail: Mapping[str, object]) -> None:
    """Add to the audit trail who had values of the past kept."""
    kind, origin = EventKind.HISTORY_CHANGED, caller.origin
    daemon.store.jobs.note_event(NewEvent(kind=kind, at=daemon.now(), actor=caller.name, detail=detail, origin=origin))


def _unknown(zone: str | None, settings: ServiceSettings) -> str:
    known = [name for name in (settings.zone, *settings.also) if name]
    if not known:
        return f"No zone is set, so there is no forecast for {zone} or any other: set [grid] zone."
    only = f"the zone {known[0]} only" if len(known) == 1 else f"the zones {', '.join(known)} only"
    return f"This daemon knows {only}, not {zone}; to have more zones watched, name them in [grid] also."
