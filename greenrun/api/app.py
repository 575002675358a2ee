"""Assemble the apps: all routes for the unix socket, and the same behind a gate for TCP, with those of browsers."""

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
from greenrun.api.sign_in import credential_routes, sign_in_pages
from greenrun.api.sign_in.entrance import Entrance
from greenrun.api.sign_in.gate import Gate
from greenrun.clock import utc_now

_API = (jobs, events, grid, devices, reservations, budgets, reports, stray_runs, credential_routes)
_PAGES = (sign_in_pages,)  # for people: over TCP alone


def create_app(
    store: ApiStore,
    scheduler: Scheduler,
    settings: ServiceSettings,
    metrics: CollectorRegistry,
    now: Callable[[], datetime] = utc_now,
    entrance: Entrance | None = None,
) -> FastAPI:
    """Return the whole API. Serve it with PeerProtocol on a unix socket: the kernel identifies the caller.

    Both apps of a daemon share one `entrance`.
    """
    learn_own_names()
    entrance = entrance or Entrance(store.credentials, now)
    return _app(Service(store=store, scheduler=scheduler, settings=settings, now=now, entrance=entrance), metrics, _API)


def create_tcp_app(
    store: ApiStore,
    scheduler: Scheduler,
    settings: ServiceSettings,
    metrics: CollectorRegistry,
    now: Callable[[], datetime] = utc_now,
    entrance: Entrance | None = None,
) -> FastAPI:
    """Return the app for TCP: /metrics, /healthz and /readyz for anybody, and the API for whom the gate knows."""
    entrance = entrance or Entrance(store.credentials, now)
    service = Service(store=store, scheduler=scheduler, settings=settings, now=now, entrance=entrance)
    app = _app(service, metrics, (*_API, *_PAGES))
    app.add_middleware(Gate, service=service)
    app.add_middleware(HostCheck, hosts=settings.hosts)
    return app


def _app(service: Service, metrics: CollectorRegistry, parts: Sequence[ModuleType]) -> FastAPI:
    """Return an app of the routes as they were declared: for an included router FastAPI would make each once more.

    That is a tenth of a second of processor at the first request, and the memory for all validators again.
    """
    app = FastAPI(
        routes=[route for part in (status, *parts) for route in part.router.routes],
        title="greenrun",
        version=service.settings.version,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.metrics = metrics
    app.add_middleware(BodyLimit, limit_bytes=service.settings.body_limit_bytes, limit_s=service.settings.body_limit_s)
    app.add_middleware(AccessLog)
    problems.install(app)
    document = app.openapi
    app.openapi = lambda: problems.declare(document())  # type: ignore[method-assign]
    return app
