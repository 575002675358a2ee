"""What a client may submit, and what it hears when it may not."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.api.service import Preview
from greenrun.core.errors import InvalidJob, StorageFull, StoreError
from greenrun.core.formatting import instant_text
from greenrun.core.jobs.job import Anomaly, DurationSource
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.model import Waiting
from greenrun.executors.command_files.noted_files import noted
from tests.api.fakes import ADA, CLEANEST, HOUR, NOW, World, errors, placed, spec, stored


def test_a_submitted_job_is_stored_as_stated_for_its_kernel_told_user(world: World) -> None:
    answer = world.submit(
        command=["/bin/sleep", "5"],
        name="nap",
        project="dreams",
        gpus=2,
        duration_s=5400,
        time_limit_s=7200,
        finish_by="2026-03-03T10:00+01:00",
        max_delay_s=0,
        start_after="2026-03-02T11:00Z",
        expire=True,
        priority=3,
        power_w=700,
        min_saving=0.05,
        run_below_g_per_kwh=80,
        retries=2,
        grace_s=0,
        env={"TOKEN": "secret"},
        log="nap.log",
        unique_key="k",
        labels={"a": "b"},
        git_commit="abc",
        stop_on=["stuck", "gpu_idle", "stuck"],
    )
    assert answer.status_code == 201
    assert world.store.jobs.job(1).spec == spec(
        command=("/bin/sleep", "5"),
        name="nap",
        project="dreams",
        gpus=2,
        duration=1.5 * HOUR,
        time_limit=2 * HOUR,
        finish_by=NOW + 21 * HOUR,
        max_delay=timedelta(0),
        start_after=NOW - HOUR,
        expire=True,
        priority=3,
        power_w=700.0,
        min_saving=0.05,
        run_below_g_per_kwh=80.0,
        retries=2,
        grace=timedelta(0),
        env={"TOKEN": "secret"},
        log="/nap.log",
        unique_key="k",
        labels={"a": "b"},
        git_commit="abc",
        noted_files=noted(["/bin/sleep"]),
        stop_on=(Anomaly.STUCK, Anomaly.GPU_IDLE),
    )
    assert answer.json()["stop_on"] == ["stuck", "gpu_idle"]
    assert (world.store.jobs.job(1).uid, world.scheduler.wakes) == (41001, 1)


def test_the_answer_tells_the_plan_for_the_job_and_only_the_names_of_its_environment(world: World) -> None:
    answer = world.submit(env={"TOKEN": "secret"})
    job = answer.json()
    assert "secret" not in answer.text
    assert (job["id"], job["state"], job["env_names"], job["runs"]) == (1, "queued", ["TOKEN"], [])
    assert job["reason"] == {"code": "cleanest_window", "text": CLEANEST.text}
    assert job["planned"] == {
        "start": "2026-03-02T14:00:00Z",
        "end": "2026-03-02T15:00:00Z",
        "g_per_kwh": 93.0,
        "start_now_g_per_kwh": None,
        "expected_g": 400.0,
        "start_now_g": 700.0,
        "signal": None,
        "pieces": [],
        "promised": {"start": "2026-03-02T13:00:00Z", "end": "2026-03-02T14:00:00Z"},
        "put_offs": 2,
    }


@pytest.mark.parametrize(("limit_s", "expected"), [(None, 4 * HOUR), (60, timedelta(minutes=1))])
def test_a_job_without_a_duration_is_expected_to_take_the_default_or_its_shorter_time_limit(
    world: World, limit_s: float | None, expected: timedelta
) -> None:
    world.submit(time_limit_s=limit_s)
    own = world.store.jobs.job(1).spec
    assert (own.duration, own.duration_source) == (expected, DurationSource.DEFAULT)


def test_a_dry_run_tells_the_plan_and_stores_nothing(world: World) -> None:
    answer = world.submit("?dry_run=true")
    assert (answer.status_code, answer.json()["id"], answer.json()["planned"]["expected_g"]) == (200, None, 400.0)
    assert (world.store.kept, world.scheduler.wakes) == ({}, 0)


def test_a_job_that_cannot_be_placed_says_why_it_waits(world: World) -> None:
    why = because(ReasonCode.CANCEL_REQUESTED)
    world.scheduler.tried = Preview(waiting=Waiting(job_id=0, reason=why))
    job = world.submit().json()
    assert (job["planned"], job["reason"]) == (None, {"code": "cancel_requested", "text": why.text})


@pytest.mark.parametrize("query", ["", "?dry_run=true"], ids=["stored", "tried"])
@pytest.mark.parametrize(
    "why",
    [because(ReasonCode.WAITS_FOR, job=5, ending="to end", planned=""), because(ReasonCode.ARRAY_FULL, limit=1)],
    ids=["one that has no place either", "a turn after such"],
)
def test_a_finish_by_of_a_job_that_has_no_place_yet_is_warned_not_to_be_known(
    world: World, why: Reason, query: str
) -> None:
    world.scheduler.tried = Preview(waiting=Waiting(job_id=0, reason=why))
    limit = (NOW + timedelta(hours=9)).isoformat()
    [warning] = world.submit(query, finish_by=limit).json()["warnings"]
    assert warning.startswith("whether it can end by ")
    assert warning.endswith(f"is not known, as no start can be planned yet: {why.text}")
    assert world.submit(query).json()["warnings"] == []
    world.scheduler.tried = Preview(placement=placed(0))
    assert world.submit(query, finish_by=limit).json()["warnings"] == []


def test_a_known_unique_key_gives_the_job_it_names_also_when_it_could_not_be_accepted_any_more(world: World) -> None:
    first = world.submit(unique_key="night")
    again = world.submit(unique_key="night")
    world.scheduler.tried = InvalidJob("the finish-by cannot be met")
    late = world.submit(unique_key="night")
    assert [answer.status_code for answer in (first, again, late)] == [201, 200, 200]
    assert [answer.json()["id"] for answer in (first, again, late)] == [1, 1, 1]


def test_many_jobs_are_accepted_in_order(world: World) -> None:
    job = {"command": ["/bin/true"], "workdir": "/"}
    answer = world.ask("POST", "/v1/jobs", json=[{**job, "name": name} for name in ("a", "b")])
    assert (answer.status_code, [row["name"] for row in answer.json()]) == (201, ["a", "b"])


def test_of_many_jobs_none_is_stored_when_one_has_a_fault_and_the_fault_is_named(world: World) -> None:
    job = {"command": ["/bin/true"], "workdir": "/"}
    assert list(errors(world.ask("POST", "/v1/jobs", json=[job, {**job, "gpus": -1}]))) == ["[1].gpus"]
    assert list(errors(world.ask("POST", "/v1/jobs", json=[job, {**job, "workdir": "/no/such"}]))) == ["[1].workdir"]
    assert world.store.kept == {}


def test_all_malformed_fields_are_told_at_once(world: World) -> None:
    answer = world.submit(command=[], gpus="2", duration_s=0, finish_by="2026-12-01T09:00", retries=True, nonsense=1)
    assert errors(answer) == {
        "command": "must name a program",
        "gpus": "should be a valid integer",
        "duration_s": "should be greater than or equal to 0.001",
        "finish_by": "should have timezone info",
        "retries": "should be a valid integer",
        "nonsense": "is not a field of a job",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("command", ["a\0b"]),
        ("command", ["x" * 131_073]),
        ("command", ["x"] * 4097),
        ("command", "true"),
        ("workdir", "relative"),
        ("name", "red\x1b[31m"),
        ("project", ""),
        ("duration_s", 1e12),
        ("duration_s", "60"),
        ("duration_s", -1),
        ("max_delay_s", -0.1),
        ("finish_by", 1_800_000_000),
        ("finish_by", "1800000000"),
        ("finish_by", "9999-12-31T23:59Z"),
        ("start_after", "soon"),
        ("start_now", "yes"),
        ("power_w", 0),
        ("min_saving", 1.1),
        ("env", {"A=B": "c"}),
        ("env", {"A": "\0"}),
        ("labels", {"a": 1}),
        ("priority", 10**30),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(world: World, name: str, value: object) -> None:
    assert next(iter(errors(world.submit(**{name: value})))).startswith(name)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(world: World, number: str) -> None:
    body = f'{{"command": ["/bin/true"], "workdir": "/", "duration_s": {number}}}'
    answer = world.ask("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert list(errors(answer)) == ["duration_s"]


@pytest.mark.parametrize("body", ["{", "", "[]", "3", "null", "[[]]", '{"command": ["\\ud800"], "workdir": "/"}'])
def test_a_body_that_is_no_job_is_refused(world: World, body: str) -> None:
    answer = world.ask("POST", "/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_a_body_nested_beyond_reason_is_refused(world: World) -> None:
    answer = world.ask("POST", "/v1/jobs", content="[" * 200_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize(
    ("parts", "field", "advice"),
    [
        (
            {"duration_s": 7200, "finish_by": "2026-03-02T13:00Z"},
            "finish_by",
            "a job of 2h that starts at 2026-03-02 12:00:00Z ends at 2026-03-02 14:00:00Z: "
            "ask for --finish-by 2026-03-02T14:01:01Z or later, or a --duration of at most 59m",
        ),
        (
            {"finish_by": "2026-03-02T11:00Z"},
            "finish_by",
            "a job of 4h (the configured default) that starts at 2026-03-02 12:00:00Z ends at 2026-03-02 16:00:00Z: "
            "ask for --finish-by 2026-03-02T16:01:01Z or later",
        ),
        (
            {"duration_s": 3600, "time_limit_s": 60},
            "time_limit_s",
            "is shorter than the duration: raise it to 1h or more",
        ),
        (
            {"start_after": "2026-03-02T14:00Z", "max_delay_s": 60},
            "max_delay_s",
            "ends before --start-after: raise it to 2h1m, or start earlier",
        ),
        ({"expire": True}, "expire", "has no limit to expire by: give --finish-by or --max-delay as well"),
    ],
)
def test_a_contradiction_names_the_smallest_change(
    world: World, parts: dict[str, Any], field: str, advice: str
) -> None:
    assert errors(world.submit(**parts)) == {field: advice}


def test_following_the_advice_on_finish_by_makes_the_job_acceptable(world: World) -> None:
    assert world.submit(duration_s=7200, finish_by="2026-03-02T14:01:00Z").status_code == 201


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        ({"command": ["no-such-program"]}, "command", "there is no program 'no-such-program' in PATH"),
        ({"command": ["./no-such-program"]}, "command", "there is no program /./no-such-program"),
        ({"command": ["/etc/passwd"]}, "command", "is not executable"),
        ({"command": ["/bin"]}, "command", "/bin is a folder"),
        ({"workdir": "/no/such/folder"}, "workdir", "is not a folder"),
        ({"workdir": "/" + "x" * 300}, "workdir", "is not a folder"),
        ({"env_file": "no-such.env"}, "env_file", "/no-such.env is not a file"),
    ],
)
def test_what_this_machine_does_not_have_is_refused(
    world: World, parts: dict[str, Any], field: str, words: str
) -> None:
    assert words in errors(world.submit(**parts))[field]


def test_the_program_is_sought_on_the_jobs_own_path_and_from_its_own_folder(world: World, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "train"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    where = {"workdir": str(tmp_path)}
    assert world.submit(command=["bin/train"], **where).status_code == 201
    assert world.submit(command=["train"], env={"PATH": "/usr/bin:bin"}, **where).status_code == 201
    assert world.submit(command=["train"], env={"PATH": "/usr/bin"}, **where).status_code == 422


def test_what_the_planner_refuses_is_refused_with_its_sentence_and_stored_nowhere(world: World) -> None:
    world.scheduler.tried = InvalidJob("It needs 8 GPUs and this machine has 2.")
    answer = world.submit()
    assert (answer.status_code, answer.json()["detail"]) == (422, "It needs 8 GPUs and this machine has 2.")
    assert world.store.kept == {}


def test_a_full_queue_refuses_with_a_sentence() -> None:
    world = World(max_queued=2)
    world.store.keep(stored(1), stored(2))
    answer = world.submit()
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("2 jobs are queued and no more than 2 may be")


@pytest.mark.parametrize(("fault", "status"), [(StorageFull("The disk is full."), 507), (StoreError("Locked."), 503)])
def test_a_store_that_cannot_keep_a_job_is_told_as_such(world: World, fault: Exception, status: int) -> None:
    world.store.fault = fault
    answer = world.submit()
    assert (answer.status_code, answer.json()["detail"], answer.json()["status"]) == (status, str(fault), status)
    assert world.scheduler.wakes == 0


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_whether_announced_or_not(announced: bool) -> None:
    world = World(body_limit_bytes=1000)
    content = b"x" * 1001

    async def chunks() -> Any:
        for _ in range(2):
            yield b"x" * 600

    answer = world.ask("POST", "/v1/jobs", who=ADA, content=content if announced else chunks())
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_of_many_jobs_each_is_told_what_this_machine_does_not_have(world: World) -> None:
    job = {"command": ["/bin/true"], "workdir": "/"}
    wrong = {**job, "command": ["no-such-program"]}
    elsewhere = {**wrong, "env": {"PATH": "/no/such"}}
    answer = world.ask("POST", "/v1/jobs", json=[wrong, job, wrong, elsewhere, {**job, "env_file": "none"}])
    assert list(errors(answer)) == ["[0].command", "[2].command", "[3].command", "[4].env_file"]


@pytest.mark.parametrize("query", ["", "?dry_run=true"], ids=["stored", "tried"])
def test_a_job_that_would_expire_before_it_can_start_is_told_so(world: World, query: str) -> None:
    world.scheduler.tried = Preview(placement=replace(placed(0), start=NOW + timedelta(minutes=3)))
    [warning] = world.submit(query, max_delay_s=60, expire=True).json()["warnings"]
    assert warning.startswith("it can start at ")
    assert warning.endswith(f"and expires at {instant_text(NOW + timedelta(minutes=1))}")
    for others in ({"max_delay_s": 600, "expire": True}, {"max_delay_s": 60}):
        assert world.submit(query, **others).json()["warnings"] == []
