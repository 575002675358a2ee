"""`greenrun edit` and `requeue` send what changes of which jobs in one request, and read options as `submit` does."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import FakeApi, problem


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("12 --priority 5", {"ids": [12], "changes": {"priority": 5}}),
        ("12 13 --duration 3h --max-delay none",
         {"ids": [12, 13], "changes": {"duration_s": 10800, "max_delay_s": None}}),
        ("sweep[1-3] --name x --gpus 2", {"jobs": ["sweep[1-3]"], "changes": {"name": "x", "gpus": 2}}),
        ("--all --state held --no-expire", {"jobs": [], "all": True, "states": ["held"], "changes": {"expire": False}}),
        ("12 --now --no-interruptible", {"ids": [12], "changes": {"start_now": True, "interruptible": False}}),
        ("12 -- python new.py --lr 0.1", {"ids": [12], "changes": {"command": ["python", "new.py", "--lr", "0.1"]}}),
        ("12 --name y -- true --name z", {"ids": [12], "changes": {"name": "y", "command": ["true", "--name", "z"]}}),
        ("12 --retries 3 --retry-on 75 --retry-on 2", {"ids": [12], "changes": {"retries": 3, "retry_on": [2, 75]}}),
        ("12 --label a=b --stop-on none", {"ids": [12], "changes": {"labels": {"a": "b"}, "stop_on": None}}),
    ],
)  # fmt: skip
def test_what_changes_of_which_jobs_is_sent(api: FakeApi, run: Run, words: str, body: dict[str, Any]) -> None:
    api.post("/v1/jobs/edit", [job(12, state="queued")])
    ran = run("edit", *words.split())
    assert (ran.code, [asked.body for asked in api.asked]) == (0, [body])
    assert ran.out.startswith("job 12 queued, planned ")
    assert json.loads(run("edit", *words.split()[:1], "--json", *words.split()[1:]).out)["id"] == 12


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("12", "nothing is to be changed"), ("--priority 5", "no job is named"), ("12 --duration 5", "has no unit"),
        ("12 --gpus x --priority high", "--priority: 'high'"), ("12 --unique k", "No such option"),
        ("12 --after 3", "No such option"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_is_told_before_anything_is_asked(api: FakeApi, run: Run, words: str, says: str) -> None:
    ran = run("edit", *words.split())
    assert (ran.code, api.changes) == (2, [])
    assert says in ran.err


def test_a_refused_edit_tells_every_problem(api: FakeApi, run: Run) -> None:
    api.post(
        "/v1/jobs/edit", problem(422, "invalid job", "two", (("gpus", "too many"), ("finish_by", "too soon"))), 422
    )
    ran = run("edit", "12", "--gpus", "9")
    assert (ran.code, ran.err) == (2, "error: two\n  --gpus: too many\n  --finish-by: too soon\n")


def test_a_requeue_takes_the_values_of_the_variables_from_this_shell(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/here/bin")
    monkeypatch.setenv("TOKEN", "from the shell")
    monkeypatch.setenv("UNRELATED", "x")
    api.get("/v1/jobs/12", job(12, state="failed", env_names=["PATH", "TOKEN", "LR"]))
    api.post("/v1/jobs/requeue", [job(12, state="queued")])
    assert run("requeue", "12", "--env", "LR=0.1", "--finish-by", "none").code == 0
    assert api.asked[-1].body == {
        "ids": [12],
        "env": {"PATH": "/here/bin", "TOKEN": "from the shell", "LR": "0.1"},
        "changes": {"finish_by": None},
    }
    assert "LR2" in run("requeue", "12", "--env", "LR2").err


def test_jobs_to_requeue_are_chosen_as_people_do(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/select", [job(4, env_names=[]), job(5, env_names=[])])
    api.post("/v1/jobs/requeue", [job(4), job(5)])
    assert run("requeue", "--all", "--state", "failed").code == 0
    assert api.asked[0].query == {"all": ["true"], "state": ["failed"], "for": ["requeue"]}
    assert api.asked[1].body == {"ids": [4, 5], "env": {}, "changes": {}}
