"""A multirun of Hydra is an array of jobs of a real daemon, and a function that is submitted runs in one."""

import subprocess
import sys
from pathlib import Path

from tests.patience import HANGS_S
from tests.system.harness import Daemon

TRAIN = """
import os
import hydra

@hydra.main(version_base=None)
def main(cfg):
    print("trained", cfg.lr, "in job", os.environ["GREENRUN_JOB_ID"], flush=True)
    return cfg.lr * 2

main()
"""
CALL = """
from greenrun.submitit import Executor

def double(x):
    print("doubling", x)
    return 2 * x

executor = Executor("out")
executor.update_parameters(gpus=0, duration="10s", now=True)
job = executor.submit(double, 21)
print(job.job_id, job.result(), job.stdout().strip())
"""
OPTIONS = ("hydra/launcher=greenrun", "hydra.launcher.gpus=0", "hydra.launcher.duration=10s", "hydra.launcher.now=true")


def python(daemon: Daemon, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a program as the daemon's user would, in the daemon's folder."""
    path = daemon.folder / "program.py"
    path.write_text(program)
    command = [sys.executable, str(path), *words]
    return subprocess.run(
        command, env=daemon.env, cwd=daemon.folder, capture_output=True, text=True, timeout=HANGS_S, check=False
    )


def test_a_multirun_of_eight_is_an_array_whose_results_come_back(folder: Path) -> None:
    with Daemon(folder) as daemon:
        done = python(daemon, TRAIN, "-m", *OPTIONS, "+lr=1,2,3,4,5,6,7,8", "hydra.sweep.dir=sweep")
        assert done.returncode == 0, done.stderr
        jobs = daemon.client.jobs()
        assert [(job["state"], job["name"]) for job in jobs] == [("succeeded", f"program[{n}]") for n in range(8)]
        for number in range(8):
            assert (folder / "sweep" / str(number) / ".hydra" / "overrides.yaml").read_text() == f"- +lr={number + 1}\n"
            log = daemon.cli("logs", jobs[number]["id"]).out
            assert f"trained {number + 1} in job {jobs[number]['id']}" in log
        called = python(daemon, CALL)
        assert (called.stdout, called.stderr) == ("9 42 doubling 21\n", "")
