"""Whoever connects sees the stray runs; root and the daemon's own user may end them."""

import pytest

from greenrun.core.jobs.runs.status import StrayRun
from tests.api.fakes import NOW, World

STRAY = StrayRun(
    label="12.1", job_id=12, token="t", devices=("GPU-1",), folder="/state/runs/12.1", log=None, started_at=NOW
)


def test_stray_runs_are_listed_with_what_they_hold(world: World) -> None:
    world.scheduler.strays.there = [STRAY]
    assert world.ask("GET", "/v1/stray-runs", who="uid:0").json() == [
        {
            "run": "12.1", "devices": ["GPU-1"], "folder": "/state/runs/12.1", "log": None,
            "started_at": NOW.isoformat().replace("+00:00", "Z"),
        }
    ]  # fmt: skip


@pytest.mark.parametrize(("run", "status"), [("12.1", 200), ("12.2", 404), ("..%2F", 404), ("%00", 404)])
def test_one_that_is_there_is_ended(world: World, run: str, status: int) -> None:
    world.scheduler.strays.there = [STRAY]
    assert world.ask("POST", f"/v1/stray-runs/{run}/end", who="uid:0").status_code == status
    assert len(world.scheduler.strays.ended_by) == (status == 200)


def test_others_may_not_end_them(world: World) -> None:
    world.scheduler.strays.there = [STRAY]
    answer = world.ask("POST", "/v1/stray-runs/12.1/end", who="uid:65534")
    assert (answer.status_code, world.scheduler.strays.ended_by) == (403, [])
