"""An API as a daemon serves it: the socket's app and the app for TCP, which share one entrance, and browsers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI

from greenrun.api.app import create_app, create_tcp_app
from greenrun.api.ports import ApiCredentials
from greenrun.api.sign_in.entrance import Entrance
from tests.api.fakes import ADA, NOW, World

PLACE = "127.0.0.1"  # where browsers and programs are
OWN = "http://localhost:9753"
JOB = {"command": ["/bin/true"], "workdir": "/"}


class TcpWorld(World):
    """A world with a clock of its own that is also served over TCP."""

    def __init__(self, credentials: ApiCredentials | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.at = NOW
        self.entrance = Entrance(credentials or self.store.credentials, self.now)
        self.entrance.addresses = (OWN,)
        served = (self.store, self.scheduler, self.settings, self.metrics, self.now, self.entrance)
        self.app, self.tcp = create_app(*served), create_tcp_app(*served)

    def now(self) -> datetime:
        return self.at

    def over_tcp(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str | bytes] | None = None,
        *,
        place: str = PLACE,
        **more: Any,
    ) -> httpx.Response:
        """Send one request over TCP and return the answer."""
        told = {"host": "localhost:9753", **(headers or {})}
        return self.ask(method, path, who=place, app=self.tcp, headers=told, **more)

    def ticket(self, who: str = ADA) -> str:
        return str(self.ask("POST", "/v1/tickets", who=who).json()["ticket"])

    def token(self, scope: str = "submit", who: str = ADA, **more: Any) -> str:
        return str(self.ask("POST", "/v1/tokens", who=who, json={"scope": scope, **more}).json()["token"])

    def browser(self, who: str = ADA) -> "Browser":
        """Return a browser that a user has signed in."""
        return Browser(self, who)

    def told(self) -> list[str]:
        """The kinds of the events about who was let in."""
        return [event.kind.value for event in self.store.credentials.noted]


class Browser:
    """Sends what a page of ours sends: the cookie, the CSRF token and where it comes from."""

    def __init__(self, world: TcpWorld, who: str) -> None:
        self._world = world
        signed_in = world.over_tcp("GET", f"/sign-in?ticket={world.ticket(who)}")
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
        self.set_cookie = signed_in.headers["set-cookie"]
        self.cookie = self.set_cookie.partition(";")[0]
        self.csrf = str(self.get("/v1/caller").json()["csrf_token"])

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._world.over_tcp("GET", path, {"cookie": self.cookie, **_named(headers)})

    def post(self, path: str, *, without: str = "", body: Any = None, **headers: str) -> httpx.Response:
        """POST as a page does, `without` one of its headers, or with others in their place."""
        sent = {"cookie": self.cookie, "x-csrf-token": self.csrf, "origin": OWN, "sec-fetch-site": "same-origin"}
        sent.update(_named(headers))
        sent.pop(without, None)
        return self._world.over_tcp("POST", path, sent, **({} if body is None else {"json": body}))


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@contextmanager
def later(world: TcpWorld, by: timedelta) -> Iterator[None]:
    """Let it be later for a while."""
    world.at += by
    yield
    world.at -= by


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path under /v1 that an app has, with 1 for each number in the path."""
    found = []
    for route in app.routes:
        path = str(getattr(route, "path", ""))
        if path.startswith("/v1"):
            for part in path.split("/"):
                path = path.replace(part, "1") if part.startswith("{") else path
            found += [(method, path) for method in sorted(getattr(route, "methods", None) or ())]
    return found
