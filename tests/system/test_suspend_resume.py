"""A real process is suspended by a real signal and continued in another run, over crashes of daemon and shim."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.clock import utc_now
from greenrun.core.jobs.job import FINISHED, JobSpec, Outcome, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Placement, Plan, Situation
from greenrun.engine.engine import Engine
from greenrun.executors.local import LocalExecutor
from greenrun.meters.none import NoMeter
from greenrun.store import Store
from tests.patience import HANGS_S, until
from tests.system.harness import Daemon, kill_shim, live_shim

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
EPOCHS = {"interruptible.py": 2000, "checkpointing.py": 5_000}
HOUR = timedelta(hours=1)
SLOW_SAVER = """
echo $GREENRUN_RUN >> ran; [ $GREENRUN_ATTEMPT = 2 ] && exit 0
trap 'echo saving > saving; sleep 60' USR1; echo ready > ready; while :; do sleep 0.05; done
"""


class Place:
    """A state folder that outlives its daemons; `is_clean` is the whole of the plan."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "greenrun.db")
        self.is_clean = True
        self.restart()

    def restart(self) -> None:
        """Let a new daemon's engine take over."""
        if hasattr(self, "executor"):
            self.executor.close()
        self.executor = LocalExecutor(runs_dir=self.folder / "runs", locks_dir=self.folder / "locks")
        self.engine = Engine(store=self.store, executor=self.executor, meter=NoMeter())

    def plan(self, situation: Situation) -> Plan:
        """Place everything now while it is clean, else an hour from now."""
        start = situation.now if self.is_clean else situation.now + HOUR
        why = because(ReasonCode.ASKED_NOW)
        jobs = [*situation.jobs, *(row.job for row in situation.running)]
        placed = [Placement(job_id=job.id, start=start, end=start + HOUR, gpus=0, reason=why) for job in jobs]
        return Plan(made_at=situation.now, placements=tuple(placed))

    def submit(self, *command: str, **more: object) -> int:
        """Store an interruptible job without GPUs."""
        own = {"duration": HOUR, "gpus": 0, "interruptible": True, "min_run": timedelta(0), "env": dict(os.environ)}
        spec = JobSpec(command=command, workdir=str(self.folder), **{**own, **more})  # type: ignore[arg-type]
        return self.store.jobs.add_jobs([spec], user="ada", uid=os.getuid(), now=utc_now())[0][0].id

    def runs(self, job: int) -> list[Run]:
        """The job's runs."""
        return list(self.store.runs.of_jobs([job])[job])

    def tick_until(self, condition: Callable[[], object], what: str) -> None:
        """Tick until something is so."""

        def ticked() -> bool:
            self.engine.tick(utc_now())
            return bool(condition())

        until(ticked, what)

    def is_finished(self, job: int) -> bool:
        """Whether it is."""
        return self.store.jobs.job(job).state in FINISHED


@pytest.fixture
def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(folder)
    monkeypatch.setattr("greenrun.engine.planning.plan", made.plan)
    monkeypatch.setattr(
        "greenrun.engine.planning.needs_replanning", lambda *_: True
    )  # `is_clean` is, and no situation tells of it
    yield made
    for run_folder in (folder / "runs").glob("*.*"):
        if shim := live_shim(run_folder):
            os.kill(shim, signal.SIGKILL)
    for run in made.store.runs.live_runs():  # the executor clears away what a dead shim left
        until(lambda run=run: made.executor.poll(run).ended_at, "the last runs end")  # type: ignore[misc]
    made.executor.close()
    made.store.close()


def uninterrupted(example: str, folder: Path) -> str:
    """What the example prints last when nothing interrupts it."""
    env = {**os.environ, "GREENRUN_CHECKPOINT_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, str(EPOCHS[example])],
        env=env,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def log(run: Run) -> list[str]:
    """The lines that a run has written."""
    return Path(run.log or "").read_text(encoding="utf-8").splitlines()


def suspended(place: Place, example: str) -> int | None:
    """Let the example begin, and suspend it; return its job, None if it came to its end first."""
    place.is_clean = True
    job = place.submit(sys.executable, str(EXAMPLES / example), str(EPOCHS[example]))
    written = place.folder / "runs" / f"{job}.1" / "log"
    place.tick_until(lambda: written.exists() and written.read_text(), "the example gets going")
    place.is_clean = False
    place.engine.tick(utc_now())
    asked = place.store.jobs.job(job)
    assert asked.reason is not None
    assert asked.state is State.SUCCEEDED or asked.reason.code is ReasonCode.SUSPENDED
    return None if asked.state is State.SUCCEEDED else job


def checkpointed(place: Place, example: str) -> int | None:
    """Suspend an example across a crash of the daemon; return its job, None if it came to its end first."""
    job = suspended(place, example)
    if job is None:
        return None
    place.restart()  # the daemon dies between asking and the exit
    place.tick_until(lambda: place.runs(job)[0].outcome, "the first run ends")
    outcome = place.runs(job)[0].outcome
    assert outcome in (Outcome.CHECKPOINTED, Outcome.SUCCEEDED)  # it may end between being asked and hearing of it
    return job if outcome is Outcome.CHECKPOINTED else None


@pytest.mark.parametrize("example", EPOCHS)
def test_an_example_is_suspended_and_continued_without_losing_or_repeating_a_step(place: Place, example: str) -> None:
    job = until(lambda: checkpointed(place, example), "the example is suspended before its end")
    waiting = place.store.jobs.job(job)
    assert (waiting.state, waiting.progress > timedelta(0)) == (State.QUEUED, True)
    place.is_clean = True
    place.tick_until(lambda: place.is_finished(job), "the job finishes")
    first, second = place.runs(job)
    assert [(run.outcome, run.exit_code) for run in (first, second)] == [
        (Outcome.CHECKPOINTED, 85), (Outcome.SUCCEEDED, 0),
    ]  # fmt: skip
    step = log(first)[-1].removeprefix("saved after ")
    assert (log(second)[0], log(second)[-1]) == (f"begins with {step}", uninterrupted(example, place.folder))


def test_a_shim_that_is_killed_during_a_checkpoint_costs_the_run_and_a_retry_no_more(place: Place) -> None:
    job = place.submit("sh", "-c", SLOW_SAVER, retries=1)
    place.tick_until((place.folder / "ready").exists, "it has set up its trap")
    place.is_clean = False
    place.tick_until((place.folder / "saving").exists, "it saves")
    kill_shim(place.folder / "runs" / f"{job}.1")
    place.is_clean = True
    place.tick_until(lambda: place.is_finished(job), "the job finishes")
    assert [run.outcome for run in place.runs(job)] == [Outcome.LOST, Outcome.SUCCEEDED]
    assert (place.folder / "ran").read_text().split() == [f"{job}.1", f"{job}.2"]
    assert place.store.jobs.job(job).progress == timedelta(0)


def test_a_checkpoint_is_no_end_to_those_who_wait_or_follow(folder: Path) -> None:
    script = "echo run $GREENRUN_ATTEMPT; sleep 1.5; [ $GREENRUN_ATTEMPT = 3 ] || exit 85"
    with Daemon(folder) as daemon:
        spans = ("--restart-cost", "1s", "--min-run", "1s", "--duration", "5s")
        job = daemon.submit("--interruptible", "--now", *spans, "--", "sh", "-c", script)
        assert daemon.cli("logs", "-f", job).out == "run 1\nrun 2\nrun 3\n"
        assert daemon.cli("wait", job).code == 0
        assert [run["outcome"] for run in daemon.client.job(job)["runs"]] == ["checkpointed"] * 2 + ["succeeded"]
        assert "checkpointed, exit code 85" in daemon.cli("show", job).out
        assert "checkpointed with exit code 85" in daemon.cli("explain", job).out
