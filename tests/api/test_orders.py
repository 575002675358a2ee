"""An order for many jobs does to each what an order for it alone would, at once, and answers for each."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.api.app import create_app
from greenrun.api.orders import select_ids
from greenrun.core.jobs.job import ArrayPlace, Event, Job, State
from greenrun.core.jobs.transitions import Intent
from greenrun.core.planning.model import Plan
from greenrun.metrics import MetricsCollector, registry_of
from greenrun.store import Store
from tests.api.fakes import ADA, BOB, NOW, ROOT, World, errors, live_state, placed, spec, stored
from tests.api.reference import openapi
from tests.sampling import examples
from tests.store.examples import claim, running

OF_USERS = [intent for intent in Intent if intent is not Intent.APPROVE]  # which admins alone may ask for, of many
ORDERS = st.lists(
    st.tuples(st.sampled_from(OF_USERS), st.lists(st.integers(1, 7), min_size=1, max_size=5)), min_size=1, max_size=2
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
        ({"ids": [True]}, "ids[0]"), ({"ids": [2**63]}, "ids[0]"), ({"ids": [1], "all": True}, "ids"),
        ({"jobs": ["1"], "all": True}, "all"), ({"jobs": [""]}, "jobs[0]"),
        ({"ids": list(range(1, 10_002))}, "ids"),
    ],
)  # fmt: skip
def test_ids_that_cannot_be_meant_are_refused_whole(world: World, body: dict[str, Any], field: str) -> None:
    world.store.keep(stored(1))
    assert list(errors(world.ask("POST", "/v1/jobs/cancel", json=body))) == [field]
    assert not world.store.kept[1].cancel_requested


def named(world: World) -> World:
    """Jobs of ada (three of one array, one done) and of bob."""
    place = [ArrayPlace(key="k", index=index, size=3) for index in range(3)]
    world.store.keep(*(stored(1 + index, name="sweep", array=row) for index, row in enumerate(place)))
    world.store.keep(stored(4, State.SUCCEEDED, name="train"), stored(5, user="bob", uid=41002, name="train"))
    world.store.keep(stored(6, name="train", project="vision"), stored(7, name="idle"))
    return world


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"jobs": ["1-2,7"]}, [1, 2, 7]),
        ({"jobs": ["sweep[1-5]", "train"]}, [2, 3, 6]), ({"jobs": ["2[]"]}, [1, 2, 3]),
        ({"all": True}, [1, 2, 3, 6, 7]), ({"project": "vision"}, [6]), ({"name": "t*"}, [6]),
        ({"states": ["queued"], "jobs": ["4-9"]}, [6, 7]),
    ],
)  # fmt: skip
def test_jobs_are_held_as_people_name_them(world: World, body: dict[str, Any], ids: list[int]) -> None:
    answer = named(world).ask("POST", "/v1/jobs/hold", json=body)
    assert [(row["id"], row["job"]["held"], row["problem"]) for row in answer.json()] == [
        (job, True, None) for job in ids
    ]
    assert [job.id for job in world.store.kept.values() if job.held] == ids
    assert world.scheduler.wakes == 1


def test_a_word_that_names_no_job_has_an_answer_of_its_own_beside_what_was_done(world: World) -> None:
    rows = named(world).ask("POST", "/v1/jobs/cancel", json={"jobs": ["idle", "nobody", "99", "5"]}).json()
    assert [(row["id"], row["problem"] and row["problem"]["status"]) for row in rows] == [
        (7, None),
        (None, 404),
        (None, 403),
        (None, 404),
    ]
    assert "no job of yours is called 'nobody'" in rows[-1]["problem"]["detail"]
    assert world.store.kept[7].cancel_requested


def test_jobs_are_read_as_people_name_them(world: World) -> None:
    named(world)
    read = world.ask("GET", "/v1/jobs/select", params={"job": ["7", "sweep[0-1]"]})
    assert [job["id"] for job in read.json()] == [7, 1, 2]
    whole = world.ask("GET", "/v1/jobs/select", params={"job": "train", "for": "wait"})
    assert [job["id"] for job in whole.json()] == [6]
    mixed = world.ask("GET", "/v1/jobs/select", params={"job": ["99", "abc"], "for": "wait"})
    assert mixed.status_code == 404
    assert all(part in mixed.json()["detail"] for part in ("there is no job 99", "'abc'"))
    none = world.ask("GET", "/v1/jobs/select", params={"job": ["x", "y[1]"]})
    assert (none.status_code, none.json()["title"]) == (404, "job not found")
    assert "'x'" in none.json()["detail"]
    assert "'y[1]'" in none.json()["detail"]
    assert world.ask("GET", "/v1/jobs/select").status_code == 422
    world.store.keep(stored(8, name="idle"))
    both = world.ask("GET", "/v1/jobs/select", params={"job": "idle"})
    assert (both.status_code, both.json()["title"]) == (409, "ambiguous job")


def test_a_job_comes_after_those_that_people_name(world: World) -> None:
    named(world)
    answer = world.submit(after=[{"job": "sweep"}, {"job": "train", "on": "any"}, {"job": 7}])
    assert answer.status_code == 201, answer.text
    assert answer.json()["after"] == [
        {"job": job, "on": on} for job, on in ((1, "ok"), (2, "ok"), (3, "ok"), (6, "any"), (7, "ok"))
    ]
    refused = world.submit(after=[{"job": "nobody"}, {"job": "sweep[9]"}, {"job": 99}], finish_by="2020-01-01T00:00Z")
    assert refused.status_code == 422
    assert [row["field"] for row in refused.json()["errors"]] == ["finish_by", "after", "after", "after"]


def test_what_a_name_means_is_looked_up_once_for_all_jobs_of_a_submission(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(world)
    asked: list[object] = []

    def counting(daemon: Any, caller: Any, selector: Any, purpose: str) -> Any:
        asked.append(selector)
        return select_ids(daemon, caller, selector, purpose)

    monkeypatch.setattr("greenrun.api.submit.select_ids", counting)
    job = {"command": ["/bin/true"], "workdir": "/"}
    jobs = [{**job, "after": [{"job": "sweep"}, {"job": name}]} for name in ("train", "nobody", "nobody")]
    answer = world.ask("POST", "/v1/jobs", json=jobs)
    assert list(errors(answer)) == ["[1].after", "[2].after"]
    assert len(asked) == 3


def test_selection_and_action_are_one_transaction_on_the_disk(tmp_path: Path) -> None:
    world, store = lasting(str(tmp_path))
    with store:
        rows = world.ask("POST", "/v1/jobs/cancel", json={"all": True}).json()
        mine = [job for job in store.jobs.jobs() if job.uid == 41001]
        assert [row["id"] for row in rows] == [job.id for job in mine if job.state is not State.CANCELLED]
        assert all(job.cancel_requested or job.state is State.CANCELLED for job in mine)
        assert not any(job.cancel_requested for job in store.jobs.jobs() if job.uid != 41001)
        read = world.ask("GET", "/v1/jobs/select", params={"all": "true"})
        assert [job["id"] for job in read.json()] == [job.id for job in mine]


BODILESS = [f"/v1/jobs/1/{intent.value}" for intent in OF_USERS]
BODILESS += ["/v1/stray-runs/1.1/end", "/v1/reservations/1/end"]


@pytest.mark.parametrize("path", BODILESS)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"reason": "x"}', "reason"), (b'{"dry_run": true, "ids": [2]}', "dry_run"), (b"[]", ""), (b'"2"', ""),
        (b"{", ""), (b"7", ""),
    ],
)  # fmt: skip
def test_an_order_that_says_all_in_its_path_refuses_a_body_that_says_more(path: str, body: bytes, field: str) -> None:
    world = World()
    world.store.keep(stored(1))
    headers = {"content-type": "application/json"}
    answer = world.ask("POST", path, who=ROOT, content=body, headers=headers)
    assert (answer.status_code, field in errors(answer)) == (422, True)
    assert "of a job" not in answer.text
    assert (world.store.kept[1], world.scheduler.wakes) == (stored(1), 0)


@pytest.mark.parametrize("body", [b"", b"{}", b"null"])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_an_order_without_a_body_or_with_an_empty_one_is_carried_out(body: bytes, kind: str) -> None:
    world = World()
    world.store.keep(stored(1))
    if body and "form" in kind:
        kind = "application/json; charset=utf-8"
    answer = world.ask("POST", "/v1/jobs/1/hold", content=body, headers={"content-type": kind})
    assert (answer.status_code, world.store.kept[1].held) == (200, True)


def test_every_route_that_orders_something_declares_what_it_takes() -> None:
    paths = openapi()["paths"]
    undeclared = [path for path, item in paths.items() if "post" in item and "requestBody" not in item["post"]]
    assert undeclared == []


@pytest.mark.parametrize("path", ["/v1/jobs/cancel", "/v1/jobs/1/requeue", "/v1/drain", "/v1/resume"])
def test_a_field_that_an_order_does_not_know_is_refused(path: str) -> None:
    answer = World().ask("POST", path, who=ROOT, json={"nonsense": 1, "ids": [1]})
    assert (answer.status_code, errors(answer)["nonsense"]) == (422, "is no field that is known here")
