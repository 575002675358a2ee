"""A job that does not say how long it takes or what it draws is told what those like it took, and says so."""

from datetime import timedelta
from typing import Any

from greenrun.core.jobs.history import FinishedJob
from tests.api.fakes import NOW, World


def past(count: int, hours: float = 3, **own: Any) -> list[FinishedJob]:
    """So many jobs of this name on one GPU, each of which drew 400 W."""
    base: dict[str, Any] = {"name": "train", "project": "default", "gpus": 1, "energy_j": hours * 3600 * 400, **own}
    return [
        FinishedJob(job_id=n, finished_at=NOW + timedelta(seconds=n), duration=timedelta(hours=hours), **base)
        for n in range(count)
    ]


def expectation(world: World, **job: Any) -> tuple[Any, ...]:
    told = world.submit(**{"name": "train", **job}).json()
    return told["duration_s"], told["duration_source"], told["power_w"], told["power_source"]


def test_three_finished_jobs_of_the_name_are_learned_from(world: World) -> None:
    world.store.finished = past(3)
    assert expectation(world) == (3 * 3600, "learned", 400, "learned")
    told = world.ask("GET", "/v1/jobs/1").json()
    assert told["duration_note"] == "learned from 3 finished jobs named train (quantile 0.8; median 3h, 3h to 3h)"
    assert told["power_note"] == "learned from 3 finished jobs named train, all of them measured (400 W to 400 W)"


def test_two_are_too_few_so_the_defaults_hold(world: World) -> None:
    world.store.finished = past(2)
    assert expectation(world) == (4 * 3600, "default", None, "nominal")
    told = world.ask("GET", "/v1/jobs/1").json()
    assert (told["duration_note"], told["power_note"]) == (None, None)


def test_what_its_user_says_counts_more_than_what_was_learned(world: World) -> None:
    world.store.finished = past(9)
    assert expectation(world, duration_s=60.0, power_w=90.0) == (60, "given", 90, "given")
    assert expectation(world, duration_s=60.0) == (60, "given", 400, "learned")
    assert expectation(world, power_w=90.0) == (3 * 3600, "learned", 90, "given")


def test_a_learned_duration_stays_within_the_time_limit(world: World) -> None:
    world.store.finished = past(9)
    assert expectation(world, time_limit_s=600.0)[:2] == (600, "learned")


def test_the_quantile_is_the_settings(world: World) -> None:
    world = World(duration_quantile=0.5)
    world.store.finished = [*past(3, hours=1), *past(2, hours=9)]
    assert expectation(world)[0] == 3600


def test_a_dry_run_learns_too(world: World) -> None:
    world.store.finished = past(3)
    assert world.submit("?dry_run=true", name="train").json()["duration_source"] == "learned"


def test_explain_tells_what_was_learned_from_what(world: World) -> None:
    world.store.finished = past(12, hours=3.25)
    world.submit(name="train")
    told = world.ask("GET", "/v1/jobs/1/explain").json()["sentences"]
    assert (
        "It is expected to run for 3h15m: learned from 12 finished jobs named train"
        " (quantile 0.8; median 3h15m, 3h15m to 3h15m)." in told
    )
