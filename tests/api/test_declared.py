"""What /openapi.json says can come is what comes: each status with its media type, whatever goes wrong."""

import errno

import pytest
from structlog.testing import capture_logs

from greenrun.core.errors import ExecutorError, GreenrunError, StorageFull, StoreDamaged, StoreError, StoreLost
from tests.api.fakes import World
from tests.api.reference import openapi

PROBLEM = "application/problem+json"
DOCUMENT = openapi()
ROUTES = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]
FAULTS = [
    None, StoreError("x"), StorageFull("x"), StoreLost("x"), StoreDamaged("x"), ExecutorError("x"), GreenrunError("x"),
    RuntimeError("x"), OSError(errno.EMFILE, "x"), OSError(errno.EIO, "x"),
]  # fmt: skip
BODIES = [b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"ids": [1]}', b'{"command": ["/bin/true"], "workdir": "/"}']


def declared(method: str, path: str) -> dict[int, list[str]]:
    """The media types of each status that a route declares."""
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    return {int(code): list(response.get("content", {})) for code, response in responses.items()}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_answer_is_one_that_its_route_declares(world: World, method: str, path: str) -> None:
    """Whatever is sent, whoever asks, whatever fails: each is varied by itself."""
    bodies = BODIES if method == "POST" else BODIES[:1]
    cases = [(None, body, "uid:0") for body in bodies] + [(fault, bodies[-1], "uid:0") for fault in FAULTS]
    cases += [(None, bodies[-1], who) for who in ("uid:65534", "127.0.0.1")]
    target = path.replace("{job_id}", "7").replace("{run}", "1.1")
    told, undeclared = declared(method, path), []
    for fault, body, who in cases:
        world.store.fault = fault
        with capture_logs():  # structlog's own tracebacks take seconds
            answer = world.ask(method, target, who=who, content=body, headers={"content-type": "application/json"})
        kind = answer.headers.get("content-type", "")
        if not {kind, kind.partition(";")[0]} & set(told.get(answer.status_code, ())):
            undeclared.append((fault, body, who, answer.status_code, kind))
    assert undeclared == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_errors_are_problem_documents(method: str, path: str) -> None:
    """Only a failing health is one of its own kind."""
    told = declared(method, path)
    kinds = {kind for code, content in told.items() if code >= 400 for kind in content}
    assert kinds == ({PROBLEM, "application/json"} if path in ("/healthz", "/readyz") else {PROBLEM})
    assert {500, 503} <= set(told)


def test_the_metrics_declare_the_forms_that_they_have() -> None:
    assert [kind.split(";")[0] for kind in declared("GET", "/metrics")[200]] == [
        "text/plain", "application/openmetrics-text"
    ]  # fmt: skip
    world = World()
    for kind in declared("GET", "/metrics")[200]:
        assert world.ask("GET", "/metrics", headers={"accept": kind}).headers["content-type"] == kind
