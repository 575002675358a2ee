"""The routes for monitoring: health, readiness and metrics."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8

from greenrun.api.json_types import ResponseInstant, ResponseModel, attributes
from greenrun.api.service import Service, ServiceDep
from greenrun.core.energy.model import BOOKED
from greenrun.metrics import Health

router = APIRouter(tags=["status"])
readiness = APIRouter(tags=["status"])


class HealthOut(ResponseModel):
    """Whether the daemon does its work; `reasons` is empty when it does."""

    status: str
    reasons: list[str]
    version: str
    started_at: ResponseInstant
    last_tick_at: ResponseInstant | None
    last_sample_at: ResponseInstant | None
    forecast_fetched_at: ResponseInstant | None


@router.get("/healthz", responses={503: {"model": HealthOut}})
def get_health(daemon: ServiceDep, response: Response) -> HealthOut:
    """Report whether the daemon works: 200, or 503 with the reasons."""
    health = daemon.scheduler.health()
    has_meter = any(device.kind in BOOKED for device in daemon.scheduler.devices())
    stalled = _stalled(health, daemon.now(), daemon.settings.stalled_after, has_meter)
    return _answer(daemon, response, health, stalled)


@readiness.get("/readyz", responses={503: {"model": HealthOut}})
def get_readiness(daemon: ServiceDep, response: Response) -> HealthOut:
    """Report whether the daemon has recovered and starts jobs: 200, or 503 with the reasons."""
    health = daemon.scheduler.health()
    reasons = ["has not finished its first tick yet"] if health.last_tick_at is None else []
    reasons += ["is stopping and starts nothing new"] if health.draining else []
    return _answer(daemon, response, health, reasons)


@router.get("/metrics")
def get_metrics(request: Request) -> Response:
    """Return the metrics as Prometheus text, or as OpenMetrics for those who accept it."""
    accept = request.headers.get("accept", "")
    encode, media_type = choose_encoder(accept)
    # Greenrun's names have nothing to escape, and looking for it letter by letter takes as long as all the rest.
    options = {} if "escaping=" in accept else {"escaping": ALLOWUTF8}
    return Response(cast(Callable[..., bytes], encode)(request.app.state.metrics, **options), media_type=media_type)


def _stalled(health: Health, now: datetime, limit: timedelta, has_meter: bool) -> list[str]:
    seconds = f"{limit.total_seconds():g} s"
    reasons = []
    if abs(now - (health.last_tick_at or health.started_at)) > limit:  # ahead of now: the clock was set back
        reasons.append(f"the last tick is older than {seconds}")
    if has_meter and abs(now - (health.last_sample_at or health.started_at)) > limit:
        reasons.append(f"the last meter sample is older than {seconds}")
    return reasons


def _answer(daemon: Service, response: Response, health: Health, reasons: list[str]) -> HealthOut:
    response.status_code = 503 if reasons else 200
    values = {**attributes(health), "status": "failing" if reasons else "ok", "reasons": reasons}
    return HealthOut.model_validate({**values, "version": daemon.settings.version})
