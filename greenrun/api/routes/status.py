"""The routes for monitoring: health, readiness and metrics."""

from collections.abc import Callable, Collection
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8

from greenrun.api.json_types import ResponseInstant, ResponseModel, attributes
from greenrun.api.problems import ProblemOut
from greenrun.api.service import Service, ServiceDep
from greenrun.core.conditions import Condition, ConditionCode, Effect, of_liveness
from greenrun.core.energy.model import BOOKED
from greenrun.metrics import Health

router = APIRouter(tags=["status"])
TEXT = {"schema": {"type": "string"}}
METRICS: dict[str, Any] = {
    "description": "The metrics, in the form that the caller accepts.",
    "content": {choose_encoder(form)[1]: TEXT for form in ("", "application/openmetrics-text; version=1.0.0")},
}
PROBLEM: dict[str, Any] = {"model": ProblemOut}
OVER_TCP: dict[int | str, dict[str, Any]] = {421: PROBLEM, 500: PROBLEM}  # 421: asked for by another host's name


class ConditionOut(ResponseModel):
    """One thing that is wrong: what happened and what greenrun does now (`text`), and what a person can do.

    `failing`: the daemon does not do its work; `not_ready`: it starts nothing for now; `warning`: look at it.
    """

    code: ConditionCode
    effect: Effect
    text: str
    remedy: str
    since: ResponseInstant


class HealthOut(ResponseModel):
    """Whether the daemon does its work; `reasons` is empty when it does.

    `conditions` is all that is wrong, also what does not keep it from that.
    """

    status: str
    reasons: list[str]
    conditions: list[ConditionOut]
    version: str
    started_at: ResponseInstant
    last_tick_at: ResponseInstant | None
    last_sample_at: ResponseInstant | None
    forecast_fetched_at: ResponseInstant | None


@router.get("/healthz", responses={503: {"model": HealthOut}, **OVER_TCP})
def get_health(daemon: ServiceDep, response: Response) -> HealthOut:
    """Report whether the daemon works: 200, or 503 with the reasons."""
    return _answer(daemon, response, {Effect.FAILING})


@router.get("/readyz", responses={503: {"model": HealthOut}, **OVER_TCP})
def get_readiness(daemon: ServiceDep, response: Response) -> HealthOut:
    """Report whether the daemon works, has recovered and starts jobs: 200, or 503 with the reasons."""
    return _answer(daemon, response, {Effect.FAILING, Effect.NOT_READY})


@router.get("/metrics", response_class=Response, responses={200: METRICS, 503: PROBLEM, **OVER_TCP})
def get_metrics(request: Request) -> Response:
    """Return the metrics as Prometheus text, or as OpenMetrics for those who accept it."""
    accept = request.headers.get("accept", "")
    encode, media_type = choose_encoder(accept)
    # Greenrun's names have nothing to escape, and looking for it letter by letter takes as long as all the rest.
    options = {} if "escaping=" in accept else {"escaping": ALLOWUTF8}
    return Response(cast(Callable[..., bytes], encode)(request.app.state.metrics, **options), media_type=media_type)


def conditions_of(daemon: Service, health: Health) -> list[Condition]:
    """Return all that is wrong: what the daemon noticed, what stands still, and that it has yet to begin, or ends."""
    return [
        *daemon.scheduler.conditions(),
        *of_liveness(
            now=daemon.now(), started_at=health.started_at, last_tick_at=health.last_tick_at,
            last_sample_at=health.last_sample_at, is_stopping=health.draining, limit=daemon.settings.stalled_after,
            has_meter=any(device.kind in BOOKED for device in daemon.scheduler.host.devices()),
        ),
    ]  # fmt: skip


def _answer(daemon: Service, response: Response, effects: Collection[Effect]) -> HealthOut:
    health = daemon.scheduler.health()
    conditions = conditions_of(daemon, health)
    reasons = [row.text for row in conditions if row.effect in effects]
    response.status_code = 503 if reasons else 200
    values = {**attributes(health), "status": "failing" if reasons else "ok", "reasons": reasons}
    values["conditions"] = [ConditionOut.model_validate(row) for row in conditions]
    return HealthOut.model_validate({**values, "version": daemon.settings.version})
