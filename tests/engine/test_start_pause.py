"""What this machine lacks is no job's fault: starts pause, ever longer, spend no attempt and go on by themselves."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.errors import DeviceBusy, HostShort
from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus
from greenrun.core.jobs.trail import EventKind
from greenrun.engine.engine import Engine
from greenrun.engine.start_pause import FIRST, LONGEST, StartPause
from greenrun.store import Store
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

DAY = [100] * 10
MINUTE, DAYS = timedelta(minutes=1), timedelta(days=3)


def test_pauses_grow_and_begin_anew_once_something_started() -> None:
    pause, now, lengths = StartPause(), T0, []
    for _ in range(9):
        pause.extend("memory", now)
        assert pause.until is not None
        lengths.append(pause.until - now)
        now = pause.until
    assert lengths == [FIRST * 2**n for n in range(6)] + [LONGEST] * 3
    pause.end()
    pause.extend("memory", now)
    assert (pause.until, pause.since) == (now + FIRST, now)


def test_failures_that_come_together_are_one() -> None:
    pause = StartPause()
    for _ in range(5):
        pause.extend("memory", T0)
    assert (pause.until, pause.is_on(T0), pause.is_on(T0 + FIRST)) == (T0 + FIRST, True, False)


def test_a_clock_that_was_set_back_ends_a_pause() -> None:
    pause = StartPause()
    pause.extend("memory", T0)
    assert not pause.is_on(T0 - SLOT)
    pause.extend("memory", T0 - SLOT)
    assert (pause.since, pause.is_on(T0 - SLOT)) == (T0 - SLOT, True)


def test_a_launch_that_is_put_off_waits_no_longer_because_the_clock_was_set_back(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.now = T0 + 4 * SLOT
    world.refusals = [DeviceBusy("held by somebody", "gpu")]
    store.jobs.add_job(spec(60, start_now=True), user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    engine.tick(world.now)
    assert (world.refusals, world.launches) == ([], [])
    world.now = T0 + SLOT
    run_until(world, engine, world.now + SLOT)
    assert len(world.launches) == 1


def test_while_the_machine_lacks_what_starts_take_no_run_is_made_and_the_job_says_so(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.lacking = "room on a disk"
    job, _ = store.jobs.add_job(spec(60, start_now=True), user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 10 * MINUTE)
    waiting = store.jobs.job(job.id)
    assert (waiting.state, store.runs.of_jobs([job.id])[job.id]) == (State.QUEUED, [])
    assert waiting.reason is not None
    assert (waiting.reason.code, "room on a disk" in waiting.reason.text) == (ReasonCode.HOST_SHORT, True)
    world.lacking = ""
    run_until(world, engine, T0 + 2 * SLOT)
    assert [run.outcome for run in store.runs.of_jobs([job.id])[job.id]] == [Outcome.SUCCEEDED]
    assert engine.start_pause.until is None


def told(store: Store, job_id: int) -> list[str]:
    """Return the codes of a job's reasons, in the order in which it was told them."""
    rows = store.jobs.events(job_id)
    return [str(row.detail["reason"]) for row in rows if row.kind == EventKind.REASON_CHANGED]


def plans_made_by_others(world: World, store: Store, engine: Engine) -> None:
    """Each job that comes takes another plan, which has a reason for all jobs."""
    for nth in range(3):
        store.jobs.add_job(spec(7200, max_delay=DAYS), user="bob", uid=2, now=world.now)
        run_until(world, engine, T0 + (11 + nth) * MINUTE)


def lacks_memory(world: World) -> JobSpec:
    world.lacking = "memory"
    return spec(60, start_now=True)


def lacks_files_for_two(world: World) -> JobSpec:
    world.lacking, world.lacking_from = "open files", 2
    return spec(60, gpus=2, start_now=True)


def asks_for_memory_that_others_have(world: World) -> JobSpec:
    return spec(60, start_now=True, memory_gib=48)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (lacks_memory, ReasonCode.HOST_SHORT),
        (lacks_files_for_two, ReasonCode.HOST_SHORT),
        (asks_for_memory_that_others_have, ReasonCode.RESOURCES_BUSY),
    ],
)
def test_a_job_is_told_once_why_it_is_kept_back_however_many_plans_are_made_meanwhile(
    tmp_path: Path, asked: Callable[[World], JobSpec], code: ReasonCode
) -> None:
    world, store = World(DAY, gpus=3), open_store(tmp_path)
    engine = new_engine(world, store, world.meter(), tick=MINUTE, resources={"memory_gib": 64.0})
    store.jobs.add_job(spec(1200, start_now=True, memory_gib=40), user="eve", uid=3, now=T0)
    run_until(world, engine, T0 + MINUTE)
    job, _ = store.jobs.add_job(asked(world), user="ada", uid=1, now=world.now)
    run_until(world, engine, T0 + 10 * MINUTE)
    before = told(store, job.id)
    assert before[-1:] == [code]
    assert before.count(code) == 1
    plans_made_by_others(world, store, engine)
    assert told(store, job.id) == before
    world.lacking, world.lacking_from = "", 0
    run_until(world, engine, T0 + SLOT)
    assert store.jobs.job(job.id).state is State.SUCCEEDED
    assert told(store, job.id).count(code) == 1


def test_what_is_lacking_for_many_gpus_only_keeps_no_other_job_waiting(tmp_path: Path) -> None:
    world, store = World(DAY, gpus=3), open_store(tmp_path)
    world.lacking, world.lacking_from = "open files", 2
    large, small = [
        store.jobs.add_job(spec(60, gpus=gpus, start_now=True), user="ada", uid=1, now=T0)[0] for gpus in (2, 1)
    ]
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 10 * MINUTE)
    waiting = store.jobs.job(large.id)
    assert (store.jobs.job(small.id).state, waiting.state) == (State.SUCCEEDED, State.QUEUED)
    assert waiting.reason is not None
    assert (waiting.reason.code, store.runs.of_jobs([large.id])[large.id]) == (ReasonCode.HOST_SHORT, [])
    world.lacking = ""
    run_until(world, engine, T0 + 2 * SLOT)
    assert [run.outcome for run in store.runs.of_jobs([large.id])[large.id]] == [Outcome.SUCCEEDED]


def test_jobs_that_were_told_of_a_pause_are_told_the_plan_s_reason_once_it_is_over(tmp_path: Path) -> None:
    world, store = World(DAY, gpus=1), open_store(tmp_path)
    world.lacking = "memory"
    jobs = [store.jobs.add_job(spec(7200, start_now=True), user="ada", uid=1, now=T0)[0] for _ in range(2)]
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + MINUTE)
    world.lacking = ""
    run_until(world, engine, T0 + 25 * MINUTE)
    assert [store.jobs.job(job.id).state for job in jobs] == [State.RUNNING, State.QUEUED]
    left = store.jobs.job(jobs[1].id).reason
    assert left is not None
    assert left.code is not ReasonCode.HOST_SHORT


def test_starts_that_fail_for_what_the_machine_lacks_are_no_attempts(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.refusals = [HostShort("no more processes", "processes")] * 7
    job, _ = store.jobs.add_job(spec(60, start_now=True), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), T0 + 3 * SLOT)
    assert store.jobs.job(job.id).state is State.SUCCEEDED
    outcomes = [run.outcome for run in store.runs.of_jobs([job.id])[job.id]]
    assert outcomes == [Outcome.FAILED_TO_START] * 7 + [Outcome.SUCCEEDED]


def not_up(world: World, run_count: list[int]) -> RunStatus:
    return RunStatus(phase=Phase.ABSENT, detail="its folder could not be made", shortage="room on a disk")


def not_started(world: World, run_count: list[int]) -> RunStatus:
    return RunStatus(
        phase=Phase.EXITED, ended_at=world.now, exit_code=126, ended_by=EndedBy.NOT_STARTED,
        detail="its log cannot be opened", shortage="room in a disk quota",
    )  # fmt: skip


@pytest.mark.parametrize("told", [not_up, not_started])
def test_a_run_that_its_supervisor_could_not_start_is_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Callable[[World, list[int]], RunStatus]
) -> None:
    """Where other jobs can be started, a shortage of one, as where its log is to be, keeps only that one waiting."""
    world, store = World(DAY), open_store(tmp_path)
    job, _ = store.jobs.add_job(spec(60, start_now=True), user="ada", uid=1, now=T0)
    seen = list[int]()
    poll = World.poll

    def short_at_first(self: World, run: object) -> RunStatus:
        if run.job_id == job.id and len(set(seen)) < 5:  # type: ignore[attr-defined]
            seen.append(run.id)  # type: ignore[attr-defined]
            self.processes.pop(run.token, None)  # type: ignore[attr-defined]
            return told(self, seen)
        return poll(self, run)  # type: ignore[arg-type]

    monkeypatch.setattr(World, "poll", short_at_first)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 4 * SLOT)
    assert store.jobs.job(job.id).state is State.SUCCEEDED
    assert len(store.runs.of_jobs([job.id])[job.id]) > 4


def test_a_job_waits_for_memory_that_those_which_run_were_given_and_starts_when_one_ends(tmp_path: Path) -> None:
    world, store = World(DAY, gpus=3), open_store(tmp_path)
    jobs = [
        store.jobs.add_job(spec(60, start_now=True, memory_gib=gib), user="ada", uid=1, now=T0)[0]
        for gib in (40.0, 30.0, 20.0)
    ]
    engine = new_engine(world, store, world.meter(), resources={"memory_gib": 64.0, "cpus": 8.0})
    engine.tick(world.now)
    started = [store.jobs.job(job.id).state is not State.QUEUED for job in jobs]
    assert started == [True, False, True]
    reason = store.jobs.job(jobs[1].id).reason
    assert reason is not None
    assert (reason.code, "30 GiB" in reason.text) == (ReasonCode.RESOURCES_BUSY, True)
    run_until(world, engine, T0 + 4 * SLOT)
    assert [store.jobs.job(job.id).state for job in jobs] == [State.SUCCEEDED] * 3
