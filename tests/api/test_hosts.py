"""Over TCP only who names this machine is answered: a page whose name was made to lead here reads nothing."""

import asyncio

import pytest

from greenrun.api.app import create_tcp_app
from greenrun.api.service import ServiceSettings
from greenrun.api.serving.middleware import BodyLimit
from tests.api.fakes import World


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/nowhere"])
@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True), ("LOCALHOST.:9753", True), ("127.0.0.1:9753", True), ("127.8.8.8", True),
        ("[::1]:1", True),
        ("a.localhost", True), ("gpu.lab:80", True), ("evil.example", False), ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False), ("0.0.0.0", False), ("10.0.0.1", False), ("[::2]", False), ("", False),
        ("gpu.lab.evil.example", False), ("[", False),
        ("localhost:", True), ("[::1]", True), ("[0:0::1]:80", True), ("GPU.LAB.", True), ("127.1.2.3", True),
        ("[::1", False), ("::1", False), ("[::1]x", False), ("[::1]:x", False), ("[::1]]", False), ("[[::1]]", False),
        ("[::1%lo]", False), ("[localhost]", False), ("[127.0.0.1]", False), ("[gpu.lab]", False), ("[]", False),
        ("localhost:x", False), ("localhost:80:80", False), ("localhost:99999", False), ("localhost:-1", False),
        ("localhost..", False), (".localhost", False), ("a..localhost", False), ("user@localhost", False),
        ("localhost/x", False), ("localhost,evil.example", False), ("evil.example localhost", False),
        ("evil.example#.localhost", False), ("evil.example:80@localhost", False), ("%6cocalhost", False),
        ("http://localhost", False), ("127.0.0.1:9753evil", False), (":9753", False), ("127.0.0.1.:", True),
        ("2130706433", False), ("0x7f.1", False), ("127.1", False), ("l\xf6calhost", False), ("localhost\x00", False),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_answered(path: str, host: str, is_ours: bool) -> None:
    world = World()
    settings = ServiceSettings(zone="GB", hosts=("GPU.lab",))
    app = create_tcp_app(world.store, world.scheduler, settings, world.metrics)
    answer = world.ask("GET", path, app=app, who="127.0.0.1", headers={"host": host.encode("latin-1")})
    assert (answer.status_code == 421) == (not is_ours)
    assert is_ours or answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("others", [["evil.example"], ["localhost"]])
def test_a_request_that_names_several_hosts_is_not_answered(others: list[str]) -> None:
    world = World()
    app = create_tcp_app(world.store, world.scheduler, ServiceSettings(zone="GB"), world.metrics)
    headers = [("host", "localhost"), *(("host", name) for name in others)]
    answer = world.ask("GET", "/metrics", app=app, who="127.0.0.1", headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (421, "The request names several hosts: name one.")


def test_a_body_that_does_not_come_is_refused_and_the_connection_closed() -> None:
    world, sent = World(), list[dict[str, object]]()

    async def never() -> dict[str, object]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def keep(message: dict[str, object]) -> None:
        sent.append(message)

    headers = [(b"content-length", b"10"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/jobs", "headers": headers, "client": ("uid:0", 1),
        "query_string": b"", "raw_path": b"/v1/jobs", "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    asyncio.run(BodyLimit(world.app, 1000, 0.01)(scope, never, keep))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]  # type: ignore[operator]
