"""All problems of an input are told at once: those that show here, and those that the daemon tells of the rest."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import Asked, FakeApi, problem

GPUS = 2


def daemon(asked: Asked) -> tuple[int, Any]:
    """Refuse as the daemon does: what cannot be at all first, then what cannot be here; and change nothing."""
    stated = asked.body if isinstance(asked.body, list) else [asked.body.get("changes", asked.body)]
    bounds = [(index, "priority", "too high") for index, row in enumerate(stated) if row.get("priority", 0) > 1000]
    found = bounds or [wrong for index, row in enumerate(stated) for wrong in _wrong_here(index, row)]
    if not found:
        return 200, [job(12)]
    place = "[{}]." if isinstance(asked.body, list) else ""
    errors = tuple((f"{place.format(index)}{field}", why) for index, field, why in found)
    return 422, problem(422, "invalid job", "; ".join(f"{field}: {why}" for field, why in errors), errors)


def _wrong_here(index: int, row: dict[str, Any]) -> list[tuple[int, str, str]]:
    checks = [
        (row.get("gpus", 1) > GPUS, "gpus", "this machine has 2"),
        ("finish_by" in row and row.get("duration_s", 3600) > 600, "finish_by", "too early for the duration"),
        (str(row.get("log")).startswith("/none"), "log", "there is no folder /none"),
        ("unique_key" in row and row["command"] == ["true"], "unique_key", "is the key of another command"),
    ]
    return [(index, field, why) for is_wrong, field, why in checks if is_wrong]


@pytest.fixture
def strict(api: FakeApi) -> FakeApi:
    for path in ("/v1/jobs", "/v1/jobs/edit", "/v1/jobs/requeue"):
        api.answers["POST", path] = daemon
    api.get("/v1/jobs/12", job(12, state="failed", env_names=[]))
    return api


def fields(err: str) -> list[str]:
    """The options that are told to be wrong, in order."""
    return [line.strip().removeprefix("error: ").split(": ")[0] for line in err.splitlines()[1:]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--retries x --gpus 9 -- true", ["--retries", "--gpus"]),
        ("--gpus 9 -- nosuch", ["COMMAND", "--gpus"]),
        ("--gpus 9 --log /none/log", ["there is no command to run; name it last, like", "--gpus", "--log"]),
        ("--min-saving much --log /none/log --gpus 9 true", ["--min-saving", "--gpus", "--log"]),
        ("--min-run 1h --gpus 9 true", ["--min-run", "--gpus"]),
        ("--label =x --label q --after 3:foo --after 4:bar --gpus 9 true",
         ["--label", "--label", "--after", "--after", "--gpus"]),
        # what the daemon refuses as it stands, and what it would refuse next
        ("--priority 9999 --gpus 9 --log /none/log true", ["--priority", "--gpus", "--log"]),
        ("--retries x --priority 9999 --gpus 9 true", ["--retries", "--priority", "--gpus"]),
        ("--priority 9999 --array 1-3 --gpus 9 true", ["--priority", "--gpus"]),
    ],
)  # fmt: skip
def test_what_is_wrong_here_and_there_is_told_in_one_round_and_nothing_is_submitted(
    strict: FakeApi, run: Run, words: str, told: list[str]
) -> None:
    ran = run("submit", *words.split())
    assert (ran.code, fields(ran.err)) == (2, told)
    assert [asked.body for asked in strict.changes if "priority" not in asked.body] == []


@pytest.mark.parametrize(
    "words",
    [
        "--duration 5x --finish-by 36h true",  # how long it is, is not known: the default may be too long
        "--gpus many --finish-by 36h --duration 5m true",
        "--unique k",  # of a command that is not known yet
        "--gpus x true",
    ],
)
def test_what_may_be_a_consequence_of_what_is_wrong_here_is_not_told(strict: FakeApi, run: Run, words: str) -> None:
    ran = run("submit", *words.split())
    assert (ran.code, len(ran.err.splitlines()), strict.changes) == (2, 1, [])


def test_without_a_daemon_what_is_wrong_here_is_told_alone(run: Run, tmp_path: Path) -> None:
    ran = run("submit", "--retries", "x", "--gpus", "9", "--socket", str(tmp_path / "none"), "true")
    assert (ran.code, ran.err) == (2, "error: nothing was submitted: --retries: 'x' is not a whole number from 0 up\n")


def test_with_json_all_problems_are_in_one_document(strict: FakeApi, run: Run) -> None:
    told = json.loads(run("submit", "--json", "--retries", "x", "--gpus", "9", "true").err)
    assert [row["field"] for row in told["errors"]] == ["--retries", "--gpus"]


def test_bad_lines_of_a_script_are_told_with_the_rest(strict: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("#!/bin/sh\n#GREENRUN --gpu 2\ntrue\n")
    ran = run("submit", "--retries", "x", "--gpus", "9", "./train.sh")
    assert (ran.code, fields(ran.err)) == (2, ["train.sh line 2", "--retries", "--gpus"])
    assert fields(run("submit", "--retries", "x", "--finish-by", "36h", "./train.sh").err) == [
        "train.sh line 2", "--retries",  # the line may have said how long it is
    ]  # fmt: skip


def test_both_kinds_are_told_of_each_job_of_a_file(strict: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(
        "- {command: sh, retries: x, gpus: 9}\n- {command: sh}\n- {command: sh, priority: 9999, log: /none/log}\n"
    )
    ran = run("submit", "--file", "jobs.yaml")
    assert (ran.code, strict.changes) == (2, [])
    told = [line.split(": ")[:2] for line in ran.err.splitlines()[1:]]
    assert told == [["  job 1", "retries"], ["  job 1", "--gpus"], ["  job 3", "--priority"], ["  job 3", "--log"]]


def test_a_file_that_the_daemon_alone_refuses_is_refused_once(strict: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("- {command: sh, gpus: 9}\n- {command: sh, priority: 9999}\n")
    ran = run("submit", "--file", "jobs.yaml")
    told = sorted(line.strip().split(": ")[:2] for line in ran.err.splitlines()[1:])
    assert (ran.code, told) == (2, [["job 1", "--gpus"], ["job 2", "--priority"]])


@pytest.mark.parametrize("verb", ["edit", "requeue"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--retries x --gpus 9", ["--retries", "--gpus"]),
        ("--priority 9999 --gpus 9", ["--priority", "--gpus"]),
        ("--gpus 9 --min-saving much --log /none/log", ["--min-saving", "--gpus", "--log"]),
    ],
)
def test_a_change_is_refused_with_all_that_is_wrong_with_it(
    strict: FakeApi, run: Run, verb: str, words: str, told: list[str]
) -> None:
    ran = run(verb, "12", *words.split())
    assert (ran.code, sorted(fields(ran.err))) == (2, sorted(told))
    assert [asked.body["changes"].get("priority") for asked in strict.changes] in ([], [9999])


def test_nothing_is_asked_of_an_edit_of_which_nothing_is_left(strict: FakeApi, run: Run) -> None:
    ran = run("edit", "12", "--retries", "x")
    assert (ran.code, len(ran.err.splitlines()), strict.asked) == (2, 1, [])


def test_a_variable_without_a_value_is_told_with_the_rest_of_a_requeue(strict: FakeApi, run: Run) -> None:
    ran = run("requeue", "12", "--env", "NO_SUCH_VARIABLE", "--gpus", "9")
    assert (ran.code, fields(ran.err), strict.changes) == (2, ["--env", "--gpus"], [])
