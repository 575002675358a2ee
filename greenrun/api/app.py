"""Assemble the apps: all routes for the unix socket, and the same behind a gate for TCP, with those of browsers."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, partial
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute

from greenrun.api import problems
from greenrun.api.description.examples import add_examples
from greenrun.api.identity import learn_own_names
from greenrun.api.ports import ApiStore
from greenrun.api.routes import (
    budgets,
    devices,
    events,
    grid,
    jobs,
    reference,
    reports,
    reservations,
    run_logs,
    status,
    stray_runs,
)
from greenrun.api.service import Scheduler, Service, ServiceSettings
from greenrun.api.serving.middleware import AccessLog, BodyLimit, HostCheck
from greenrun.api.sign_in import credential_routes, sign_in_pages
from greenrun.api.sign_in.entrance import Entrance
from greenrun.api.sign_in.gate import Gate
from greenrun.clock import utc_now

_API = (jobs, run_logs, events, grid, devices, reservations, budgets, reports, stray_runs, credential_routes)
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
    return _app(
        Service(store=store, scheduler=scheduler, settings=settings, now=now, entrance=entrance),
        metrics,
        (*_API, reference),
    )


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
    app = _app(service, metrics, (*_API, reference, *_PAGES))
    app.add_middleware(Gate, service=service)
    app.add_middleware(HostCheck, hosts=settings.hosts)
    return app


def _app(service: Service, metrics: CollectorRegistry, parts: Sequence[ModuleType]) -> FastAPI:
    """Return an app of the routes as they were declared: for an included router FastAPI would make each once more.

    That is a tenth of a second of processor at the first request, and the memory for all validators again.
    """
    app = FastAPI(
        routes=_routes((status, *parts)),
        title="greenrun",
        version=service.settings.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.metrics = metrics
    app.state.followers = set()
    app.openapi = app.state.describe = cache(partial(_describe, service.settings.version))  # type: ignore[method-assign]
    app.add_middleware(BodyLimit, limit_bytes=service.settings.body_limit_bytes, limit_s=service.settings.body_limit_s)
    app.add_middleware(AccessLog)
    problems.install(app)
    return app


def _routes(parts: Sequence[ModuleType]) -> list[BaseRoute]:
    routes = [route for part in parts for route in part.router.routes]
    for route in routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.name  # stable, whatever its path
    return routes


def _describe(version: str) -> dict[str, Any]:
    """Return the OpenAPI document of the whole API, which takes a second to make."""
    document = get_openapi(
        title="greenrun", version=version, openapi_version="3.1.0", routes=_routes((status, *_API)),
        description="Version 1 of the API of a greenrun daemon: what begins with /v1 keeps its meaning.",
    )  # fmt: skip
    problems.declare(document)
    add_examples(document)
    return document
