"""Assemble the apps: all routes for the unix socket, and only the public ones for TCP loopback."""

from collections.abc import Callable, Sequence
from datetime import datetime
from types import ModuleType

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from greenrun.api import problems
from greenrun.api.identity import learn_own_names
from greenrun.api.ports import ApiStore
from greenrun.api.routes import budgets, devices, events, grid, jobs, reports, reservations, status, stray_runs
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
    service = Service(store=store, scheduler=scheduler, settings=settings, now=now)
    parts = (jobs, events, grid, devices, reservations, budgets, reports, stray_runs)
    app = _app(service, metrics, "/openapi.json", parts)
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


def _app(
    service: Service, metrics: CollectorRegistry, openapi_url: str | None, parts: Sequence[ModuleType] = ()
) -> FastAPI:
    """Return an app of the routes as they were declared: for an included router FastAPI would make each once more.

    That is a tenth of a second of processor at the first request, and the memory for all validators again.
    """
    app = FastAPI(
        routes=[route for part in (status, *parts) for route in part.router.routes],
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
    return app
