"""`greenrun submit` sends exactly what was stated, or nothing and every problem."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.clock import utc_now
from greenrun.submission.environment import limits, umask
from tests.cli.conftest import Run
from tests.cli.examples import NOT_SAID, at, job, planned, run_of
from tests.fake_api import HANG_UP, FakeApi, problem


@pytest.fixture(autouse=True)
def accepting(api: FakeApi) -> None:
    api.post("/v1/jobs", job(), 201)


def test_a_bare_command_is_sent_with_the_folder_and_few_variables(
    api: FakeApi, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda")
    assert run("submit", "sh", "-c", "true").code == 0
    sent = api.asked[0].body
    env = sent.pop("env")
    process = [sent.pop("umask"), sent.pop("limits")["nofile"]]
    assert process == [umask(), limits(["nofile"])["nofile"]]
    assert sent == {"command": ["sh", "-c", "true"], "gpus": 1, "workdir": str(tmp_path), "git_commit": None}
    assert "SECRET_TOKEN" not in env
    assert (env["PATH"], env["LC_ALL"], env["CONDA_PREFIX"]) == (os.environ["PATH"], "C.UTF-8", "/opt/conda")


def test_every_option_reaches_its_field(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "vars").touch()
    words = "-g 2 --duration 6h --time-limit 8h --max-delay 12h --project vision --name big --priority -3 --unique k1"
    words += " --power 700W --min-saving 5% --run-below 80 --retries 2 --grace 2m"
    words += " --workdir . --env-file vars --log out.txt --stop-on gpu_idle,stuck --stop-on stuck"
    words += " --finish-by 2026-12-01T09:00Z --start-after 2026-11-30T09:00Z --now --expire --label a=1 --label b=2"
    assert run("submit", *words.split(), "--env", "X=1 2", "--", "true").code == 0
    sent = api.asked[0].body
    del sent["env"]["PATH"]
    assert sent["env"]["X"] == "1 2"
    assert {key: value for key, value in sent.items() if key not in NOT_SAID} == {
        "command": ["true"], "gpus": 2, "duration_s": 21600, "time_limit_s": 28800, "max_delay_s": 43200,
        "project": "vision", "name": "big", "priority": -3, "unique_key": "k1", "power_w": 700.0, "min_saving": 0.05,
        "run_below_g_per_kwh": 80.0, "retries": 2, "grace_s": 120, "workdir": str(tmp_path),
        "env_file": str(tmp_path / "vars"), "log": str(tmp_path / "out.txt"), "finish_by": "2026-12-01T09:00:00Z",
        "start_after": "2026-11-30T09:00:00Z", "start_now": True, "expire": True, "labels": {"a": "1", "b": "2"},
        "stop_on": ["gpu_idle", "stuck"],
    }  # fmt: skip


@pytest.mark.parametrize("before", [(), ("--",), ("--gpus", "1"), ("--gpus", "1", "--")])
def test_everything_after_the_first_word_is_the_commands_own(api: FakeApi, run: Run, before: tuple[str, ...]) -> None:
    assert run("submit", *before, "echo", "--help", "--gpus", "x").code == 0
    assert api.asked[0].body["command"] == ["echo", "--help", "--gpus", "x"]


def test_json_words_of_the_command_do_not_change_the_output(run: Run) -> None:
    assert run("submit", "echo", "--json", "--quiet").out.startswith("job 12 queued, planned ")


def test_a_variable_can_be_taken_from_here_by_name(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run("submit", "--env", "WANDB_MODE", "true").code == 0
    assert api.asked[0].body["env"]["WANDB_MODE"] == "offline"


def test_no_command_is_a_clear_sentence_and_nothing_is_sent(api: FakeApi, run: Run) -> None:
    ran = run("submit", "--gpus", "2")
    assert (ran.code, ran.out, api.changes) == (2, "", [])
    assert ran.err == (
        "error: nothing was submitted: there is no command to run; "
        "name it last, like: greenrun submit --duration 6h -- python train.py\n"
    )


def test_all_problems_are_told_at_once_and_nothing_is_sent(api: FakeApi, run: Run) -> None:
    words = "--gpus two --duration 6 --finish-by 25:00 --min-saving 5 --label x --env NOT_SET_HERE"
    words += " --env-file no --workdir no"
    ran = run("submit", *words.split(), "--", "no-such-program")
    assert (ran.code, api.changes) == (2, [])
    fields = [line.split(":")[0].strip() for line in ran.err.splitlines()[1:]]
    assert fields == [
        "--gpus", "--duration", "--finish-by", "--label", "--min-saving", "--workdir", "--env", "--env-file", "COMMAND",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--gpus", "-1"), ("--gpus", "1.5"), ("--retries", "x"), ("--priority", "high"), ("--power", "-5"),
        ("--power", "nan"), ("--min-saving", "120%"), ("--run-below", "green"), ("--name", ""), ("--max-delay", "-1h"),
        ("--stop-on", "late"), ("--stop-on", ""),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused(api: FakeApi, run: Run, option: str, text: str) -> None:
    ran = run("submit", f"{option}={text}", "true")
    assert (ran.code, api.changes) == (2, [])
    assert ran.err.startswith(f"error: nothing was submitted: {option}: ")


def test_a_problem_with_json_is_told_as_json(run: Run) -> None:
    told = json.loads(run("submit", "--json", "--gpus", "x", "true").err)
    assert told["errors"] == [{"field": "--gpus", "message": "'x' is not a whole number from 0 up"}]


def test_a_refusal_of_the_daemon_is_exit_code_2_with_its_fields(api: FakeApi, run: Run) -> None:
    errors = (("finish_by", "cannot be met; 19:30 could"), ("gpus", "has only 2"))
    api.post("/v1/jobs", problem(422, "invalid job", "The job cannot be met.", errors), 422)
    ran = run("submit", "true")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: The job cannot be met.\n  --finish-by: cannot be met; 19:30 could\n  --gpus: has only 2\n"


@pytest.mark.parametrize(("status", "code"), [(403, 4), (507, 7), (500, 1), (413, 2)])
def test_every_other_refusal_has_its_exit_code(api: FakeApi, run: Run, status: int, code: int) -> None:
    api.post("/v1/jobs", problem(status, "title", "A sentence."), status)
    ran = run("submit", "true")
    assert (ran.code, ran.err) == (code, "error: A sentence.\n")


def test_no_daemon_is_exit_code_5(run: Run, tmp_path: Path) -> None:
    ran = run("submit", "--socket", str(tmp_path / "none"), "true")
    assert ran.code == 5
    assert "start it with `greenrun serve --detach`" in ran.err


def test_the_socket_may_be_named_before_the_verb_too(run: Run, tmp_path: Path) -> None:
    assert run("--socket", str(tmp_path / "none"), "submit", "true").code == 5


def test_the_answer_is_the_id_alone_when_quiet_and_the_job_itself_as_json(api: FakeApi, run: Run) -> None:
    answer = job()
    api.post("/v1/jobs", answer, 201)
    assert run("submit", "-q", "true").out == "12\n"
    assert json.loads(run("submit", "--json", "true").out) == answer


def test_a_start_at_once_says_why(api: FakeApi, run: Run) -> None:
    reason = {"code": "now_is_cleanest", "text": "now is the cleanest free window"}
    api.post("/v1/jobs", job(planned=planned(start=at(), end=at(hours=6)), reason=reason), 201)
    assert run("submit", "true").out == "job 12 queued, starts now (93 g/kWh): now is the cleanest free window\n"


def test_warnings_are_told_once_on_stderr(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs", [job(1, warnings=["a doubt"]), job(2, warnings=["a doubt"])], 201)
    ran = run("submit", "-q", "--array", "0-1", "true")
    assert (ran.code, ran.out, ran.err) == (0, "1\n2\n", "warning: a doubt\n")


def test_a_program_that_could_not_be_executed_is_refused_without_asking(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "job").write_bytes(b"#!/bin/sh\r\n")
    (tmp_path / "job").chmod(0o755)
    ran = run("submit", "--env", "A=1", "--env", "A=2", "--label", "x=1", "--label", "x=1", "./job")
    assert (ran.code, api.changes) == (2, [])
    assert [line.split(":")[0].strip() for line in ran.err.splitlines()[1:]] == ["--env", "COMMAND"]
    assert "CRLF" in ran.err


def test_a_program_is_looked_for_on_the_path_of_the_file_of_variables(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").write_text("#!/bin/sh\n")
    (tmp_path / "bin/tool").chmod(0o755)
    (tmp_path / "vars").write_text(f"PATH={tmp_path}/bin\n")
    assert run("submit", "--env-file", "vars", "tool").code == 0
    assert run("submit", "tool").code == 2


@pytest.mark.parametrize(("name", "words"), [("pipe", "pipe is no plain file"), (".", "is no plain file"),
                                             ("none", "there is no file")])  # fmt: skip
def test_a_file_of_variables_that_is_none_is_told_as_what_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    ran = run("submit", "--env-file", name, "--", "true")
    assert (ran.code, words in ran.err) == (2, True)


def test_a_known_key_is_said_to_be_known(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs", job(state="running", planned=None, reason=None), 200)
    assert run("submit", "--unique", "k", "true").out == "job 12 was submitted before with this key; it is running\n"


def test_a_job_that_was_accepted_without_an_answer_is_told_as_the_new_one_that_it_is(api: FakeApi, run: Run) -> None:
    answers = iter([(HANG_UP, None), (200, job(planned=None, reason=None))])
    api.answers["POST", "/v1/jobs"] = lambda _: next(answers)
    assert run("submit", "true").out == "job 12 queued\n"
    assert len({asked.headers["Idempotency-Key"] for asked in api.asked}) == 1


def test_a_dry_run_tells_the_placement_and_stores_nothing(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs", job(None), 200)
    ran = run("submit", "--dry-run", "true")
    first, *rest = ran.out.splitlines()
    assert api.asked[0].query == {"dry_run": ["true"]}
    assert first.startswith("dry run, nothing submitted: planned ")
    assert rest == [
        "  expected emissions: 590 g CO2e; started now: 1 kg CO2e",
        "  because: waits for the cleanest free window",
    ]


def test_a_job_file_is_sent_as_one_list(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        '[[job]]\ncommand = ["true", "a b"]\ngpus = 2\nfinish-by = 2026-12-01T09:00:00Z\nnow = false\n'
        '[[job]]\ncommand = "true \'a b\'"\ntime_limit = "2h"\nlabels = {team = "x"}\nenv = ["A=1"]\nexpire = true\n'
        'stop-on = ["stuck", "gpu_idle"]\n'
    )
    api.post("/v1/jobs", [job(1), job(2)], 201)
    ran = run("submit", "--file", "jobs.toml", "--project", "sweep", "--quiet")
    assert (ran.code, ran.out) == (0, "1\n2\n")
    first, second = api.asked[0].body
    assert (first["gpus"], first["finish_by"], "start_now" in first) == (2, "2026-12-01T09:00:00Z", False)
    assert (second["time_limit_s"], second["labels"], second["env"]["A"], second["expire"]) == (
        7200,
        {"team": "x"},
        "1",
        True,
    )
    assert [entry["command"] for entry in (first, second)] == [["true", "a b"]] * 2
    assert second["stop_on"] == ["stuck", "gpu_idle"]
    assert [entry["project"] for entry in (first, second)] == ["sweep"] * 2


def test_a_job_file_with_faults_is_refused_whole_with_all_of_them(api: FakeApi, run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        '[[job]]\ncommand = ["true"]\n'
        '[[job]]\ncommand = ["true"]\ngpu = 1\nduration = 6\nnow = "yes"\n'
        "[[job]]\ngpus = [1, 2]\n"
    )
    ran = run("submit", "--file", "jobs.toml")
    assert (ran.code, [asked.query for asked in api.asked]) == (2, [{"dry_run": ["true"]}])
    assert ran.err.splitlines() == [
        "error: no job of jobs.toml was submitted: some have faults",
        "  job 2: gpu: there is no such option; see greenrun submit --help",
        "  job 2: now: say true or false",
        "  job 2: duration: '6' has no unit; write it like 90s, 10m, 1h30m, 6h or 2d",
        "  job 3: gpus: needs one value",
        "  job 3: command: there is no command to run; "
        "name it last, like: greenrun submit --duration 6h -- python train.py",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("[[job]", "cannot read jobs"), ("job = 1", "lists no jobs"), ("", "lists no jobs")],
)
def test_a_job_file_that_is_none_is_refused(run: Run, tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "jobs.toml").write_text(content)
    ran = run("submit", "--file", "jobs.toml")
    assert ran.code == 2
    assert said in ran.err


def test_a_file_and_a_command_exclude_each_other(run: Run) -> None:
    assert run("submit", "--file", "jobs.toml", "true").code == 2


def test_the_commit_of_the_folder_is_recorded(api: FakeApi, run: Run, tmp_path: Path) -> None:
    commit = "a" * 40
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(f"{commit}\n")
    (tmp_path / "sub").mkdir()
    assert run("submit", "--workdir", "sub", "true").code == 0
    assert api.asked[0].body["git_commit"] == commit


@pytest.mark.parametrize(("code", "state"), [(0, "succeeded"), (7, "failed")])
def test_a_submission_may_wait_for_the_job_and_exit_with_its_code(
    api: FakeApi, run: Run, code: int, state: str
) -> None:
    api.post("/v1/jobs", job(12), 201)
    api.get(
        "/v1/jobs/12", job(12, state=state, planned=None, reason=None, runs=[run_of(exit_code=code, outcome=state)])
    )
    ran = run("submit", "--wait", "true")
    assert (ran.code, [line.split(",")[0] for line in ran.out.splitlines()]) == (
        code,
        ["job 12 queued", f"job 12 {state}"],
    )
    quiet = run("submit", "--wait", "--quiet", "true")
    assert (quiet.code, quiet.out) == (code, "12\n")
    as_json = [json.loads(line) for line in run("submit", "--wait", "--json", "true").out.splitlines()]
    assert [row["state"] for row in as_json] == ["queued", state]
    assert run("submit", "--wait", "--dry-run", "true").code == 2


def test_ctrl_c_ends_the_waiting_and_says_that_the_job_goes_on(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("greenrun.cli.jobs.control.wait_for", interrupted)
    api.post("/v1/jobs", job(12), 201)
    ran = run("submit", "--wait", "true")
    assert (ran.code, ran.err) == (130, "job 12 goes on, only the waiting ended; `greenrun wait 12` waits again\n")
    api.post("/v1/jobs", [job(12), job(13)], 201)
    ran = run("submit", "--wait", "--array", "0-1", "true")
    assert "jobs 12-13 go on, only the waiting ended; `greenrun wait 12-13` waits again" in ran.err


def test_what_a_time_became_is_said_on_stderr(api: FakeApi, run: Run) -> None:
    api.post("/v1/jobs", job(), 201)
    ran = run("submit", "--start-after", "monday", "--finish-by", "2031-01-05", "--quiet", "true")
    assert "note: monday is taken as its beginning: Mon " in ran.err
    assert "note: 2031-01-05 is taken as its beginning: Sun 2031-01-05 00:00\n" in ran.err
    assert (ran.out, api.asked[0].body["finish_by"]) == ("12\n", "2031-01-05T00:00:00Z")
    just_past = f"{utc_now() - timedelta(minutes=2):%H:%M}"
    err = run("submit", "--finish-by", just_past, "true").err
    assert err.startswith(f"note: {just_past} has passed: tomorrow, ") or just_past >= "23:58"
