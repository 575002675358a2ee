"""The description of the API: examples are true to their schemas, ids are stable, and its page needs no other host."""

import re
from typing import Any

import jsonschema
import pytest

from greenrun.api.app import create_tcp_app
from tests.api.fakes import NOW, World, stored
from tests.api.reference import openapi

DOCUMENT = openapi()
OPERATIONS = {operation["operationId"]: operation for item in DOCUMENT["paths"].values() for operation in item.values()}
BODIES = [
    pytest.param(content, id=f"{name}-{status}")
    for name, operation in OPERATIONS.items()
    for status, body in [("asked", operation.get("requestBody", {})), *operation["responses"].items()]
    if (content := body.get("content", {}).get("application/json"))
]


@pytest.mark.parametrize("content", BODIES)
def test_every_body_has_an_example_that_is_true_to_its_schema(content: Any) -> None:
    jsonschema.validate(content["example"], {**content["schema"], "components": DOCUMENT["components"]})


@pytest.mark.parametrize("order", ["cancel", "hold", "release", "start-now", "edit"])
def test_the_example_of_an_order_is_one_that_is_done(world: World, order: str) -> None:
    world.store.keep(stored(12), stored(13))
    content = DOCUMENT["paths"][f"/v1/jobs/{order}"]["post"]["requestBody"]["content"]
    answer = world.ask("POST", f"/v1/jobs/{order}", json=content["application/json"]["example"])
    assert (answer.status_code, answer.json()[0]["id"]) == (200, 12)


def test_operations_are_named_after_what_they_do_each_by_another_name() -> None:
    assert len(OPERATIONS) == sum(len(item) for item in DOCUMENT["paths"].values())
    assert [name for name in OPERATIONS if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    assert {"post_jobs", "get_jobs", "get_job", "explain_job", "get_log", "get_all_events", "get_plan"} <= set(
        OPERATIONS
    )
    assert DOCUMENT["openapi"].startswith("3.1")


def test_the_page_shows_every_operation_and_model_and_loads_its_own_style_alone(world: World) -> None:
    public = create_tcp_app(world.store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    answers = [
        world.ask("GET", "/docs"),
        world.ask("GET", "/docs", app=public, who="127.0.0.1", headers={"host": "localhost"}),
    ]
    page = answers[0].text
    assert answers[1].text == page
    shown = [*OPERATIONS, *(f"model-{name}" for name in DOCUMENT["components"]["schemas"])]
    assert [name for name in shown if f'id="{name}"' not in page] == []
    assert re.findall(r'(?:src|href)="([^#"]*)"', page) == ["/docs/style.css", "/openapi.json"]
    assert re.findall(r"<script| style=| on\w+=|url\(|@import", page + world.ask("GET", "/docs/style.css").text) == []
    assert answers[0].headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")


def test_what_the_document_says_is_escaped(world: World) -> None:
    world.app.state.describe = lambda: {
        "info": {"title": "<b>", "version": "1"},
        "paths": {"/<i>": {"get": {"tags": ["<u>"], "operationId": "x", "responses": {}}}},
        "components": {"schemas": {"<s>": {"type": "object"}}},
    }
    assert re.findall(r"<[bius]>", world.ask("GET", "/docs").text) == []
