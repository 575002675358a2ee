"""Every route, asked by the owner of a job, another user, an admin and root, under each choice of a site."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from greenrun.api import identity
from greenrun.core.carbon.intensity import Kind, SeriesId
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.access import AccessRules, Sharing
from greenrun.core.jobs.job import Event, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.core.jobs.spec import Anomaly
from greenrun.core.planning.model import Plan, Waiting
from tests.api.fakes import ADA, BOB, HOUR, NOW, ROOT, World, placed, stored

EVE = "uid:41003"  # a member of the admin group
SECRET = {
    "command": ("/bin/sh", "-c", "SECRET-command"), "workdir": "/SECRET-workdir",
    "env": {"SECRET_NAME": "SECRET-value"},
    "labels": {"k": "SECRET-label"}, "log": "/SECRET-log", "git_commit": "5EC4E7", "env_file": "/SECRET-file",
    "unique_key": "SECRET-key", "stop_on": (Anomaly.STUCK,),
}  # fmt: skip
FAILED = Reason(ReasonCode.FAILED_TO_START, "could not be started: /SECRET-workdir/x is no program")

# What another user gets of ada's jobs: by route, under private, listed and open.
READ = {Sharing.PRIVATE: 404, Sharing.LISTED: 200, Sharing.OPEN: 200}
CHANGE = {Sharing.PRIVATE: 404, Sharing.LISTED: 403, Sharing.OPEN: 403}
LIST = dict.fromkeys(Sharing, 200)
ROLE = dict.fromkeys(Sharing, 403)
NOT_OWN = dict.fromkeys(Sharing, 404)
ALL_SAME = dict.fromkeys(Sharing, 200)
ORDER = {"ids": [1]}
TABLE: dict[str, tuple[dict[Sharing, int], Any]] = {
    "GET /v1/jobs": (LIST, None),
    "GET /v1/jobs/select?job=1": (READ, None),
    "GET /v1/jobs/1": (READ, None),
    "GET /v1/jobs/1/explain": (READ, None),
    "GET /v1/jobs/2/explain": (READ, None),
    "GET /v1/jobs/1/events": (READ, None),
    "GET /v1/jobs/1/logs": (CHANGE, None),
    "POST /v1/jobs/cancel": (CHANGE, ORDER),
    "POST /v1/jobs/hold": (CHANGE, ORDER),
    "POST /v1/jobs/release": (CHANGE, ORDER),
    "POST /v1/jobs/start-now": (CHANGE, ORDER),
    "POST /v1/jobs/approve": (ROLE, ORDER),
    "GET /v1/budgets": (ALL_SAME, None),
    "POST /v1/jobs/edit": (CHANGE, {**ORDER, "changes": {"priority": 1}}),
    "POST /v1/jobs/requeue": (CHANGE, {"ids": [2]}),
    "POST /v1/jobs/1/edit": (CHANGE, {"priority": 1}),
    "POST /v1/jobs/2/requeue": (CHANGE, {}),
    "POST /v1/jobs/1/cancel": (CHANGE, None),
    "POST /v1/jobs/1/hold": (CHANGE, None),
    "POST /v1/jobs/1/release": (CHANGE, None),
    "POST /v1/jobs/1/start-now": (CHANGE, None),
    "GET /v1/events": (LIST, None),
    "GET /v1/events?after=0": (LIST, None),
    "GET /v1/plan": (LIST, None),
    "GET /v1/devices": (LIST, None),
    "GET /v1/ledger": (LIST, None),
    "GET /v1/stray-runs": (LIST, None),
    "GET /v1/drains": (LIST, None),
    "GET /v1/reservations": (LIST, None),
    "GET /metrics": (LIST, None),
    "GET /v1/caller": (ALL_SAME, None),
    "POST /v1/tickets": (ALL_SAME, None),
    "GET /v1/sessions": (ALL_SAME, None),
    "GET /v1/tokens": (ALL_SAME, None),
    "POST /v1/tokens": (ROLE, {"scope": "admin"}),
    "POST /v1/sessions/1/revoke": (NOT_OWN, None),
    "POST /v1/tokens/1/revoke": (NOT_OWN, None),
    "POST /v1/drain": (ROLE, {}),
    "POST /v1/resume": (ROLE, {}),
    "POST /v1/reservations": (ROLE, {"gpus": ["0"], "end": iso_text(NOW + HOUR)}),
    "POST /v1/reservations/1/end": (ROLE, None),
    "POST /v1/stray-runs/12.1/end": (ROLE, None),
    "POST /v1/history/import": (
        ROLE, {"provider": "x", "step_s": 1800, "parts": [{"slots": [["2026-03-01T00:00Z", 1.0]]}]}
    ),
    "POST /v1/history/fetch": (ROLE, {"from": "2026-03-01T00:00Z", "to": "2026-03-02T00:00Z"}),
}  # fmt: skip
# Of these the first tells of nobody's jobs; reports and submissions have tests of their own below.
ELSEWHERE = {
    "GET /v1/forecast", "GET /v1/forecast/quality", "GET /v1/providers", "GET /healthz", "GET /readyz",
    "GET /v1/reports", "POST /v1/jobs",
}  # fmt: skip


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The groups of the system's database, in which eve is an admin."""
    known = {"41003": {"staff", "wheel"}, "41002": {"staff"}}
    monkeypatch.setattr(identity, "groups_of", lambda name: frozenset(known.get(name, ())))
    monkeypatch.setattr(identity, "_GROUPS", {})
    return known


def world_of(others: Sharing, **own: Any) -> World:
    """Ada's jobs: 1 is queued, 2 has failed, 3 runs."""
    world = World(access=AccessRules(others=others, admin_groups=("wheel",), **own))
    failed = stored(2, State.FAILED, name="train-x", reason=FAILED, finished_at=NOW, **SECRET)
    running = stored(3, State.RUNNING, **SECRET)
    world.store.keep(stored(1, name="train-x", **{**SECRET, "unique_key": "SECRET-other"}), failed, running)
    done = Run(
        id=7, job_id=2, number=1, token="0" * 32, devices=("GPU-1",), claimed_at=NOW, started_at=NOW - HOUR,
        ended_at=NOW, outcome=Outcome.FAILED, exit_code=77, log="/SECRET-log", work=1.0, work_unit="SECRET-unit",
    )  # fmt: skip
    world.store.job_runs[2] = [done]
    world.store.job_runs[3] = [replace(done, id=8, job_id=3, ended_at=None, outcome=None, exit_code=None)]
    stuck = AnomalyEpisode(anomaly=Anomaly.STUCK, run_id=7, since=NOW, text="SECRET-work")
    world.store.episodes[7] = [stuck]
    detail = {"number": 1, "state": "failed", "why": "SECRET-why", "exit_code": 77, "text": "SECRET-text"}
    world.store.log = [
        Event(id=number, at=NOW, actor="ada", kind="finished", job_id=number, run_id=7, detail=detail)
        for number in (1, 2)
    ]
    piece = Slice(
        device="GPU-1", component=Component.GPU, run_id=7, start=NOW - HOUR, end=NOW, energy_j=1.0,
        quality=Quality.MEASURED,
    )  # fmt: skip
    price = Priced(
        intensity_g_per_kwh=1.0, emissions_g=1.0, kind=Kind.FORECAST, series=SeriesId(provider="u", zone="GB")
    )
    world.store.booked = [Entry(slice=piece, pue=1.0, booked=price, id=1, job_id=2, project="train-x")]
    world.scheduler.latest = Plan(
        made_at=NOW, placements=(placed(1),), waiting=(Waiting(job_id=2, reason=because(ReasonCode.NO_CPU_SLOTS)),)
    )
    stray = StrayRun(
        job_id=12, token="0" * 32, label="12.1", devices=("GPU-1",), folder="/SECRET-runs", log="/SECRET-log",
        started_at=NOW,
    )  # fmt: skip
    world.scheduler.strays.there = [stray]
    return world


def ask(world: World, route: str, body: Any, who: str) -> tuple[int, str]:
    method, path = route.split()
    answer = world.ask(method, path, who=who, **({} if body is None else {"json": body}))
    told = answer.json() if "json" in answer.headers["content-type"] else None
    if isinstance(told, list) and told and isinstance(told[0], dict) and told[0].get("problem"):
        return int(told[0]["problem"]["status"]), answer.text
    return answer.status_code, answer.text


def test_the_table_has_every_route() -> None:
    """A route that somebody adds has to be put here, with what others get of it."""
    known = {f"{method.upper()} {path}" for path, item in World().app.openapi()["paths"].items() for method in item}
    tabled = {
        route.partition("?")[0].replace("/jobs/1", "/jobs/{job_id}").replace("/jobs/2", "/jobs/{job_id}")
        .replace("12.1", "{run}").replace("/reservations/1", "/reservations/{number}")
        .replace("/sessions/1", "/sessions/{number}").replace("/tokens/1", "/tokens/{number}") for route in TABLE
    }  # fmt: skip
    assert tabled | ELSEWHERE == known


@pytest.mark.parametrize("others", Sharing)
@pytest.mark.parametrize("route", TABLE)
def test_another_user_gets_what_the_site_says_and_no_more(route: str, others: Sharing) -> None:
    statuses, body = TABLE[route]
    status, text = ask(world_of(others), route, body, BOB)
    assert status == statuses[others], text
    assert "SECRET-value" not in text
    if status == 403:
        assert "SECRET" not in text
        assert "root and members of the group wheel" in text  # the rule, and whom to ask
    if others is Sharing.LISTED:
        assert "SECRET" not in text
        assert "5EC4E7" not in text
        assert '"exit_code":77' not in text
    if others is Sharing.PRIVATE:
        assert "SECRET" not in text
        assert "train-x" not in text
        assert '"ada"' not in text
        if status == 404:
            unknown = ask(
                world_of(others), route.replace("/1", "/9").replace("/2", "/9").replace("=1", "=9"), body, BOB
            )
            assert unknown[0] == 404
            assert re.sub(r"\d", "", unknown[1]) == re.sub(r"\d", "", text)  # they differ in the number alone


@pytest.mark.parametrize("others", Sharing)
@pytest.mark.parametrize("who", [ADA, EVE, ROOT])
@pytest.mark.parametrize("route", [route for route, row in TABLE.items() if row[0] is CHANGE or row[0] is READ])
def test_the_owner_admins_and_root_may_all(route: str, who: str, others: Sharing) -> None:
    """They are refused nothing for who they are: what is wrong with the job itself is told, as of any."""
    world = world_of(others)
    status, text = ask(world, route, TABLE[route][1], who)
    assert status in (200, 409, 422) or "has no such log" in text or "is gone" in text, text
    if status == 200 and route == "GET /v1/jobs/1":
        told = world.ask("GET", "/v1/jobs/1", who=who).json()
        assert (told["access"], told["command"][-1], told["workdir"]) == ("all", "SECRET-command", "/SECRET-workdir")


@pytest.mark.parametrize("others", Sharing)
@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /v1/jobs/1/edit", {"command": ["/bin/sh", "-c", "id"]}),
        ("POST /v1/jobs/1/edit", {"workdir": "/tmp", "priority": 1}),
        ("POST /v1/jobs/edit", {**ORDER, "changes": {"env_file": "/tmp/vars"}}),
        ("POST /v1/jobs/edit?dry_run=true", {**ORDER, "changes": {"log": "/tmp/log"}}),
        ("POST /v1/jobs/2/requeue", {"changes": {"command": ["/bin/true"]}}),
        ("POST /v1/jobs/requeue", {"ids": [2], "env": {"LD_PRELOAD": "/tmp/evil.so"}}),
    ],
)
def test_an_admin_does_not_say_what_is_executed_as_another_user(route: str, body: Any, others: Sharing) -> None:
    """Who is in an admin group is not thereby every user, nor root: a job of root's runs as root."""
    status, text = ask(world_of(others), route, body, EVE)
    assert (status, "runs as ada" in text) == (403, True), text
    for who in (ADA, ROOT):
        assert ask(world_of(others), route, body, who)[0] != 403


@pytest.mark.parametrize("who", [EVE, ROOT])
@pytest.mark.parametrize("route", ["POST /v1/drain", "POST /v1/resume", "POST /v1/stray-runs/12.1/end"])
def test_admins_may_do_what_root_may_do(route: str, who: str) -> None:
    status, text = ask(world_of(Sharing.LISTED), route, TABLE[route][1], who)
    assert status == 200, text


def test_who_leaves_the_admin_group_may_no_more(groups: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups are known for some seconds only: they are those of the system's database."""
    world = world_of(Sharing.LISTED)
    assert ask(world, "POST /v1/jobs/1/hold", None, EVE)[0] == 200
    groups["41003"].remove("wheel")
    assert ask(world, "POST /v1/jobs/1/release", None, EVE)[0] == 200
    monkeypatch.setattr(identity, "GROUPS_FOR_S", -1.0)
    assert ask(world, "POST /v1/jobs/1/hold", None, EVE)[0] == 403


def test_a_listed_job_tells_name_state_gpus_and_times(groups: dict[str, set[str]]) -> None:
    told = world_of(Sharing.LISTED).ask("GET", "/v1/jobs", who=BOB).json()
    first, second, third = told
    assert [row["name"] for row in told] == ["train-x", "train-x", "job 3"]  # its name was made of its command
    assert (first["state"], first["gpus"], first["user"], first["access"]) == ("queued", 1, "ada", "listed")
    assert (first["planned"]["start"], first["planned"]["expected_g"]) == ("2026-03-02T14:00:00Z", None)
    assert second["reason"] == {"code": "failed_to_start", "text": "why is told to its owner alone"}
    (run,) = second["runs"]
    assert (run["outcome"], run["devices"], run["ended_at"]) == ("failed", ["GPU-1"], "2026-03-02T12:00:00Z")
    assert (run["energy_j"], run["exit_code"], run["log"], run["work_unit"]) == (None, None, None, None)
    shown = {name for name, value in third.items() if value is not None}
    assert shown == {
        "id", "user", "name", "access", "project", "priority", "state", "held", "cancel_requested", "gpus",
        "submitted_at", "duration_s", "runs",
    }  # fmt: skip


def test_private_jobs_leave_their_place_in_the_plan_and_on_the_gpus() -> None:
    world = world_of(Sharing.PRIVATE)
    plan = world.ask("GET", "/v1/plan", who=BOB).json()
    assert (plan["placements"], plan["waiting"]) == ([], [])
    assert plan["others"] == [{"start": "2026-03-02T14:00:00Z", "end": "2026-03-02T15:00:00Z", "gpus": 1}]
    assert plan["others_waiting"] == 1
    gpu = world.ask("GET", "/v1/devices", who=BOB).json()[0]
    assert (gpu["leased"], gpu["leased_by_job"], gpu["leased_by_run"]) == (True, None, None)
    assert world.ask("GET", "/v1/jobs", who=BOB).json() == []


def test_a_reason_names_no_hidden_job() -> None:
    """Where another's job is in the way, its number is not told."""
    world = world_of(Sharing.PRIVATE)
    world.store.keep(stored(5, uid=41002, user="bob"))
    busy = because(
        ReasonCode.GPUS_BUSY, what="a free GPU", at="10:00", holders=" when job 3 ends", why="with more, now"
    )
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(5, reason=busy),))
    for path in ("/v1/jobs/5", "/v1/jobs/5/explain", "/v1/jobs", "/v1/plan"):
        text = world.ask("GET", path, who=BOB).text
        assert "when a job of another user ends" in text
        assert "job 3" not in text
    assert "when job 3 ends" in world.ask("GET", "/v1/jobs/5", who=ROOT).text


def test_a_refusal_names_no_hidden_job() -> None:
    world = world_of(Sharing.PRIVATE)
    why = "it would make job 3 miss its finish-by; cancel job 3"
    world.scheduler.tried = InvalidJob(why, [InputProblem(field="start_now", message=why)])
    for query in ("", "?dry_run=true"):
        body = {"command": ["/bin/true"], "workdir": "/"}
        answer = world.ask("POST", f"/v1/jobs{query}", who=BOB, json=body)
        assert answer.status_code == 422
        assert "job 3" not in answer.text
        assert "a job of another user" in answer.text


@pytest.mark.parametrize(("others", "status"), [(Sharing.PRIVATE, 422), (Sharing.LISTED, 201)])
def test_to_wait_for_a_hidden_job_is_to_wait_for_none(others: Sharing, status: int) -> None:
    body = {"command": ["/bin/true"], "workdir": "/", "after": [{"job": 1}]}
    answer = world_of(others).ask("POST", "/v1/jobs", who=BOB, json=body)
    assert answer.status_code == status
    if status == 422:
        assert "there is no job 1 to wait for" in answer.text


def test_a_closed_project_takes_jobs_of_its_members_alone() -> None:
    world = world_of(Sharing.LISTED, members={"vision": ("41001", "@staff")})
    body = {"command": ["/bin/true"], "workdir": "/", "project": "vision"}
    assert [world.ask("POST", "/v1/jobs", who=who, json=body).status_code for who in (ADA, BOB, EVE)] == [201, 201, 201]
    answer = world.ask("POST", "/v1/jobs", who=ROOT, json=body)
    assert answer.status_code == 403
    assert "[project.vision] members" in answer.json()["detail"]
    closed = world_of(Sharing.LISTED, members={"vision": ()})
    closed.store.keep(stored(1, workdir="/", gpus=0))
    assert closed.ask("POST", "/v1/jobs/1/edit", json={"project": "vision"}).status_code == 403


@pytest.mark.parametrize("others", Sharing)
def test_events_behind_hidden_ones_are_found(others: Sharing) -> None:
    """Whoever follows them goes on behind pages of which nothing is told."""
    world = world_of(others)
    world.store.keep(stored(5, uid=41002, user="bob"))
    world.store.log.append(replace(world.store.log[0], id=3, job_id=5))
    told = world.ask("GET", "/v1/events?after=0&limit=1", who=BOB).json()
    assert [row["id"] for row in told] == ([1] if others is Sharing.OPEN else [3])


def test_the_slices_of_a_listed_job_are_not_told_as_its_own() -> None:
    world = world_of(Sharing.LISTED)
    (row,) = world.ask("GET", "/v1/ledger", who=BOB).json()
    assert (row["job"], row["run"], row["project"], row["energy_j"]) == (None, None, None, 1.0)
    answer = world.ask("GET", "/v1/ledger?job=2", who=BOB)
    assert (answer.status_code, 'others = "listed"' in answer.json()["detail"]) == (403, True)
    assert world_of(Sharing.PRIVATE).ask("GET", "/v1/ledger?job=2", who=BOB).json() == []
    assert world_of(Sharing.OPEN).ask("GET", "/v1/ledger?job=2", who=BOB).json()[0]["job"] == 2


def test_a_number_that_another_account_has_got_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name decides over projects, so that a former one is not kept; where nobody can be asked, it is."""
    answers: list[str | OSError] = ["ada", OSError("no descriptor left"), "4711", "eve"]

    def looked_up(uid: int) -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(identity, "_NAMES", {})
    monkeypatch.setattr(identity, "_user_name", looked_up)
    assert [asyncio.run(identity._name_of(4711)) for _ in range(2)] == ["ada", "ada"]
    monkeypatch.setattr(identity, "GROUPS_FOR_S", -1.0)
    assert [asyncio.run(identity._name_of(4711)) for _ in range(3)] == ["ada", "ada", "eve"]


def test_no_number_of_a_user_is_that_of_nobody() -> None:
    """What others see is asked for a user that there is none of, -2; the kernel has a user 4294967294."""
    assert identity._UCRED.unpack(bytes([1, 0, 0, 0]) + b"\xfe\xff\xff\xff" * 2)[1:] == (4294967294, 4294967294)
