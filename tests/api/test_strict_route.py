"""What a request says is heard or refused: nothing is ignored, and no text of a client's is a fault of ours."""

import json

import pytest

from tests.api.fakes import World

JOB = b'{"command": ["/bin/true"], "workdir": "/"'


def test_a_parameter_that_no_route_knows_submits_nothing(world: World) -> None:
    answer = world.ask("POST", "/v1/jobs?dry-run=true", content=JOB + b"}")
    assert (answer.status_code, answer.json()["errors"]) == (
        422, [{"field": "dry-run", "message": "is not a parameter here: there is dry_run"}],
    )  # fmt: skip
    assert world.ask("GET", "/v1/jobs").json() == []


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/v1/jobs?stat=queued"), ("GET", "/v1/devices?x"), ("POST", "/v1/jobs/1/cancel?force=1"),
     ("GET", "/v1/jobs/select?job[]=1"), ("GET", "/v1/plan?at=now")],
)  # fmt: skip
def test_an_unknown_parameter_is_refused_everywhere(world: World, method: str, target: str) -> None:
    answer = world.ask(method, target)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["message"].startswith("is not a parameter here")


def test_a_parameter_that_is_one_value_is_given_once(world: World) -> None:
    answer = world.ask("GET", "/v1/jobs?limit=1&limit=2")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limit")
    assert world.ask("GET", "/v1/jobs?state=queued&state=running").status_code == 200


@pytest.mark.parametrize(
    "body",
    [JOB + b', "command": ["/bin/false"]}', JOB + b', "gpus": 1, "gpus": 2}', JOB + b', "env": {"A": "1", "A": "2"}}'],
)
def test_a_key_that_comes_twice_is_refused(world: World, body: bytes) -> None:
    answer = world.ask("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "twice" in answer.json()["detail"]) == (422, True)
    assert world.ask("GET", "/v1/jobs").json() == []


@pytest.mark.parametrize("order", ["cancel", "hold", "release", "start-now", "edit", "requeue"])
@pytest.mark.parametrize("field", ["project", "name", "jobs", "states"])
def test_half_a_character_is_refused_in_orders(world: World, order: str, field: str) -> None:
    said = ["\ud800"] if field in ("jobs", "states") else "\ud800"
    content = json.dumps({field: said, **({"changes": {"priority": 1}} if order == "edit" else {})}).encode()
    answer = world.ask("POST", f"/v1/jobs/{order}", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0]["field"].partition("[")[0]) == (422, field)


def test_an_answer_about_a_long_list_is_short(world: World) -> None:
    content = json.dumps({"states": ["odd"] * 20_000}).encode()
    answer = world.ask("POST", "/v1/jobs/cancel", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert len(answer.content) < 1000


@pytest.mark.parametrize("query", ["job=9223372036854775808", "job=5-3", "", "job=1&all=true"])
def test_what_names_no_jobs_is_refused_with_its_field(world: World, query: str) -> None:
    answer = world.ask("GET", f"/v1/jobs/select?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"] in ("job", "all")) == (422, True)
