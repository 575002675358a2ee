"""A changed job takes its place in the plan as a submitted one does; a requeued job runs again once, and no more."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.errors import ExecutorError, InvalidJob, InvalidTransition
from greenrun.core.jobs.job import Job, JobSpec, Outcome, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.core.jobs.transitions import Edit, EventKind, Intent, edited
from greenrun.core.planning.decisions import verdict
from greenrun.engine.engine import Engine
from greenrun.simulation.memory import MemoryStore
from greenrun.store import Store
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

WHY = because(ReasonCode.ASKED_NOW)
DAY = [300, 300, 100, 300, 200, 300, 50, 300, 300, 300]


class Bench:
    """An engine over a store, and what the daemon does to edit a job."""

    def __init__(self, folder: Path, gpus: int = 1) -> None:
        self.world, self.store = World(DAY, gpus=gpus), open_store(folder)
        self.engine: Engine = new_engine(self.world, self.store, self.world.meter())
        self.engine.refresh(T0)
        self.engine.tick(T0)

    def add(self, seconds: float = 1800, **own: object) -> Job:
        return self.store.jobs.add_job(spec(seconds, **own), user="ada", uid=1, now=self.world.now)[0]  # type: ignore[arg-type]

    def edit(self, job: Job, requeue: bool = False, **changes: object) -> Job:
        before = self.store.jobs.job(job.id)
        wanted = Edit(before=before, spec=replace(before.spec, **changes), requeue=requeue)  # type: ignore[arg-type]
        now = self.world.now
        admitted = self.engine.readmit([edited(before, wanted, now)], now)
        (stored,) = self.store.jobs.edit([wanted], actor="ada", now=now)
        self.engine.planning.keep(admitted, {stored.id: stored})
        return stored

    def start(self, job: Job) -> float:
        place = self.engine.plan.placement(job.id)
        assert place is not None
        return (place.start - T0) / SLOT

    def run(self, slots: float) -> None:
        run_until(self.world, self.engine, T0 + slots * SLOT)

    def run_for(self, time: timedelta) -> None:
        run_until(self.world, self.engine, self.world.now + time)


def test_a_changed_limit_moves_the_job_at_once_and_the_next_plan_keeps_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.add(max_delay=8 * SLOT)
    bench.engine.tick(T0)
    assert bench.start(job) == 6
    changed = bench.edit(job, max_delay=3 * SLOT)
    assert (bench.start(job), changed.spec.max_delay) == (2, 3 * SLOT)
    bench.engine.tick(T0 + timedelta(seconds=5))
    assert bench.start(job) == 2
    assert [event.detail for event in bench.store.jobs.events(job.id) if event.kind == EventKind.EDITED] == [
        {"changed": ["max_delay"]}
    ]


def test_a_finish_by_that_others_leave_no_room_for_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first, second = bench.add(finish_by=T0 + SLOT), bench.add(max_delay=8 * SLOT)
    bench.engine.tick(T0)
    before = bench.store.jobs.job(second.id)
    with pytest.raises(InvalidJob) as refused:
        bench.edit(second, finish_by=T0 + SLOT + timedelta(minutes=1))
    assert [row.field for row in refused.value.problems] == ["finish_by"]
    with pytest.raises(InvalidJob) as refused:
        bench.edit(second, gpus=4)
    assert [row.field for row in refused.value.problems] == ["gpus"]
    assert bench.store.jobs.job(second.id) == before
    bench.edit(second, finish_by=T0 + 2 * SLOT + timedelta(minutes=1))
    bench.run(3)
    assert [bench.store.jobs.job(job.id).deadline_missed for job in (first, second)] == [False, False]


def test_others_move_for_a_changed_job_as_they_do_for_a_new_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    other, job = bench.add(max_delay=3 * SLOT), bench.add(max_delay=8 * SLOT)
    bench.engine.tick(T0)
    assert (bench.start(other), bench.start(job)) == (2, 6)
    bench.edit(job, finish_by=T0 + 3 * SLOT, start_after=T0 + 2 * SLOT, max_delay=None)
    bench.engine.tick(T0 + timedelta(seconds=5))
    assert bench.start(job) == 2
    assert bench.start(other) != 2


def test_a_command_that_was_changed_is_what_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.add(start_after=T0 + SLOT)
    bench.engine.tick(T0)
    bench.edit(job, command=("run", "60", "5"), start_after=None, start_now=True)
    bench.run(0.5)
    (run,) = bench.store.runs.of_jobs([job.id])[job.id]
    assert (run.exit_code, bench.store.jobs.job(job.id).state) == (5, State.FAILED)


def test_an_edit_of_what_has_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.add(start_after=T0 + SLOT)
    stale = Edit(before=job, spec=replace(job.spec, priority=1))
    bench.edit(job, priority=2)
    with pytest.raises(InvalidTransition, match="has changed meanwhile"):
        bench.store.jobs.edit([stale], actor="ada", now=T0)
    assert bench.store.jobs.job(job.id).spec.priority == 2


@pytest.mark.parametrize("code", [0, 3])
def test_a_requeued_job_runs_once_more_as_another_attempt(tmp_path: Path, code: int) -> None:
    bench = Bench(tmp_path)
    job = bench.add(600, exit_code=code, start_now=True)
    bench.run(1)
    ended = bench.store.jobs.job(job.id)
    assert ended.state is (State.FAILED if code else State.SUCCEEDED)
    again = bench.edit(job, requeue=True)
    assert (again.id, again.state, again.finished_at, again.requeued_at) == (job.id, State.QUEUED, None, T0 + SLOT)
    with pytest.raises(InvalidTransition, match="only one that has ended"):
        bench.edit(job, requeue=True)
    bench.run(3)
    runs = bench.store.runs.of_jobs([job.id])[job.id]
    assert [(run.number, run.exit_code) for run in runs] == [(1, code), (2, code)]
    assert [run.outcome for run in runs] == [Outcome.FAILED if code else Outcome.SUCCEEDED] * 2
    assert runs[1].started_at is not None
    assert runs[1].started_at >= T0 + SLOT
    assert bench.world.launches == [job.id, job.id]
    kinds = [event.kind for event in bench.store.jobs.events(job.id)]
    assert kinds.count(EventKind.FINISHED) == 2


@pytest.mark.parametrize("since", [timedelta(0), -timedelta(hours=3), -timedelta(days=400), timedelta(days=400)])
@pytest.mark.parametrize("back", [timedelta(0), timedelta(hours=3), timedelta(days=400)])
@pytest.mark.parametrize("in_memory", [False, True])
def test_retries_after_a_requeue_are_as_many_as_asked_for_whatever_the_clock_said(
    tmp_path: Path, back: timedelta, since: timedelta, in_memory: bool
) -> None:
    """The clock is set `back` before each requeue, and changed by `since` after it."""
    store: Store | MemoryStore = MemoryStore() if in_memory else open_store(tmp_path)
    job = store.jobs.add_job(spec(60, retries=1), user="ada", uid=1, now=T0)[0]

    def fail(at: datetime) -> State:
        run = store.runs.claim(job.id, [], reason=WHY, now=at)
        assert run is not None
        status = RunStatus(phase=Phase.EXITED, exit_code=3, started_at=at, ended_at=at + SLOT)
        judged = verdict(status, store.jobs.job(job.id), store.runs.of_jobs([job.id])[job.id], run, at + SLOT)
        assert store.runs.close_run(
            run.id, outcome=judged.outcome, exit_code=3, started_at=at, ended_at=at + SLOT, log=None,
            job_state=judged.job_state, reason=judged.reason, now=at + SLOT,
        )  # fmt: skip
        return judged.job_state

    assert [fail(T0), fail(T0 + SLOT)] == [State.QUEUED, State.FAILED]
    for _ in range(2):
        ended = store.jobs.job(job.id)
        at = T0 + 2 * SLOT - back
        store.jobs.edit([Edit(before=ended, spec=ended.spec, requeue=True)], actor="ada", now=at)
        assert [fail(at + SLOT + since), fail(at + 2 * SLOT + since)] == [State.QUEUED, State.FAILED]


def test_a_requeued_job_that_starts_late_has_missed_its_limit_though_it_had_started_in_time_before(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path)
    job = bench.add(60, exit_code=3, max_delay=SLOT, start_now=True)
    bench.run(1)
    again = bench.edit(job, requeue=True, start_now=True, max_delay=SLOT)
    assert not bench.store.jobs.job(job.id).deadline_missed
    late = again.queued_since + 3 * SLOT
    run = bench.store.runs.claim(job.id, [], reason=WHY, now=late)
    assert run is not None
    bench.store.runs.confirm(run.id, started_at=late, log=None, now=late)
    assert bench.store.jobs.job(job.id).deadline_missed


def test_launches_that_failed_before_a_requeue_do_not_count_after_it(tmp_path: Path) -> None:
    """The first time it is given up after three; once more requeued, it is tried three times again."""
    bench = Bench(tmp_path)
    bench.world.refusals = [ExecutorError("no room for the run's folder")] * 5
    job = bench.add(start_now=True)
    bench.run(1)
    assert (bench.store.jobs.job(job.id).state, len(bench.world.refusals)) == (State.FAILED, 2)
    bench.edit(job, requeue=True)
    bench.run(4)
    assert bench.store.jobs.job(job.id).state is State.SUCCEEDED


def test_limits_of_a_requeued_job_count_from_its_requeue(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.add(600, exit_code=3, max_delay=SLOT, start_now=True)
    bench.run(5)
    again = bench.edit(job, requeue=True, start_now=False, max_delay=2 * SLOT)
    assert again.latest_start(SLOT) == T0 + 7 * SLOT
    bench.engine.tick(bench.world.now)
    assert bench.start(job) == 6
    bench.run(8)
    assert not bench.store.jobs.job(job.id).deadline_missed


def test_a_cancelled_job_that_never_ran_can_be_requeued_and_a_restart_keeps_that(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.add(600, start_after=T0 + 4 * SLOT)
    bench.store.jobs.intend(Intent.CANCEL, [job.id], actor="ada", now=T0)
    bench.run(0.5)
    assert bench.store.jobs.job(job.id).state is State.CANCELLED
    again = bench.edit(job, requeue=True)
    bench.store.close()
    assert open_store(tmp_path).jobs.job(job.id) == again
    assert not again.cancel_requested


def test_whoever_wants_a_job_started_now_does_not_wait_for_its_pause(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    job = bench.add(1, exit_code=3, start_now=True, retries=9)
    for _ in range(4):
        bench.run_for(timedelta(seconds=2))
        paused = bench.store.jobs.job(job.id)
        assert paused.retry_at is not None
        bench.store.jobs.intend(Intent.START_NOW, [job.id], actor="ada", now=bench.world.now)
    bench.run_for(timedelta(seconds=2))
    assert len(bench.store.runs.of_jobs([job.id])[job.id]) == 5
    assert bench.world.now < T0 + timedelta(seconds=20)


@pytest.mark.parametrize("requeue", [False, True])
def test_the_memory_of_simulations_and_the_database_keep_the_same(tmp_path: Path, requeue: bool) -> None:
    made: list[Job] = []
    stores: list[Callable[[], Store | MemoryStore]] = [lambda: open_store(tmp_path), MemoryStore]
    for open_one in stores:
        store = open_one()
        job = store.jobs.add_job(spec(60), user="ada", uid=1, now=T0)[0]
        if requeue:
            run = store.runs.claim(job.id, [], reason=WHY, now=T0)
            assert run is not None
            store.runs.close_run(
                run.id, outcome=Outcome.FAILED, exit_code=1, started_at=T0, ended_at=T0 + SLOT, log=None,
                job_state=State.FAILED, reason=WHY, now=T0 + SLOT,
            )  # fmt: skip
        before = store.jobs.job(job.id)
        wanted: JobSpec = replace(before.spec, priority=9, name="new")
        made += store.jobs.edit([Edit(before=before, spec=wanted, requeue=requeue)], actor="ada", now=T0 + 2 * SLOT)
        assert store.jobs.unfinished()[job.id] == made[-1]
    assert made[0] == made[1]
