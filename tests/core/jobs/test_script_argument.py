"""Which script a command has an interpreter run, and when that cannot be told."""

import pytest

from greenrun.core.jobs.script_argument import own_files, script_argument


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("python train.py --epochs 3", "train.py"), ("python3.11 -u train.py", "train.py"),
        ("/opt/venv/bin/python -X dev -W ignore -uB sub/train.py -m x", "sub/train.py"), ("pypy3 a.py", "a.py"),
        ("bash run.sh -c 3", "run.sh"), ("sh -eu -o pipefail run.sh", "run.sh"), ("bash --norc -- run.sh", "run.sh"),
        ("bash --rcfile x run.sh", "run.sh"), ("perl a.pl", "a.pl"), ("Rscript fit.R 1", "fit.R"),
        ("torchrun --nproc_per_node 2 train.py --lr 1", "train.py"), ("accelerate launch -q t.py", "t.py"),
        ("nice -n 5 python -u train.py", "train.py"), ("env A=b OMP_NUM_THREADS=4 python3 train.py", "train.py"),
        ("timeout 1h bash run.sh", "run.sh"), ("uv run python train.py", "train.py"),
        ("conda run -n torch python train.py", "train.py"),
    ],
)  # fmt: skip
def test_the_script_of_an_interpreter_is_found(command: str, script: str) -> None:
    found = script_argument(command.split())
    assert found is not None
    assert found.script == script


@pytest.mark.parametrize("command", ["python", "python -u", "python -", "bash", "sh -e", "nohup python3"])
def test_an_interpreter_without_a_script_would_read_its_standard_input(command: str) -> None:
    found = script_argument(command.split())
    assert found is not None
    assert found.script is None


@pytest.mark.parametrize(
    "command",
    [
        "python -c pass", "python -m nosuch train.py", "python -Im pip", "python --version", "python -Z train.py",
        "bash -c true", "bash -lc true", "bash -s", "bash --version", "perl -ne print", "torchrun -m pkg.train x.py",
        "torchrun --no-python ./run x.py", "./train.sh python x.py", "echo python train.py",
        "env -C sub python x.py", "mpirun -wdir /x python a.py",
        "uv run --directory=x python a.py", "nice -n 5 ./run", "env",
    ],
)  # fmt: skip
def test_what_leaves_a_doubt_is_not_taken_for_a_script(command: str) -> None:
    assert script_argument(command.split()) is None


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("./train.sh 1", ["/w/./train.sh"]), ("python sub/train.py", ["/w/sub/train.py"]), ("true", []),
        ("/opt/venv/bin/python /x/a.py", ["/opt/venv/bin/python", "/x/a.py"]), ("python -c pass", []),
    ],
)  # fmt: skip
def test_a_job_s_own_files_are_its_program_by_path_and_its_script(command: str, paths: list[str]) -> None:
    assert own_files(command.split(), "/w") == paths
