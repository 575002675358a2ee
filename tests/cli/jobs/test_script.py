"""A script's own lines state the job; the command line wins; nothing is dropped silently."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import job
from tests.fake_api import FakeApi


@pytest.fixture(autouse=True)
def accepting(api: FakeApi) -> None:
    api.post("/v1/jobs", job(), 201)


def write(path: Path, text: str, *, executable: bool = True) -> str:
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)
    return f"./{path.name}"


def test_greenrun_lines_are_options_and_the_command_line_wins(api: FakeApi, run: Run, tmp_path: Path) -> None:
    script = write(
        tmp_path / "train.sh",
        "#!/bin/sh\n# a comment\n#GREENRUN --gpus 2 --duration=6h\n#GREENRUN -g4 --label a=1 --label b=2 --now\n\n"
        "#GREENRUN --name 'two words'  # why\n#GREENRUN --stop-on stuck\necho\n#GREENRUN --gpus 8\n",
    )
    assert run("submit", "--duration", "1h", script, "--epochs", "3").code == 0
    sent = api.asked[0].body
    assert sent["command"] == [str(tmp_path / "train.sh"), "--epochs", "3"]
    assert (sent["gpus"], sent["duration_s"], sent["name"], sent["start_now"]) == (4, 3600, "two words", True)
    assert (sent["labels"], sent["stop_on"]) == ({"a": "1", "b": "2"}, ["stuck"])


def test_sbatch_lines_with_a_counterpart_are_understood(api: FakeApi, run: Run, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job.sh",
        "#!/bin/bash\n#SBATCH --job-name=resnet\n#SBATCH --gres=gpu:a100:2 --time=1-12:30\n"
        "#SBATCH -o out.txt\n#SBATCH --begin=now+1hour\n#SBATCH --deadline=2026-12-01T09:00:00\n",
    )
    ran = run("submit", script)
    assert (ran.code, ran.err) == (0, "")
    sent = api.asked[0].body
    assert (sent["name"], sent["gpus"], sent["time_limit_s"]) == ("resnet", 2, 131400)
    assert (sent["log"], sent["finish_by"]) == (str(tmp_path / "out.txt"), "2026-12-01T09:00:00Z")
    assert "start_after" in sent


def test_sbatch_lines_without_a_counterpart_are_named(api: FakeApi, run: Run, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job.sh",
        "#!/bin/bash\n#SBATCH --exclusive --partition=gpu -N 2\n#SBATCH --output=slurm-%j.out\n#SBATCH --gres=fpga:1\n",
    )
    ran = run("submit", script)
    assert ran.code == 0
    assert [line.split("#SBATCH ")[1].split(" has no")[0] for line in ran.err.splitlines()] == [
        "--exclusive", "--partition=gpu", "-N=2", "--output=slurm-%j.out", "--gres=fpga:1",
    ]  # fmt: skip
    assert "log" not in api.asked[0].body


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("10:30", 630), ("2:00:00", 7200), ("1-0", 86400), ("1-2:30", 95400), ("1-2:30:15", 95415)],
)
def test_slurms_times_are_its_own(api: FakeApi, run: Run, tmp_path: Path, text: str, seconds: int) -> None:
    run("submit", write(tmp_path / "job.sh", f"#!/bin/sh\n#SBATCH -t {text}\n"))
    assert api.asked[0].body["time_limit_s"] == seconds


def test_greenrun_lines_win_over_sbatch_lines(api: FakeApi, run: Run, tmp_path: Path) -> None:
    run("submit", write(tmp_path / "job.sh", "#!/bin/sh\n#GREENRUN --gpus 1\n#SBATCH --gpus=4\n"))
    run("submit", write(tmp_path / "job.sh", "#!/bin/sh\n#SBATCH --gpus=4\n#GREENRUN --gpus 1\n"))
    assert [asked.body["gpus"] for asked in api.asked] == [1, 1]


def test_a_script_that_is_not_executable_is_run_by_its_interpreter(api: FakeApi, run: Run, tmp_path: Path) -> None:
    write(tmp_path / "train.sh", "#!/usr/bin/env -S sh\necho\n", executable=False)
    assert run("submit", "train.sh", "x").code == 0
    assert api.asked[0].body["command"] == ["/usr/bin/env", "-S sh", str(tmp_path / "train.sh"), "x"]


def test_faults_in_a_script_are_told_with_their_lines(api: FakeApi, run: Run, tmp_path: Path) -> None:
    script = write(
        tmp_path / "job.sh",
        "#!/bin/sh\n#GREENRUN --gpu 2\n#GREENRUN --name 'open\n#GREENRUN stray\n#GREENRUN --duration\n",
    )
    ran = run("submit", script)
    assert (ran.code, api.asked) == (2, [])
    assert ran.err.splitlines()[1:] == [
        "  job.sh line 2: there is no option 'gpu'; see greenrun submit --help",
        "  job.sh line 3: cannot be read: No closing quotation",
        "  job.sh line 4: there is no option 'stray'; see greenrun submit --help",
        "  job.sh line 5: --duration needs a value",
    ]


def test_a_bad_value_in_a_script_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    ran = run("submit", write(tmp_path / "job.sh", "#!/bin/sh\n#GREENRUN --gpus two\n"))
    assert ran.err.startswith("error: nothing was submitted: job.sh line 2: --gpus: 'two' is not")


def test_a_program_in_path_is_not_taken_for_a_script_here(api: FakeApi, run: Run, tmp_path: Path) -> None:
    write(tmp_path / "true", "#!/bin/sh\n#GREENRUN --gpus 8\n")
    run("submit", "true")
    assert (api.asked[0].body["command"], api.asked[0].body["gpus"]) == (["true"], 1)
