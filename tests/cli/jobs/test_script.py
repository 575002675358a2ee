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


def test_greenrun_lines_win_over_sbatch_lines(api: FakeApi, run: Run, tmp_path: Path) -> None:
    run("submit", write(tmp_path / "job.sh", "#!/bin/sh\n#GREENRUN --gpus 1\n#SBATCH --gpus=4\n"))
    run("submit", write(tmp_path / "job.sh", "#!/bin/sh\n#SBATCH --gpus=4\n#GREENRUN --gpus 1\n"))
    assert [asked.body["gpus"] for asked in api.asked] == [1, 1]


def test_what_the_command_line_rules_out_is_dropped_from_the_script(api: FakeApi, run: Run, tmp_path: Path) -> None:
    lines = "#SBATCH --begin=now+60 --deadline=2030-01-01 --gres=gpu:a100:1\n#GREENRUN --start-after 2030-01-01\n"
    run("submit", "--now", "-g", "0", write(tmp_path / "job.sh", f"#!/bin/sh\n{lines}"))
    run("submit", "--start-after", "2031-01-01T00:00Z", write(tmp_path / "job.sh", "#!/bin/sh\n#GREENRUN --now\n"))
    first, second = (asked.body for asked in api.asked)
    assert (first["start_now"], first["gpus"], first["finish_by"]) == (True, 0, "2030-01-01T00:00:00Z")
    assert {"start_after", "expire", "gpu_model"} & first.keys() == set()
    assert ("start_now" in second, second["start_after"]) == (False, "2031-01-01T00:00:00Z")


def test_a_script_that_is_not_executable_is_checked_by_its_first_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_bytes(b"#!/bin/bash\r\n#SBATCH --time=10\r\n")
    ran = run("submit", "job.sh")
    assert (ran.code, "CRLF" in ran.err) == (2, True)
    assert run("submit", write(tmp_path / "x.sh", "#!/usr/bin/env own-tool\n", executable=False)).code == 0


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
    assert (ran.code, api.changes) == (2, [])
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


@pytest.mark.parametrize("line", ["#GREENRUN --gpus 8", "#SBATCH --gpus=8", "#SBATCH --no-such"])
def test_lines_behind_the_first_command_are_not_applied_and_noted(
    api: FakeApi, run: Run, tmp_path: Path, line: str
) -> None:
    script = write(tmp_path / "late.sh", f"#!/bin/sh\n#GREENRUN --gpus 1\nset -e\n{line}\n{line}\ntrue\n")
    ran = run("submit", script)
    kind = line.split()[0]
    assert (ran.code, f"late.sh lines 4, 5: {kind} is read only before the script's first command" in ran.err) == (
        0,
        True,
    )
    assert api.asked[0].body["gpus"] == 1


@pytest.mark.parametrize("line", ["#greenrun --gpus 8", "#GREENRUN--gpus 8", "#GREENRUN: --gpus 8", "#Sbatch -G 8"])
def test_a_miswritten_line_of_options_is_refused(api: FakeApi, run: Run, tmp_path: Path, line: str) -> None:
    ran = run("submit", write(tmp_path / "job.sh", f"#!/bin/sh\n{line}\n"))
    assert (ran.code, "job.sh line 2: is not read like this" in ran.err, api.changes) == (2, True, [])


@pytest.mark.parametrize("line", ["##SBATCH --gpus=8", "# SBATCH --gpus=8", "# GREENRUN --gpus 8", "#greenrun is used"])
def test_what_is_a_comment_by_custom_is_one(run: Run, tmp_path: Path, line: str) -> None:
    ran = run("submit", write(tmp_path / "job.sh", f"#!/bin/sh\n{line}\n"))
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize(
    "line", ["#PBS -l select=1:ngpus=2", "#BSUB -W 10", "#$ -l gpu=1", "#COBALT -t 30", "#FLUX: -n 1"]
)
def test_lines_of_other_queues_are_noted(run: Run, tmp_path: Path, line: str) -> None:
    ran = run("submit", write(tmp_path / "job.sh", f"#!/bin/sh\n{line}\n"))
    assert (ran.code, f"job.sh line 2: {line.split()[0]} is not read" in ran.err) == (0, True)


def test_a_script_here_that_has_a_byte_order_mark_is_told_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bom.sh").write_bytes(b"\xef\xbb\xbf#!/bin/sh\n#GREENRUN --gpus 2\n")
    (tmp_path / "none.sh").write_bytes(b"#GREENRUN --gpus 2\n")
    assert "byte-order mark" in run("submit", "bom.sh").err
    assert "has no #! line" in run("submit", "none.sh").err
