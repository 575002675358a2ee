"""Reservations over the API: who may make them, what is refused, and what is told."""

from datetime import timedelta
from typing import Any

import pytest

from greenrun.core.formatting import iso_text
from tests.api.fakes import BOB, GPU, NOW, ROOT, World

HOUR = timedelta(hours=1)


def asked(**own: Any) -> dict[str, Any]:
    return {"gpus": ["0"], "start": iso_text(NOW + HOUR), "end": iso_text(NOW + 3 * HOUR), "reason": "a demo", **own}


def test_one_is_made_listed_and_ended(world: World) -> None:
    made = world.ask("POST", "/v1/reservations", json=asked(for_user="bob"), who=ROOT)
    row = made.json()
    assert (made.status_code, row["id"], row["gpus"], row["for_user"]) == (200, 1, [GPU.id], "bob")
    assert world.ask("GET", "/v1/reservations").json() == [row]
    assert world.ask("POST", "/v1/reservations/1/end", who=ROOT).json() == row
    assert world.ask("GET", "/v1/reservations").json() == []
    assert world.ask("POST", "/v1/reservations/1/end", who=ROOT).status_code == 404
    assert world.scheduler.reserved.reservations(NOW) == []


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"gpus": []}, "gpus"),
        ({"count": 1}, "gpus"),
        ({"gpus": ["7"]}, "gpus"),
        ({"gpus": [], "count": 2}, "count"),
        ({"end": iso_text(NOW)}, "end"),
        ({"end": iso_text(NOW + timedelta(days=40))}, "end"),
        ({"start": iso_text(NOW - HOUR)}, "start"),
        ({"start": iso_text(NOW + timedelta(days=400)), "end": iso_text(NOW + timedelta(days=401))}, "start"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_changes_nothing(
    world: World, own: dict[str, Any], field: str
) -> None:
    refused = world.ask("POST", "/v1/reservations", json=asked(**own), who=ROOT)
    assert refused.status_code == 422
    assert [row["field"] for row in refused.json()["errors"]] == [field]
    assert world.ask("GET", "/v1/reservations").json() == []


def test_a_gpu_is_reserved_once_at_a_time(world: World) -> None:
    world.ask("POST", "/v1/reservations", json=asked(), who=ROOT)
    again = world.ask("POST", "/v1/reservations", json=asked(start=iso_text(NOW + 2 * HOUR)), who=ROOT)
    assert again.status_code == 422
    assert "already" in again.json()["detail"]
    after = asked(start=iso_text(NOW + 3 * HOUR), end=iso_text(NOW + 4 * HOUR))
    assert world.ask("POST", "/v1/reservations", json=after, who=ROOT).status_code == 200


def test_who_may_not_drain_may_not_reserve_either(world: World) -> None:
    assert world.ask("POST", "/v1/reservations", json=asked(), who=BOB).status_code == 403
    world.ask("POST", "/v1/reservations", json=asked(), who=ROOT)
    assert world.ask("POST", "/v1/reservations/1/end", who=BOB).status_code == 403
    assert len(world.ask("GET", "/v1/reservations", who=BOB).json()) == 1
