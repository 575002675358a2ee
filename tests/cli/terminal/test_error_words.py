"""Names of the API never reach a person: errors name the options, and their times are local."""

import ast
import re
import time
from pathlib import Path

import pytest

import greenrun
from greenrun.cli.terminal.error_words import field_words, in_words, message_words
from greenrun.core.errors import InputProblem
from greenrun.core.jobs.declaration import field_infos
from greenrun.core.jobs.job import JobSpec
from tests.cli.conftest import Run
from tests.fake_api import FakeApi, problem

FIELDS = [row for row in field_infos(JobSpec) if row.option is not None]
SOURCES = [
    path
    for folder in ("api", "core", "grid", "engine")
    for path in (Path(greenrun.__file__).parent / folder).rglob("*.py")
]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("duration_s", "--duration"), ("start_now", "--now"), ("unique_key", "--unique"), ("power_w", "--power"),
        ("run_below_g_per_kwh", "--run-below"), ("gpu_memory_gib", "--gpu-memory"), ("after[0].job", "--after"),
        ("[2].duration_s", "job 3: --duration"), ("command[0]", "command"), ("command", "command"),
        ("[0].command[3]", "job 1: command"), ("labels.team", "--label team"), ("env.FOO", "--env FOO"),
        ("array.indices[0]", "--array"), ("grid.lr[1]", "--grid"), ("git_commit", "git commit"), ("", ""),
        ("ids[3]", "job numbers"), ("--gpus", "--gpus"), ("job 2: start-after", "job 2: start-after"),
        ("job 4: time_limit_s", "job 4: --time-limit"), ("job 12: gpus", "job 12: --gpus"),
    ],
)  # fmt: skip
def test_a_field_is_called_by_its_option(field: str, words: str) -> None:
    assert field_words(field) == words


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.name)
def test_no_field_of_a_job_is_named_to_a_person(api: FakeApi, run: Run, row: object) -> None:
    name, option = row.json_name, f"--{row.option_name}"  # type: ignore[attr-defined]
    errors = ((name, f"is wrong beside {name}"), (f"[1].{name}", "too"))
    said = "; ".join(f"{field}: {message}" for field, message in errors)
    told, problems = in_words(said, [InputProblem(field=field, message=message) for field, message in errors])
    assert told.startswith(f"{option}: is wrong beside ")
    assert told.endswith(f"; job 2: {option}: too")
    assert [problem.field for problem in problems] == [option, f"job 2: {option}"]
    api.post("/v1/jobs", problem(422, "invalid request", said, errors), 422)
    err = run("submit", "--gpus", "0", "true").err
    assert err.startswith(f"error: these are wrong\n  {option}: is wrong beside ")
    if "_" in name:
        assert name not in told + err


def test_every_field_that_a_refusal_names_has_words_for_it() -> None:
    """What an InputProblem of the daemon names is a field of a job, or one that reads as a word."""
    fields = {
        keyword.value.value
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "InputProblem"
        for keyword in call.keywords
        if keyword.arg == "field" and isinstance(keyword.value, ast.Constant)
    }
    assert "finish_by" in fields
    assert [field for field in fields if "_" in field_words(field)] == []


def test_every_message_of_the_daemon_is_free_of_fields() -> None:
    """Whatever sentence names a field by its name in JSON, it reads as the option in the end."""
    named = re.compile(rf"(?<![\w.-])({'|'.join(row.json_name for row in FIELDS if '_' in row.json_name)})(?![\w=])")
    texts = {
        text.value
        for path in SOURCES
        for text in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and " " in text.value
    }
    assert [text for text in texts if named.search(message_words(text))] == []
    assert message_words("give finish_by or max_delay_s as well") == "give --finish-by or --max-delay as well"


def test_what_looks_like_a_field_and_is_none_stays() -> None:
    for text in ("/home/ada/env_file/x is not a file", "GREENRUN_finish_by=1", "--finish-by"):
        assert message_words(text) == text


def test_the_times_of_a_refusal_are_local_and_its_advice_can_be_copied(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    message = "ends at 2031-01-05 20:30:00Z: ask for --finish-by 2031-01-05T20:31:05Z or later"
    api.post("/v1/jobs", problem(422, "invalid job", f"finish_by: {message}", (("finish_by", message),)), 422)
    assert run("submit", "true").err == (
        "error: --finish-by: ends at 2031-01-05 21:30: ask for --finish-by 2031-01-05T21:31:05 or later\n"
    )
    copied = run("submit", "--dry-run", "--finish-by", "2031-01-05T21:31:05", "true")
    asked = [each.body for each in api.asked if isinstance(each.body, dict)]  # and then without what is wrong
    assert (asked[-1]["finish_by"], copied.code) == ("2031-01-05T20:31:05Z", 2)


def test_json_keeps_the_api_s_own_names_and_utc(api: FakeApi, run: Run) -> None:
    errors = (("duration_s", "at 2031-01-05 20:30:00Z"),)
    api.post("/v1/jobs", problem(422, "invalid request", "duration_s: at 2031-01-05 20:30:00Z", errors), 422)
    err = run("submit", "--json", "true").err
    assert '"field": "duration_s"' in err
    assert "20:30:00Z" in err


def test_an_option_of_another_command_is_named_as_it_is_written(api: FakeApi, run: Run) -> None:
    errors = (("limit", "should be less than or equal to 10000"),)
    api.get("/v1/jobs", problem(422, "invalid request", "limit: should be less than or equal to 10000", errors), 422)
    assert run("list", "--all", "--limit", "99999").err == "error: --limit: must be at most 10000\n"


def test_control_characters_of_an_error_are_shown(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/1", problem(404, "job not found", "There is no \x1b[2J job."), 404)
    assert run("show", "1").err == "error: There is no \\x1b[2J job.\n"


def test_problems_that_the_detail_tells_are_worded_in_it() -> None:
    said, told = in_words("retries: too many; env_file: is gone", [InputProblem(field="env_file", message="is gone")])
    assert (said, str(told[0])) == ("retries: too many; --env-file: is gone", "--env-file: is gone")


@pytest.mark.parametrize(
    ("field", "bound", "told"),
    [
        ("duration_s", "greater than or equal to 0.001", "--duration: must be at least 0.001s"),
        ("[1].grace_s", "less than or equal to 86400", "job 2: --grace: must be at most 1d"),
        ("gpus", "less than or equal to 1024", "--gpus: must be at most 1024"),
        ("power_w", "greater than 0", "--power: must be more than 0"),
    ],
)
def test_a_bound_is_said_as_people_do_and_a_duration_with_its_unit(field: str, bound: str, told: str) -> None:
    message = f"should be {bound}"
    said, _ = in_words(f"{field}: {message}", [InputProblem(field=field, message=message)])
    assert said == told


def test_several_problems_of_the_daemon_s_are_a_line_each_as_the_command_line_s_own_are(api: FakeApi, run: Run) -> None:
    errors = (("log", "its folder /x does not exist; make it"), ("gpus", "the job needs 9 GPUs and this machine has 2"))
    detail = "; ".join(f"{field}: {message}" for field, message in errors)
    api.post("/v1/jobs", problem(422, "invalid job", detail, errors), 422)
    assert run("submit", "--gpus", "0", "true").err.splitlines() == [
        "error: these are wrong",
        "  --log: its folder /x does not exist; make it",
        "  --gpus: the job needs 9 GPUs and this machine has 2",
    ]
