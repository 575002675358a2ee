"""Training under each framework is suspended at a dirty peak by a real daemon, and ends as an unbroken run does."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.patience import HANGS_S
from tests.system.harness import Daemon, environment, replayed, write_trace

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SLOT_S = 8  # of half an hour in the trace
TRACE = [50] * 2 + [700] * 3 + [60] * 91
EPOCHS = {"lightning": 400, "transformers": 400, "keras": 300}


@pytest.mark.slow
@pytest.mark.parametrize("framework", EPOCHS)
def test_an_example_is_suspended_at_the_dirty_peak_and_ends_with_the_weights_of_an_unbroken_run(
    framework: str, folder: Path
) -> None:
    if find_spec(framework) is None or find_spec("torch") is None:
        pytest.skip(f"{framework} with PyTorch is not installed, which is too large for the tests to install")
    words = [sys.executable, EXAMPLES / f"{framework}_example.py", EPOCHS[framework]]
    backend = ("--env", "KERAS_BACKEND=torch", "--env", "OMP_NUM_THREADS=1")
    spans = ("--duration", "40s", "--min-run", "1s", "--restart-cost", "1s", "--max-delay", "10m", "--grace", "5m")
    with Daemon(folder, replayed(write_trace(folder, TRACE), speed=1800 / SLOT_S)) as daemon:
        job = daemon.submit("--gpus", "1", "--interruptible", "--retries", "3", *spans, *backend, "--", *words)
        done = daemon.wait_for(job, limit_s=HANGS_S)
        logs = [Path(run["log"]).read_text().splitlines() for run in done["runs"]]
    assert done["state"] == "succeeded", logs
    assert "checkpointed" in [run["outcome"] for run in done["runs"]]
    assert all(run["work"] for run in done["runs"] if run["outcome"] in ("checkpointed", "succeeded"))
    assert logs[-1][-1] == unbroken(words, folder)


def unbroken(words: list[object], folder: Path) -> str:
    """What the example prints last where nothing interrupts it, outside greenrun."""
    env = {**environment(folder), "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    command = [str(word) for word in words]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=HANGS_S, check=True)
    return done.stdout.splitlines()[-1]
