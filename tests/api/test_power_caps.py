"""What the API settles and says of the power limit that a job allows."""

import pytest

from greenrun.core.energy.power_limit import parse_power_cap
from tests.api.fakes import World


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
