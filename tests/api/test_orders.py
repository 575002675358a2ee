"""An order for many jobs does to each what an order for it alone would, at once, and answers for each."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.api.app import create_app
from greenrun.core.jobs.job import Event, Job, State
from greenrun.core.jobs.transitions import Intent
from greenrun.core.planning.model import Plan
from greenrun.metrics import MetricsCollector, registry_of
from greenrun.store import Store
from tests.api.fakes import ADA, BOB, NOW, ROOT, World, errors, live_state, placed, spec, stored
from tests.sampling import examples
from tests.store.examples import claim, running

ORDERS = st.lists(
    st.tuples(st.sampled_from(Intent), st.lists(st.integers(1, 7), min_size=1, max_size=5)), min_size=1, max_size=2
)


def lasting(folder: str) -> tuple[World, Store]:
    """An API over a store with jobs of two users that wait, are starting, run and have ended."""
    store, world = Store(Path(folder) / "greenrun.db"), World()
    for user, uid in (("ada", 41001), ("ada", 41001), ("bob", 41002)):
        store.jobs.add_job(spec(start_after=NOW), user=user, uid=uid, now=NOW)
    claim(store, store.jobs.add_job(spec(), user="ada", uid=41001, now=NOW)[0], "GPU-1")
    running(store, "GPU-2")
    ended = store.jobs.add_job(spec(), user="ada", uid=41001, now=NOW)[0]
    store.jobs.change_states(State.QUEUED, {ended.id: (State.CANCELLED, WHY)}, actor="ada", now=NOW)
    metrics = registry_of(MetricsCollector(store, live_state(world.store, world.scheduler)))
    world.app = create_app(store, world.scheduler, world.settings, metrics, now=lambda: NOW)
    return world, store


WHY = stored(1, reason=placed(1).reason).reason


def told(answer: Any) -> dict[str, Any]:
    """What the answer for one job is in the answer for many."""
    is_done = answer.status_code == 200
    return {"job": answer.json() if is_done else None, "problem": None if is_done else answer.json()}


def left(store: Store) -> tuple[list[Job], list[Event]]:
    return list(store.jobs.jobs()), list(store.jobs.events())


@settings(examples(20), suppress_health_check=list(HealthCheck))
@given(orders=ORDERS, who=st.sampled_from([ADA, BOB, ROOT]))
def test_many_ids_at_once_are_the_same_as_one_by_one(orders: list[tuple[Intent, list[int]]], who: str) -> None:
    with TemporaryDirectory() as one_folder, TemporaryDirectory() as many_folder:
        (one, one_store), (many, many_store) = lasting(one_folder), lasting(many_folder)
        with one_store, many_store:
            for intent, ids in orders:
                answer = many.ask("POST", f"/v1/jobs/{intent}", who=who, json={"ids": ids})
                assert (answer.status_code, [row["id"] for row in answer.json()]) == (200, ids)
                last = {job_id: one.ask("POST", f"/v1/jobs/{job_id}/{intent}", who=who) for job_id in ids}
                assert answer.json() == [{"id": job_id, **told(last[job_id])} for job_id in ids]
                assert left(many_store)[0] == left(one_store)[0]
            assert [replace(event, id=0) for event in left(many_store)[1]] == [
                replace(event, id=0) for event in left(one_store)[1]
            ]


def test_an_order_for_many_is_one_transaction_and_wakes_the_scheduler_once(tmp_path: Path) -> None:
    world, store = lasting(str(tmp_path))
    with store:
        before = store.jobs.jobs([State.QUEUED])
        version = store.database.live.version()
        world.ask("POST", "/v1/jobs/hold", json={"ids": [1, 2, 99, 2]})
        assert store.database.live.version() == version + 1
        assert [job.held for job in store.jobs.jobs([State.QUEUED])] == [True, True, *(job.held for job in before[2:])]
    assert world.scheduler.wakes == 1


def test_an_order_of_which_nothing_can_be_done_changes_nothing_and_wakes_nobody(world: World) -> None:
    world.store.keep(stored(1, State.FAILED), stored(2, uid=41002, user="bob"))
    answer = world.ask("POST", "/v1/jobs/cancel", json={"ids": [2, 1, 9]})
    assert [row["problem"]["status"] for row in answer.json()] == [403, 409, 404]
    assert (world.scheduler.wakes, world.store.log) == (0, [])


def test_each_job_is_told_with_its_place_in_the_plan(world: World) -> None:
    world.store.keep(stored(1), stored(2))
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(2),))
    rows = world.ask("POST", "/v1/jobs/cancel", json={"ids": [2, 1]}).json()
    assert [bool(row["job"]["planned"]) for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"), ({"ids": []}, "ids"), ({"ids": [0]}, "ids[0]"), ({"ids": [1, "2"]}, "ids[1]"),
        ({"ids": [True]}, "ids[0]"), ({"ids": [2**63]}, "ids[0]"), ({"ids": [1], "all": True}, "all"),
        ({"ids": list(range(1, 10_002))}, "ids"),
    ],
)  # fmt: skip
def test_ids_that_cannot_be_meant_are_refused_whole(world: World, body: dict[str, Any], field: str) -> None:
    world.store.keep(stored(1))
    assert list(errors(world.ask("POST", "/v1/jobs/cancel", json=body))) == [field]
    assert not world.store.kept[1].cancel_requested
