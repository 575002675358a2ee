"""Orders go to all jobs at once, and `wait` gives the job's own exit code."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenrun.cli.jobs import control
from greenrun.cli.jobs.control import RetryingClient, job_exit_code
from greenrun.client import ApiClient, NotReachable
from tests.cli.conftest import Run
from tests.cli.examples import job, run_of
from tests.fake_api import FakeApi, problem
from tests.patience import HANGS_S


def ended(id: int = 12, state: str = "succeeded", **own: Any) -> dict[str, Any]:
    reason = {"code": state, "text": "it ended"}
    return job(id, state=state, planned=None, reason=reason, runs=[run_of(**own)] if own else [])


def answers(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    """What came of an order for each of these jobs, or its problem."""
    return [
        {"id": id, "job": None, "problem": row} if "status" in row else {"id": row["id"], "job": row, "problem": None}
        for id, row in enumerate(rows, start=1)
    ]


@pytest.mark.parametrize("verb", ["cancel", "hold", "release", "start-now"])
def test_an_order_goes_to_all_jobs_in_one_request(api: FakeApi, run: Run, verb: str) -> None:
    api.post(f"/v1/jobs/{verb}", answers(ended(1, "cancelled"), ended(2, "cancelled")))
    ran = run(verb, "1", "2")
    assert (ran.code, ran.out) == (0, "job 1 cancelled: it ended\njob 2 cancelled: it ended\n")
    assert [asked.body for asked in api.asked] == [{"ids": [1, 2]}]
    lines = run(verb, "1", "2", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]


def test_a_refused_order_does_not_keep_the_others_from_it(api: FakeApi, run: Run) -> None:
    refusals = problem(409, "not possible", "Job 1 is finished."), problem(403, "not permitted", "Job 2 is bob's.")
    api.post("/v1/jobs/cancel", answers(*refusals, ended(3, "cancelled")))
    ran = run("cancel", "1", "2", "3")
    assert (ran.code, ran.out) == (2, "job 3 cancelled: it ended\n")
    assert ran.err == "error: Job 1 is finished.\nerror: Job 2 is bob's.\n"
    as_json = run("cancel", "1", "2", "3", "--json")
    assert (as_json.code, json.loads(as_json.err.splitlines()[1])) == (2, refusals[1])


def test_more_jobs_than_a_request_may_name_are_ordered_in_parts(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MOST_TOGETHER", 2)
    api.answers["POST", "/v1/jobs/hold"] = lambda asked: (200, answers(*(ended(id) for id in asked.body["ids"])))
    assert run("hold", "3", "1", "2").out.split()[1::5] == ["3", "1", "2"]
    assert [asked.body["ids"] for asked in api.asked] == [[3, 1], [2]]


@pytest.mark.parametrize("number", ["0", "", " ", str(2**63), "9" * 5000])
def test_what_can_be_no_job_is_told_before_anything_is_asked(api: FakeApi, run: Run, number: str) -> None:
    ran = run("cancel", "--", "1", number)
    assert (ran.code, api.asked) == (2, [])
    assert "is not a job's number" in ran.err or "an empty word names no job" in ran.err


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ended(state="succeeded", exit_code=0), 0),
        (ended(state="failed", exit_code=7, outcome="failed"), 7),
        (ended(state="failed", exit_code=0, outcome="timed_out"), 1),
        (ended(state="failed", exit_code=None, outcome="lost"), 1),
        (ended(state="cancelled", exit_code=143, outcome="cancelled"), 143),
        (ended(state="cancelled"), 1),
        (ended(state="expired"), 1),
    ],
)
def test_the_exit_code_is_the_jobs_own_when_there_is_one(answer: dict[str, Any], code: int) -> None:
    assert job_exit_code(answer) == code


def test_wait_looks_until_the_job_is_finished(api: FakeApi, run: Run) -> None:
    answers: Iterator[dict[str, Any]] = iter([job(), job(state="running"), ended(state="failed", exit_code=7)])
    api.answers["GET", "/v1/jobs/12"] = lambda _: (200, next(answers))
    ran = run("wait", "12")
    assert (ran.code, ran.out) == (7, "job 12 failed: it ended\n")


def test_the_first_code_that_is_not_0_counts_for_several_jobs(api: FakeApi, run: Run) -> None:
    for id, code in ((1, 0), (2, 5), (3, 9)):
        api.get(f"/v1/jobs/{id}", ended(id, "failed" if code else "succeeded", exit_code=code))
    ran = run("wait", "1", "2", "3", "--json")
    assert (ran.code, [json.loads(line)["id"] for line in ran.out.splitlines()]) == (5, [1, 2, 3])


def test_waiting_ends_with_6_when_its_time_is_over(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12", job(state="running"))
    ran = run("wait", "12", "--timeout", "50ms")
    assert (ran.code, ran.err) == (6, "error: job 12 is still running; it goes on, only the waiting ended\n")


def test_a_time_out_that_is_none_is_usage(run: Run) -> None:
    assert run("wait", "12", "--timeout", "5").code == 2


def test_a_job_that_is_not_there_is_told_at_once(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12", job())
    assert run("wait", "12", "99").code == 3


def test_a_daemon_that_is_away_for_a_while_is_borne_with(api: FakeApi, tmp_path: Path) -> None:
    api.get("/v1/jobs/12", job(state="running"))
    client = ApiClient(api.socket)
    retrying, hasty = RetryingClient(client), RetryingClient(client, limit_s=-1)
    seen = [retrying.job(12), hasty.job(12)]
    client.socket = tmp_path / "away"
    assert retrying.job(12) == seen[0]
    with pytest.raises(NotReachable):
        hasty.job(12)


def test_a_daemon_that_was_never_there_is_exit_code_5(run: Run, tmp_path: Path) -> None:
    assert run("wait", "12", "--socket", str(tmp_path / "none")).code == 5


def test_words_and_filters_reach_the_daemon_in_one_request(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs/cancel", [{"id": 3, "job": job(3, state="queued"), "problem": None}])
    assert run("cancel", "1-9,12", "sweep[3]", "--state", "queued", "--state", "held", "--project", "vision").code == 0
    assert run("cancel", "--all").code == 0
    assert run("cancel", "--name", "train-*").code == 0
    assert [asked.body for asked in api.asked] == [
        {"jobs": ["1-9,12", "sweep[3]"], "states": ["queued", "held"], "project": "vision"},
        {"jobs": [], "all": True},
        {"jobs": [], "name": "train-*"},
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "no job is named"), (["--all", "12"], "contradict"), (["--state", "done"], "'done' is none of queued, ")],
)
def test_what_says_nothing_or_too_much_is_refused_before_anything_is_asked(
    api: FakeApi, run: Run, words: list[str], says: str
) -> None:
    for verb in ("cancel", "hold", "release", "start-now", "wait"):
        ran = run(verb, *words)
        assert (ran.code, api.asked) == (2, [])
        assert says in ran.err


def test_jobs_that_a_name_means_are_waited_for(api: FakeApi, run: Run) -> None:
    ended = {"state": "succeeded", "runs": []}
    api.get("/v1/jobs/select", [job(4), job(5)])
    for number in (4, 5):
        api.get(f"/v1/jobs/{number}", job(number, **ended))
    ran = run("wait", "sweep")
    assert (ran.code, [line.split()[1] for line in ran.out.splitlines()]) == (0, ["4", "5"])
    assert api.asked[0].query == {"job": ["sweep"], "for": ["wait"]}


def test_a_number_of_an_array_is_one_job_and_the_way_to_all_of_them_is_told(api: FakeApi, run: Run) -> None:
    array = {"key": "a", "index": 0, "size": 10, "at_once": None}
    api.post("/v1/jobs/cancel", [{"id": 17, "job": job(17, name="sweep[0]", array=array), "problem": None}])
    ran = run("cancel", "17")
    assert "job 17 is one of the 10 jobs of its array; 17[] names them all" in ran.err
    assert run("cancel", "17", "--json").err == ""


class SilentSocket:
    """A daemon that takes connections and never answers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()

    def close(self) -> None:
        self._socket.close()


def completed(word: str, **env: str) -> list[str]:
    asked = {"_GREENRUN_COMPLETE": "bash_complete", "COMP_WORDS": f"greenrun cancel {word}", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "greenrun.cli"]
    done = subprocess.run(
        command, env=os.environ | asked | env, capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_a_shell_completes_numbers_names_and_arrays_of_jobs(api: FakeApi) -> None:
    array = {"key": "a", "index": 3, "size": 10, "at_once": None}
    api.get("/v1/jobs", [job(12, name="train"), job(13, name="sweep[3]", array=array)])
    assert completed("1") == ["13", "12"]
    assert completed("s") == ["sweep[3]", "sweep"]
    assert completed("12,t") == ["12,train"]


def test_a_shell_is_not_kept_waiting_by_a_daemon_that_is_away_or_silent() -> None:
    assert completed("1", GREENRUN_SOCKET="/nowhere/s") == []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        silent = SilentSocket(path)
        try:
            assert completed("1", GREENRUN_SOCKET=str(path)) == []
        finally:
            silent.close()
