"""Limits of memory, CPUs and disk are the site's where a job states none, and refused where they cannot be had."""

from greenrun.core.jobs.runs.resource_limits import ResourceRules
from tests.api.fakes import World, stored

RULES = ResourceRules(
    usual={"memory_gib": 8.0}, most={"memory_gib": 32.0}, there={"memory_gib": 64.0, "cpus": 8.0},
    why_not={"io_weight": "nothing would keep it"},
)  # fmt: skip


def test_a_submission_gets_the_sites_limits_and_is_told_all_that_it_cannot_have() -> None:
    world = World(resources=RULES)
    told = world.submit().json()
    assert (told["memory_gib"], told["cpus"], told["io_weight"]) == (8.0, None, None)
    refused = world.submit(memory_gib=33, cpus=9, io_weight=5)
    assert (refused.status_code, [row["field"] for row in refused.json()["errors"]]) == (
        422,
        ["memory_gib", "cpus", "io_weight"],
    )
    assert len(world.store.kept) == 1


def test_an_edit_cannot_get_round_the_sites_limits() -> None:
    world = World(resources=RULES)
    world.store.keep(stored(1, gpus=0, memory_gib=16.0))
    refused = world.ask("POST", "/v1/jobs/1/edit", json={"memory_gib": 48})
    assert (refused.status_code, "[limits] memory_max" in refused.text) == (422, True)
    answer = world.ask("POST", "/v1/jobs/1/edit", json={"memory_gib": None, "cpus": 2})
    assert (answer.status_code, answer.json()["memory_gib"], answer.json()["cpus"]) == (200, 8.0, 2.0), answer.text
