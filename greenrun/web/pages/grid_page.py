"""The page of the grid: each zone's intensity now and ahead, its sources, and how good its forecasts were."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic_core import to_json

from greenrun.api.identity import Visitor
from greenrun.api.service import Service, ServiceDep
from greenrun.core.carbon.intensity import Signal
from greenrun.core.formatting import iso_text
from greenrun.web.grid_now import GridNow, grid_now, hourly
from greenrun.web.page_route import PageRoute, page

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/grid")
def get_grid_page(request: Request, daemon: ServiceDep, visitor: Visitor) -> Response:
    """Return the page of the grid."""
    zones = _zones(daemon)
    values = {
        "zones": zones,
        "hours": {zone.zone: hourly(zone.steps) for zone in zones},
        "sources": daemon.scheduler.sources.states(),
        "judged": daemon.scheduler.quality.latest,
        "judged_at": daemon.scheduler.quality.judged_at,
    }
    return page(request, "grid.html", values, visitor=visitor)


@router.get("/grid/intensity")
def get_grid_chart(daemon: ServiceDep) -> Response:
    """Return what the chart of the zones draws."""
    series = [
        {
            "name": f"{zone.zone}, {zone.level}" + (f", {zone.signal}" if zone.signal != Signal.AVERAGE else ""),
            "steps": [[iso_text(start), iso_text(end), round(value, 2)] for start, end, value in zone.steps],
        }
        for zone in _zones(daemon)
        if zone.steps
    ]
    chart = {"unit": "g/kWh", "now": iso_text(daemon.now(), "seconds"), "series": series}
    return Response(to_json(chart), media_type="application/json")


def _zones(daemon: Service) -> list[GridNow]:
    own, now = daemon.settings.zone, daemon.now()
    names = dict.fromkeys(name for name in (own, *daemon.settings.also) if name)
    return [grid_now(name, daemon.scheduler.active_forecast(name), now) for name in names]
