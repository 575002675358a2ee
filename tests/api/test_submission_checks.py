"""What would fail for certain or contradicts itself is refused at submission; what is likely wrong is warned of."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from greenrun.api import advice
from greenrun.api.service import Preview
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.jobs.job import JobSpec, Run, State
from greenrun.executors.command_files import noted_files
from greenrun.executors.command_files.env_file import variables_in
from greenrun.executors.spawn import own_environment, visible
from tests.api.fakes import ADA, NOW, World, errors, placed, stored


def program(path: Path, content: str = "#!/bin/sh\n") -> Path:
    """A program of this content."""
    path.write_text(content)
    path.chmod(0o755)
    return path


def told(world: World, **parts: Any) -> list[str]:
    """The warnings about a job that is accepted."""
    answer = world.submit(**parts)
    assert answer.status_code == 201, answer.text
    warnings: list[str] = answer.json()["warnings"]
    return warnings


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("#!/bin/bash\r\ntrue\r\n", "CRLF"),
        ("#!/opt/none\n", "/opt/none, does not exist"),
        ("true\n", "has no #! line"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}#!/bin/sh\n", "byte-order mark"),
        ("#!/usr/bin/env nosuch\n", "does not find in the job's PATH"),
    ],
)
def test_a_program_that_could_not_be_executed_is_refused(
    world: World, tmp_path: Path, content: str, words: str
) -> None:
    program(tmp_path / "job", content)
    assert words in errors(world.submit(command=["./job"], workdir=str(tmp_path)))["command"]


def test_the_path_of_the_file_of_variables_is_the_job_s(world: World, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin/tool")
    (tmp_path / "vars").write_text(f"export PATH='{tmp_path}/bin:/bin'\n")
    assert told(world, command=["tool"], workdir=str(tmp_path), env_file="vars") == []


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("none/x.log", "its folder {}/none does not exist, and greenrun makes none: run mkdir -p {}/none"),
        ("file/x.log", "its folder {}/file is not a folder"),
        ("folder", "{}/folder is a folder: name a file in it, like {}/folder/%j.log"),
        ("link", "its folder {}/none does not exist"),
        ("socket", "is a socket"),
        ("job", "{}/job is a file that the job itself reads"),
        ("x" * 300, "cannot be written (File name too long)"),
        ("out-%q.log", "'%q' stands for nothing in a log's name"),
        ("100%", "'%' stands for nothing in a log's name"),
        ("%a.log", "%a is the index in an array, and the job is in none"),
        ("%j/x.log", "{}/%j is a folder that nobody can make before the job has its id"),
        ("%x/x.log", "its folder {}/nap does not exist"),
        ("/proc/x.log", "no file can be made in /proc"),
        ("/sys/kernel/%j.log", "no file can be made in /sys/kernel"),
    ],
)
def test_a_log_that_cannot_be_written_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, words: str
) -> None:
    program(tmp_path / "job")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("none/x.log")
    with socket.socket(socket.AF_UNIX) as door:
        monkeypatch.chdir(tmp_path)  # the address of a socket is short
        door.bind("socket")
        found = errors(world.submit(command=["./job"], workdir=str(tmp_path), log=log, name="nap"))
    assert words.format(tmp_path, tmp_path) in found["log"]


def test_a_file_of_variables_that_is_none_is_refused_and_never_waited_for(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "is no plain file"), (".", "is a folder"), ("none", "is not a file on this machine")):
        told = errors(world.submit(workdir=str(tmp_path), env_file=name))
        assert words in told["env_file"]
    assert world.submit(workdir=str(tmp_path), env_file="/dev/null").status_code == 201


def test_a_file_of_variables_that_is_longer_than_any_environment_is_refused_and_not_read_whole(
    world: World, tmp_path: Path
) -> None:
    with (tmp_path / "vars").open("wb") as file:
        file.truncate(1 << 32)  # without taking room
    told = errors(world.submit(workdir=str(tmp_path), env_file="vars"))
    assert "more than an environment may be" in told["env_file"]


def test_what_becomes_a_pipe_after_it_was_looked_at_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert variables_in(str(tmp_path / "pipe"), is_waited_for=False) == {}
    assert noted_files._content(str(tmp_path / "pipe"), 1) == "00000000"
    assert advice._start_of(tmp_path / "pipe") == b""


@pytest.mark.parametrize("log", ["x.log", "/dev/null", "%j_%x.%%", "%A.log", "there"])
def test_a_log_that_can_be_written_is_not_refused(world: World, tmp_path: Path, log: str) -> None:
    (tmp_path / "there").touch()
    assert told(world, workdir=str(tmp_path), log=log) == []


def test_an_array_s_log_may_be_told_apart_by_index_or_id(world: World, tmp_path: Path) -> None:
    array = {"indices": [3, 17]}
    for log in ("%A_%a.log", "%j.log", "%4a.log"):
        assert world.submit(workdir=str(tmp_path), log=log, array=array).status_code == 201
    assert world.store.jobs.job(6).spec.log == f"{tmp_path}/0017.log"
    assert list(errors(world.submit(workdir=str(tmp_path), log="%A_%b.log", array=array))) == ["array"]


def test_a_folder_or_file_that_may_not_be_used_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may do everything, so what the system says is scripted here."""
    (tmp_path / "x.log").touch()
    monkeypatch.setattr(
        os, "access", lambda path, mode, **_: not (str(path).startswith(str(tmp_path)) and mode != os.X_OK)
    )
    assert "may not be written" in errors(world.submit(workdir=str(tmp_path), log="x.log"))["log"]
    assert "no file can be made in" in errors(world.submit(workdir=str(tmp_path), log="y.log"))["log"]
    (warning,) = told(world, command=["/bin/sh", str(tmp_path / "x.log")], workdir="/")
    assert "x.log, which /bin/sh is to run, may not be read" in warning
    monkeypatch.setattr(os, "access", lambda path, mode, **_: str(path) != str(tmp_path))
    assert "cannot be entered" in errors(world.submit(workdir=str(tmp_path)))["workdir"]


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        ({"start_now": True, "start_after": "2026-03-03T12:00Z"}, "start_after", "contradicts --now"),
        ({"start_now": True, "expire": True, "max_delay_s": 60}, "expire", "contradicts --now"),
        ({"start_now": True, "expire": True}, "expire", "contradicts --now"),
        ({"finish_by": "2026-03-03T12:00Z", "start_after": "2026-03-03T11:30Z", "duration_s": 3600}, "finish_by", ""),
        ({"env": {"CUDA_VISIBLE_DEVICES": "0"}}, "env", "CUDA_VISIBLE_DEVICES is set by greenrun itself"),
        ({"env": {"A": "b", "GREENRUN_PROGRESS": "/x"}}, "env", "GREENRUN_PROGRESS is set by greenrun itself"),
        ({"env": {"GREENRUN_FINISH_BY": "x"}, "finish_by": "2026-03-04T12:00Z"}, "env", "GREENRUN_FINISH_BY"),
        ({"env": {"GREENRUN_GRID_LR": "1"}, "grid": {"lr": ["1"]}}, "grid", "GREENRUN_GRID_LR"),
        ({"env": {"GREENRUN_ARRAY_INDEX": "1"}, "array": {"indices": [0]}}, "array", "GREENRUN_ARRAY_INDEX"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(world: World, parts: dict[str, Any], field: str, words: str) -> None:
    assert words in errors(world.submit(**parts))[field]


def test_a_variable_that_is_not_overwritten_may_be_given(world: World) -> None:
    assert told(world, env={"GREENRUN_FINISH_BY": "x", "GREENRUN_ARRAY_INDEX": "1", "CUDA_LAUNCH_BLOCKING": "1"}) == []


def test_every_variable_that_the_executor_sets_is_refused(world: World) -> None:
    run, job = Run(id=1, job_id=1, number=1, token="t", devices=(), claimed_at=NOW), stored(1, finish_by=NOW)
    own = {**own_environment(run, job, Path("/r"), Path("/c")), **visible((), ())}
    for name in own:
        parts: dict[str, Any] = {"env": {name: "x"}, "finish_by": "2026-03-04T12:00Z"}
        assert name in errors(world.submit(**parts))["env"]


def test_a_unique_key_is_refused_to_another_command(world: World) -> None:
    assert world.submit(unique_key="k", command=["/bin/true"]).status_code == 201
    answer = world.submit(unique_key="k", command=["/bin/false", "x y"])
    assert errors(answer)["unique_key"] == (
        "'k' is the key of job 1, whose command is another: /bin/true; take a key of its own for each"
    )
    assert list(errors(world.submit("?dry_run=true", unique_key="k", command=["/bin/false"]))) == ["unique_key"]
    assert len(world.store.kept) == 1


def test_a_unique_key_of_two_commands_in_one_submission_is_refused(world: World) -> None:
    jobs = [{"command": [name], "workdir": "/", "unique_key": "k"} for name in ("/bin/true", "/bin/false")]
    assert list(errors(world.ask("POST", "/v1/jobs", json=jobs))) == ["unique_key"]


def test_a_repetition_that_asks_for_something_else_is_told_what_stays_as_it_is(world: World) -> None:
    world.submit(unique_key="k", gpus=2)
    answer = world.submit(unique_key="k", gpus=1, workdir="/tmp")
    assert (answer.status_code, answer.json()["warnings"]) == (200, [
        "job 1 has this key already and stays as it is, with --workdir /, not /tmp",
        "job 1 has this key already and stays as it is, with --gpus 2, not 1",
    ])  # fmt: skip


def test_what_a_repetition_leaves_out_or_adds_is_told_as_options(world: World, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.touch()
    world.submit(unique_key="k", gpus=1, gpu_model="A100")
    asked = world.submit(unique_key="k", gpus=1, interruptible=True, env_file=str(file))
    assert [row.rpartition(", ")[2] for row in asked.json()["warnings"]] == [
        "with --gpu-model A100", "without --interruptible", "without --env-file",
    ]  # fmt: skip
    world.submit(unique_key="m", priority=1)
    asked = world.submit(unique_key="m", priority=5, time_limit_s=5400, duration_s=60, start_now=True)
    assert [row.rpartition("as it is, ")[2] for row in asked.json()["warnings"]] == [
        "without --time-limit", "with --priority 1, not 5", "without --now",
    ]  # fmt: skip
    world.submit(unique_key="l", interruptible=True)
    assert world.submit(unique_key="l").json()["warnings"][0].endswith(", with --interruptible")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"command": ["python3", "trian.py"]}, "there is no file {}/trian.py, which python3 is to run"),
        ({"command": ["bash", "missing.sh"]}, "there is no file {}/missing.sh"),
        ({"command": ["nice", "python3", "-u", "sub/x.py"]}, "there is no file {}/sub/x.py"),
        ({"command": ["python3", "."]}, "there is no file {}"),
        ({"command": ["python3"]}, "its standard input"),
        ({"command": ["sh", "crlf.sh"]}, "CRLF"),
        ({"command": ["echo", "a", "&&", "b"]}, "there is no shell, so echo gets '&&' as it is"),
        ({"command": ["echo", "$HOME/x"]}, "there is no shell, so echo gets '$HOME/x' as it is"),
        ({"start_after": "2020-03-02T12:00Z"}, "has passed already"),
        ({"start_now": True, "min_saving": 0.1}, "--min-saving has no effect beside --now"),
        ({"interruptible": True, "min_run_s": 7200, "duration_s": 3600}, "will not be interrupted"),
        ({"interruptible": True, "checkpoint_exit_code": 1}, "exit code 1 too"),
        ({"gpus": 0, "stop_on": ["gpu_idle"]}, "--stop-on gpu_idle has no effect"),
        ({"env_file": "vars"}, "vars: CUDA_VISIBLE_DEVICES is set by greenrun itself"),
        ({"log": "pipe"}, "{}/pipe is a pipe"),
    ],
)
def test_what_is_likely_wrong_is_warned_of(world: World, tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    (tmp_path / "crlf.sh").write_bytes(b"#!/bin/sh\r\ntrue\r\n")
    (tmp_path / "vars").write_text("CUDA_VISIBLE_DEVICES=0\n")
    os.mkfifo(tmp_path / "pipe")
    (warning,) = told(world, **{"workdir": str(tmp_path), "env": {"PATH": "/bin:/usr/bin"}, **parts})
    assert words.format(tmp_path) in warning


@pytest.mark.parametrize(
    "command", [["python3", "train.py"], ["python3", "pkg"], ["bash", "run.sh"], ["sh", "-c", "a && b"], ["sh", "true"]]
)
def test_what_is_right_is_not_warned_of(world: World, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "pkg").mkdir()
    for name in ("train.py", "run.sh", "pkg/__main__.py"):
        (tmp_path / name).touch()
    assert told(world, command=command, workdir=str(tmp_path), env={"PATH": "/bin:/usr/bin"}) == []


def test_the_jobs_of_an_array_share_their_warnings_and_a_request_sent_again_has_the_same(world: World) -> None:
    job = {"command": ["python3", "nosuch.py"], "workdir": "/", "array": {"indices": [0, 1]}}
    first, again = (
        world.ask("POST", "/v1/jobs", json=job, who=ADA, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    why = "there is no file /nosuch.py, which python3 is to run; check its name, or the folder (--workdir)"
    assert [row["warnings"] for row in (*first.json(), *again.json())] == [[why]] * 4


def test_a_finished_job_of_a_key_is_compared_by_its_command_too(world: World) -> None:
    world.store.keep(stored(1, State.SUCCEEDED, user="41001", unique_key="k"))
    assert world.submit(unique_key="k").status_code == 200
    assert list(errors(world.submit(unique_key="k", command=["/bin/false"]))) == ["unique_key"]


def test_a_job_s_own_script_is_noted_when_it_is_accepted(world: World, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("1\n")
    job = {"command": ["python3", "train.py"], "workdir": str(tmp_path)}
    answer = world.ask("POST", "/v1/jobs", json=[job, {**job, "command": ["/bin/true"]}, {**job, "command": ["true"]}])
    assert [list(row["noted_files"]) for row in answer.json()] == [[f"{tmp_path}/train.py"], ["/bin/true"], []]
    assert world.store.jobs.job(1).spec.noted_files == answer.json()[0]["noted_files"]


@pytest.mark.parametrize(("log", "told"), [("x.log", 2), ("%j.log", 0), ("/dev/null", 0), (None, 0)])
def test_jobs_that_would_write_to_one_log_are_warned_of(
    world: World, tmp_path: Path, log: str | None, told: int
) -> None:
    job = {"command": ["/bin/true"], "workdir": str(tmp_path), "log": log}
    answer = world.ask("POST", "/v1/jobs", json=[job, job, {**job, "log": "other.log"}])
    assert [len(row["warnings"]) for row in answer.json()] == [told // 2, told // 2, 0]


def test_gpus_that_the_machine_has_not_are_told_beside_all_else(world: World) -> None:
    world.scheduler.tried = InvalidJob("few", [InputProblem(field="gpus", message="too many")])
    assert set(errors(world.submit(gpus=9, workdir="/no/such/folder"))) == {"gpus", "workdir"}
    jobs = [{"command": [program], "workdir": "/", "gpus": 9} for program in ("/bin/true", "/no/such/program")]
    told = errors(world.ask("POST", "/v1/jobs", json=jobs))
    assert set(told) == {"[0].gpus", "[1].gpus", "[1].command"}


@pytest.mark.parametrize("query", ["", "?dry_run=true"], ids=["stored", "tried"])
def test_each_of_several_jobs_that_asks_for_gpus_which_are_not_here_is_told_by_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """The plan refuses the first of them, and does not know which of the submission it is."""

    def tried(specs: Sequence[JobSpec], **_: Any) -> list[Preview]:
        many = next((spec.gpus for spec in specs if spec.gpus > 2), None)
        if many:
            raise InvalidJob("few", [InputProblem(field="gpus", message=f"{many} are too many")])
        return [Preview(placement=placed(0))] * len(specs)

    monkeypatch.setattr(world.scheduler, "preview", tried)
    monkeypatch.setattr(world.scheduler, "submit", tried)
    jobs = [{"command": ["/bin/true"], "workdir": "/", "gpus": gpus} for gpus in (1, 99, 2, 7)]
    answer = world.ask("POST", f"/v1/jobs{query}", json=jobs)
    assert errors(answer) == {"[1].gpus": "99 are too many", "[3].gpus": "7 are too many"}
    assert "[1].gpus: 99 are too many" in answer.json()["detail"]
    assert world.store.kept == {}
    alone = world.ask("POST", f"/v1/jobs{query}", json={**jobs[1]})
    assert errors(alone) == {"gpus": "99 are too many"}


@pytest.mark.parametrize(
    ("parts", "field", "said"),
    [
        ({"name": "n" * 300}, "name", "must have at most 200 characters"),
        ({"project": "p" * 300}, "project", "must have at most 64 characters"),
        ({"labels": {"team": "v" * 300}}, "labels.team", "must have at most 200 characters"),
        ({"unique_key": "k" * 300}, "unique_key", "must have at most 200 characters"),
    ],
)
def test_what_is_too_long_is_told_without_the_name_of_a_type(
    world: World, parts: dict[str, Any], field: str, said: str
) -> None:
    assert errors(world.submit(**parts)) == {field: said}
