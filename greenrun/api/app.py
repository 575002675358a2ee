"""Assemble the apps: all routes for the unix socket, and only the public ones for TCP loopback."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from greenrun.api import problems
from greenrun.api.identity import learn_own_names
from greenrun.api.ports import ApiStore
from greenrun.api.routes import devices, events, grid, jobs, reports, status, stray_runs
from greenrun.api.service import Scheduler, Service, ServiceSettings
from greenrun.api.serving.middleware import AccessLog, BodyLimit, HostCheck
from greenrun.clock import utc_now


def create_app(
    store: ApiStore,
    scheduler: Scheduler,
    settings: ServiceSettings,
    metrics: CollectorRegistry,
    now: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """Return the whole API. Serve it with PeerProtocol on a unix socket: the kernel identifies the caller."""
    app = _app(Service(store=store, scheduler=scheduler, settings=settings, now=now), metrics, "/openapi.json")
    app.include_router(jobs.router, responses=_refusals(404, 409))
    app.include_router(events.router, responses=_refusals())
    app.include_router(grid.router, responses=_refusals(404, 502))
    app.include_router(devices.router, responses=_refusals(409))
    app.include_router(reports.router, responses=_refusals())
    app.include_router(stray_runs.router, responses=_refusals(404))
    learn_own_names()
    document = app.openapi
    app.openapi = lambda: problems.declare(document())  # type: ignore[method-assign]
    return app


def create_metrics_app(
    store: ApiStore,
    scheduler: Scheduler,
    settings: ServiceSettings,
    metrics: CollectorRegistry,
    now: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """Return the app with /metrics, /healthz and /readyz only, which need no identity."""
    app = _app(Service(store=store, scheduler=scheduler, settings=settings, now=now), metrics, None)
    app.add_middleware(HostCheck, hosts=settings.hosts)
    return app


def _refusals(*own: int) -> dict[int | str, dict[str, Any]]:
    """The statuses of a problem document that routes can answer with: everybody's, and their own."""
    return {code: {"model": problems.ProblemOut} for code in (403, 422, 500, 503, 507, *own)}


def _app(service: Service, metrics: CollectorRegistry, openapi_url: str | None) -> FastAPI:
    app = FastAPI(
        title="greenrun",
        version=service.settings.version,
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.metrics = metrics
    app.add_middleware(BodyLimit, limit_bytes=service.settings.body_limit_bytes, limit_s=service.settings.body_limit_s)
    app.add_middleware(AccessLog)
    problems.install(app)
    app.include_router(status.router)
    return app
