"""What the API settles and says of the power limit that a job allows."""

from typing import Any

import pytest

from greenrun.core.energy.power_limit import parse_power_cap
from tests.api.fakes import World, errors, stored

PARTS = [{"shared": True}, {"gpu_model": "1g.10gb"}, {"gpu_model": "A100 1C.2G.20GB"}]


@pytest.mark.parametrize(
    ("said", "default", "kept", "note"),
    [
        ("70%:slowdown=8%", None, "70%:slowdown=8%", None),
        ("60%", None, "60%:slowdown=6.8%", "by a model"),
        (None, "60%:slowdown=5%", "60%:slowdown=5%", None),
        ("none", "60%", "none", None),
        (None, None, None, None),
    ],
)
def test_a_job_has_what_it_says_or_the_site_s_default_with_a_slowdown(
    said: str | None, default: str | None, kept: str | None, note: str | None
) -> None:
    world = World(default_cap=default and parse_power_cap(default))
    answer = world.submit(**({} if said is None else {"power_cap": said}))
    assert answer.status_code == 201, answer.text
    assert answer.json()["power_cap"] == kept
    assert (answer.json()["power_cap_note"] or "")[:10] == (note or "")


def test_who_has_not_the_right_is_told_when_the_job_is_submitted() -> None:
    world = World()
    world.scheduler.limit_trouble = "only root may"
    (warning,) = world.submit(power_cap="70%").json()["warnings"]
    assert warning == "--power-cap has no effect for now, so it runs at full power: only root may"


def test_what_is_no_power_limit_is_refused() -> None:
    answer = World().submit(power_cap="70")
    assert answer.status_code == 422
    assert "must be like" in answer.text


@pytest.mark.parametrize("part", PARTS)
def test_the_site_s_default_is_not_for_jobs_on_parts_of_boards_which_are_edited_like_others(
    part: dict[str, Any],
) -> None:
    world = World(default_cap=parse_power_cap("60%"))
    told = world.submit(**part).json()
    assert (told["power_cap"], told["power_cap_note"]) == (None, None)
    answer = world.ask("POST", "/v1/jobs/1/edit", json={"priority": 5})
    assert (answer.status_code, answer.json().get("priority")) == (200, 5), answer.text


@pytest.mark.parametrize("part", PARTS)
def test_a_job_on_a_part_that_was_given_the_default_by_an_earlier_release_is_edited_and_lowers_nothing(
    part: dict[str, Any],
) -> None:
    world = World()
    job = stored(1, power_cap="60%:slowdown=6.8%", **part)
    world.store.keep(job)
    assert job.spec.allowed_cap is None
    assert world.ask("POST", "/v1/jobs/1/edit", json={"priority": 5}).status_code == 200
    assert world.ask("POST", "/v1/jobs/1/edit", json={"power_cap": "70%"}).status_code == 422


@pytest.mark.parametrize("part", PARTS)
def test_a_power_limit_is_not_lowered_for_a_part_of_a_board(part: dict[str, Any]) -> None:
    answer = World().submit(**part, power_cap="70%")
    assert answer.status_code == 422
    assert "whole board" in errors(answer)["power_cap"]
    assert World().submit(**part, power_cap="none").status_code == 201


def test_a_job_that_has_the_default_is_made_one_on_a_part_without_a_power_limit() -> None:
    world = World(default_cap=parse_power_cap("60%"))
    world.submit(gpu_model="A100")
    assert world.ask("POST", "/v1/jobs/1/edit", json={"shared": True}).status_code == 422
    answer = world.ask("POST", "/v1/jobs/1/edit", json={"shared": True, "power_cap": None})
    assert (answer.status_code, answer.json()["power_cap"]) == (200, None), answer.text
