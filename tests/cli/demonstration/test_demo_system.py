"""`greenrun demo` from outside: it shows what it promises, keeps its time, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from greenrun.cli.demonstration.scenario import DEMO_JOBS
from tests.patience import HANGS_S, until, watching

pytestmark = [pytest.mark.system, pytest.mark.slow]

COMMAND = [sys.executable, "-m", "greenrun.cli", "demo", "--plain"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for temporary files, by a short name because sockets need one."""
    with tempfile.TemporaryDirectory(prefix="gd-") as folder:
        yield Path(folder)


@contextmanager
def started(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A running demo whose temporary files go to `place`; a user's own settings must not disturb it.

    Where the tests were started in the background they ignore Ctrl-C, and so would the demo.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    env = {**os.environ, "TMPDIR": str(place), "GREENRUN_PLANNER__TICK": "1h"}
    with subprocess.Popen(COMMAND, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        try:
            yield demo
        finally:
            if demo.poll() is None:
                demo.send_signal(signal.SIGINT)


def of(place: Path) -> list[psutil.Process]:
    """The processes that came from a demo in this place: daemon, sampler, shims and jobs."""
    return [process for process in psutil.process_iter() if _belongs(process, str(place))]


def _belongs(process: psutil.Process, place: str) -> bool:
    with suppress(psutil.Error):
        signs = [*process.cmdline(), process.environ().get("TMPDIR", ""), *(file.path for file in process.open_files())]
        return any(place in sign for sign in signs)
    return False


def read_until(demo: subprocess.Popen[str], word: str) -> None:
    """Read the demo's lines up to the one that holds a word."""
    assert demo.stdout is not None
    assert any(word in line for line in demo.stdout)


def test_it_ends_within_90_s_with_eight_jobs_done_and_leaves_nothing(place: Path) -> None:
    with watching() as watch, started(place) as demo:
        out, err = demo.communicate(timeout=HANGS_S)
    assert (demo.returncode, err) == (0, "")
    assert watch.seconds < 90
    lines = out.splitlines()
    for demo_job in DEMO_JOBS:
        told = [line[11:21].strip() for line in lines if f" {demo_job.name}" in line and "  job " in line]
        assert told == ["submitted", "started", "ended"]
        assert any(f" {demo_job.name}: succeeded, " in line for line in lines)
    assert any(line.startswith("8 jobs, 0 late: ") and "% less than first come, first served" in line for line in lines)
    assert "SYNTHETIC" in out
    assert "EMULATED" in out
    assert "\x1b" not in out
    assert of(place) == []
    assert list(place.iterdir()) == []


def test_ctrl_c_cancels_the_jobs_stops_the_daemon_and_removes_the_folder(place: Path) -> None:
    with started(place) as demo:
        read_until(demo, "  started    ")
        demo.send_signal(signal.SIGINT)
        err = demo.communicate(timeout=HANGS_S)[1]
    assert demo.returncode == 130
    assert err == "interrupted: the demo cancels its jobs, stops its daemon and removes its folder\n"
    assert of(place) == []
    assert list(place.iterdir()) == []


def test_a_daemon_that_dies_is_told_with_its_log_and_its_jobs_are_ended(place: Path) -> None:
    with started(place) as demo:
        read_until(demo, "  started    ")
        (daemon,) = [process for process in of(place) if "serve" in process.cmdline()]
        daemon.kill()
        err = demo.communicate(timeout=HANGS_S)[1]
    assert demo.returncode == 1
    assert "The demo's daemon failed" in err
    assert "Its log ends:" in err
    until(lambda: of(place) == [], "nothing is left running", 5)
    assert list(place.iterdir()) == []
