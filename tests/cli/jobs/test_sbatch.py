"""What `#SBATCH` lines ask for is kept, refused or noted; nothing is dropped silently."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran, Run
from tests.cli.examples import NOT_SAID, job
from tests.fake_api import FakeApi

GPUS = "#SBATCH -G 1\n"  # without it, the lack of any is noted


@pytest.fixture(autouse=True)
def accepting(api: FakeApi) -> None:
    api.answers["POST", "/v1/jobs"] = lambda asked: (201, [job()] if "array" in asked.body else job())


def submitted(run: Run, folder: Path, lines: str, body: str = "") -> Ran:
    """Submit a script with these `#SBATCH` options, a line each."""
    text = "".join(f"#SBATCH {line}\n" for line in lines.splitlines())
    (folder / "job.sh").write_text(f"#!/bin/sh\n{text}{body}")
    (folder / "job.sh").chmod(0o755)
    return run("submit", "./job.sh")


@pytest.mark.parametrize(
    ("lines", "sent"),
    [
        ("--job-name=resnet", {"name": "resnet"}), ("-J 'a b'", {"name": "a b"}),
        ("--account=vision", {"project": "vision"}),
        ("-t 90", {"time_limit_s": 5400}), ("--time=10:30", {"time_limit_s": 630}),
        ("-t 2:00:00", {"time_limit_s": 7200}),
        ("-t 1-0", {"time_limit_s": 86400}), ("-t 1-2:30", {"time_limit_s": 95400}),
        ("-t 1-2:30:15", {"time_limit_s": 95415}),
        ("-t UNLIMITED", {}), ("-t 5\n-t 6", {"time_limit_s": 360}),
        ("--gres=gpu:a100:2", {"gpus": 2, "gpu_model": "a100"}), ("--gres=gpu", {"gpus": 1}),
        ("--gres=gpu:3", {"gpus": 3}),
        ("--gres=gpu:nvidia_h100:4(S:0-1)", {"gpus": 4, "gpu_model": "nvidia h100"}),
        ("--gres=gpu:v100", {"gpu_model": "v100"}),
        ("--gpus-per-node=a100:2", {"gpus": 2, "gpu_model": "a100"}), ("--gpus=4\n--gres=gpu:4", {"gpus": 4}),
        ("-o logs.txt", {"log": "{}/logs.txt"}), ("--output=%x-%A_%a.out", {"log": "{}/%x-%A_%a.out"}),
        ("-o a -e a", {"log": "{}/a"}), ("-D /tmp", {"workdir": "/tmp"}),
        ("-b 2030-01-01T09:00", {"start_after": "2030-01-01T09:00:00Z"}), ("--begin=now", {}),
        ("--begin=01/02/30-10:00", {"start_after": "2030-01-02T10:00:00Z"}),
        ("--deadline=2030-01-01T09:00:00", {"finish_by": "2030-01-01T09:00:00Z", "expire": True}),
        ("--dependency=afterok:7:8,afterany:9", {"after": [
            {"job": 7, "on": "ok"}, {"job": 8, "on": "ok"}, {"job": 9, "on": "any"}]}),
        ("-d afterok:999", {"after": [{"job": 999, "on": "ok"}]}),
        ("--export=A=1,B=2", {"env": {"A": "1", "B": "2"}}), ("--nodes=1 -n 1 --input=/dev/null", {}),
        ("--no-requeue", {}),
    ],
)  # fmt: skip
def test_what_has_a_counterpart_is_kept(
    api: FakeApi, run: Run, tmp_path: Path, lines: str, sent: dict[str, Any]
) -> None:
    ran = submitted(run, tmp_path, lines if "g" in lines and "gp" in lines else f"{lines}\n-G 1")
    assert (ran.code, ran.err) == (0, "")
    body = api.asked[0].body
    env = {name: value for name, value in body["env"].items() if name in "AB"}
    body = {name: value for name, value in body.items() if name not in NOT_SAID} | {"env": env}
    usual = {"command": [f"{tmp_path}/job.sh"], "gpus": 1, "workdir": str(tmp_path), "env": {}}
    expected = {name: value.format(tmp_path) if name == "log" else value for name, value in sent.items()}
    assert body == usual | expected


@pytest.mark.parametrize("word", ["Tomorrow", "TEATIME", "Noon"])
def test_a_begin_in_words_is_kept_whatever_their_case(api: FakeApi, run: Run, tmp_path: Path, word: str) -> None:
    begins = []
    for text in (word, word.lower()):
        ran = submitted(run, tmp_path, f"--begin={text}\n-G 1")
        assert ran.code == 0, ran.err
        begins.append(api.asked[-1].body["start_after"])
    assert begins[0] == begins[1]


@pytest.mark.parametrize(
    ("lines", "sent", "note"),
    [
        ("--array=0-9%4", {"array": {"indices": list(range(10)), "at_once": 4}}, "as GREENRUN_ARRAY_INDEX"),
        ("--mem=1G", {}, "--mem=1G: greenrun neither reserves memory nor limits"), ("--mem-per-cpu=100", {}, "memory"),
        ("-c 1", {}, "--cpus-per-task=1: greenrun neither reserves CPUs"),
        ("--signal=B:TERM@120", {"grace_s": 120}, "it gets TERM, at its time limit"),
        ("--requeue", {"retries": 1, "retry_on": [254]}, "run again once if it is lost or the machine restarts"),
        ("-o a -e b", {}, "--error=b: errors go into the same log"), ("-e b", {}, "errors go into the same log"),
        ("--exclusive", {}, "other jobs may run beside it"),
        ("--partition=gpu", {}, "--partition=gpu: has no counterpart"),
        ("--mail-type=END", {}, "has no counterpart"), ("-q high", {}, "--qos=high: has no counterpart"),
        ("--export=ALL", {}, "only the variables that [jobs] env lists"), ("--open-mode=truncate", {}, "is appended"),
    ],
)  # fmt: skip
def test_what_is_harmless_is_noted(
    api: FakeApi, run: Run, tmp_path: Path, lines: str, sent: dict[str, Any], note: str
) -> None:
    ran = submitted(run, tmp_path, f"{lines}\n-G 1")
    assert (ran.code, len(ran.err.splitlines())) == (0, 1)
    assert ran.err.startswith("note: job.sh line 2: #SBATCH --")
    assert note in ran.err
    assert sent.items() <= api.asked[0].body.items()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("--dependency=afternotok:7", "cannot wait for 'afternotok'"), ("-d singleton", "cannot wait for 'singleton'"),
        ("-d after:7+5", "cannot wait for 'after'"), ("-d afterok:7?afterok:8", "not for any one of several"),
        ("-d afterok:$ID", "names no jobs by their number"), ("--gres=fpga:1", "no resource 'fpga'"),
        ("--gres=gpu:2\n--gpus=4", "contradicts"), ("--gpus=a100:1,v100:1", "GPUs of one model"),
        ("--gpus=two:x", "--gpus"), ("--signal=USR1@90", "sends USR1 only to interruptible jobs"),
        ("--signal=?", "signal"),
        ("-N 2", "has this machine alone"), ("--ntasks=4", "starts one process"), ("-t soon", "is not a time"),
        ("--mem=9999T", "and this machine has"), ("--mem=lots", "is not a size"), ("-c 100000", "and this machine has"),
        ("--hold", "would not hold it"), ("-C a100", "knows no features"), ("--input=x.txt", "standard input is empty"),
        ("--licenses=ansys", "counts no licenses"), ("--gpu=2", "sbatch has no option --gpu"), ("--array=x", "indices"),
        ("hetjob", "several parts"), ("--begin=whenever", "'whenever'"), ("--chdir=/none", "there is no folder /none"),
    ],
)  # fmt: skip
def test_what_would_make_it_run_wrongly_is_refused(
    api: FakeApi, run: Run, tmp_path: Path, lines: str, why: str
) -> None:
    ran = submitted(run, tmp_path, lines)
    assert (ran.code, api.changes) == (2, [])
    assert why in ran.err
    assert "job.sh line " in ran.err


def test_all_that_is_wrong_is_told_at_once_with_its_line(run: Run, tmp_path: Path) -> None:
    ran = submitted(run, tmp_path, "--nodes=4 --hold\n--dependency=singleton\n--mem=9999T")
    assert [line.split(":")[0].strip() for line in ran.err.splitlines()[1:]] == [
        "job.sh line 2", "job.sh line 2", "job.sh line 3", "job.sh line 4",
    ]  # fmt: skip


def test_an_interruptible_job_gets_its_signal_to_checkpoint(api: FakeApi, run: Run, tmp_path: Path) -> None:
    ran = submitted(run, tmp_path, "--signal=B:USR2@90\n-G 1", "#GREENRUN --interruptible\n")
    assert (ran.code, "it gets USR2 when it is to checkpoint" in ran.err) == (0, True)
    assert (api.asked[0].body["checkpoint_signal"], api.asked[0].body["grace_s"]) == ("USR2", 90)


def test_what_is_stated_elsewhere_is_not_looked_at(api: FakeApi, run: Run, tmp_path: Path) -> None:
    lines = "--dependency=singleton --gres=gpu:2 --time=60 --requeue\n--deadline=2030-01-01\n"
    own = "#GREENRUN --after 7 --gpus 4 --time-limit 2h --retries 3 --finish-by 2031-01-01T00:00Z\n"
    ran = submitted(run, tmp_path, lines, own)
    assert (ran.code, ran.err) == (0, "")
    body = api.asked[0].body
    assert (body["gpus"], body["time_limit_s"], body["retries"]) == (4, 7200, 3)
    assert (body["after"], body["finish_by"]) == ([{"job": 7, "on": "ok"}], "2031-01-01T00:00:00Z")
    assert {"expire", "retry_on"} & body.keys() == set()


def test_an_array_whose_jobs_read_slurm_s_index_is_refused(api: FakeApi, run: Run, tmp_path: Path) -> None:
    lines = "--array=0-3\n-G 1"
    assert "reads SLURM_ARRAY_TASK_ID" in submitted(run, tmp_path, lines, 'echo "$SLURM_ARRAY_TASK_ID"\n').err
    both = "i=${SLURM_ARRAY_TASK_ID:-$GREENRUN_ARRAY_INDEX}\n"
    assert submitted(run, tmp_path, lines, both).code == 0
    assert "SLURM_JOB_ID" in submitted(run, tmp_path, "-G 1", "echo $SLURM_JOB_ID\nsrun python train.py\n").err


def test_no_gpus_asked_for_is_noted_since_greenrun_gives_one(api: FakeApi, run: Run, tmp_path: Path) -> None:
    ran = submitted(run, tmp_path, "--time=5")
    assert (api.asked[0].body["gpus"], "--gpus 0 makes it a CPU job" in ran.err) == (1, True)


def test_names_may_be_shortened_as_sbatch_allows(api: FakeApi, run: Run, tmp_path: Path) -> None:
    submitted(run, tmp_path, "--dep=afterok:7 --job=x\n-G1")
    assert (api.asked[0].body["after"], api.asked[0].body["name"]) == ([{"job": 7, "on": "ok"}], "x")


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_the_cpus_of_this_machine_are_what_may_be_asked_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert submitted(run, tmp_path, f"-c {cpus}").code == 0
    assert submitted(run, tmp_path, f"-c {cpus + 1}").code == 2
