"""An interruptible job is suspended and continued by the plan, and no crash on the way loses or repeats any of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import Job, Outcome, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.runs.status import EndedBy
from greenrun.core.jobs.transitions import Intent
from greenrun.core.planning.capacity import pools_of
from greenrun.core.planning.model import Placement, Plan, Situation
from greenrun.engine.engine import Engine
from greenrun.store import Store
from tests.engine.crashes import IN_CHUNKS, Crash, Fuse, Fused, points
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

DAY = [100, 100, 300, 300, 100, 100, 100, 100]
END = T0 + 8 * SLOT
SHORT_END = T0 + 3 * SLOT
MINUTE = timedelta(minutes=1)
CLEAN = ((T0, T0 + 2 * SLOT), (T0 + 4 * SLOT, END))
WORK_S = 5400
COST = 5 * MINUTE
SAVES = MINUTE
WHY = because(ReasonCode.ASKED_NOW)

Planner = Callable[[Situation], Plan]


def within(*windows: tuple[datetime, datetime]) -> Planner:
    """A planner that lets interruptible jobs run in these windows only, and all others at once."""

    def plan(situation: Situation) -> Plan:
        jobs = [*(row.job for row in situation.running), *situation.jobs]
        pools = {job.id: pool.name for job in jobs for pool in pools_of(situation) if pool.suits(job)}
        placed = [
            replace(placement, pool=pools[job.id])
            for job in jobs
            if job.id in pools and (placement := _placed(job, situation.now))
        ]
        return Plan(made_at=situation.now, placements=tuple(sorted(placed, key=lambda row: row.start)))

    def _placed(job: Job, now: datetime) -> Placement | None:
        pieces = [(max(start, now), end) for start, end in windows if end > now] if job.spec.interruptible else []
        pieces = pieces or [(now, now + SLOT)]
        return Placement(
            job_id=job.id, start=pieces[0][0], end=pieces[-1][1], gpus=job.spec.gpus, reason=WHY, pieces=tuple(pieces),
            intensity_g_per_kwh=100.0, start_now_g_per_kwh=200.0,
        )  # fmt: skip

    return plan


def watched(seen: list[Situation]) -> Planner:
    """The planner of the clean windows, its situations kept."""

    def plan(situation: Situation) -> Plan:
        seen.append(situation)
        return within(*CLEAN)(situation)

    return plan


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Planner], None]:
    return lambda planner: monkeypatch.setattr("greenrun.engine.planning.plan", planner)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def add(store: Store, seconds: float = WORK_S, **more: Any) -> int:
    """Store an interruptible job."""
    own = {"interruptible": True, "restart_cost": COST, "min_run": 10 * MINUTE, "grace": 2 * MINUTE, **more}
    return store.jobs.add_job(spec(seconds, **own), user="ada", uid=1, now=T0)[0].id


def outcomes(store: Store, job: int) -> list[Outcome | None]:
    """The outcomes of a job's runs."""
    return [run.outcome for run in store.runs.of_jobs([job])[job]]


def started(world: World, store: Store, **settings: Any) -> Engine:
    """An engine that has brought the world to five minutes after the beginning."""
    engine = new_engine(world, store, world.meter(), **settings)
    run_until(world, engine, T0 + 5 * MINUTE)
    return engine


def test_a_job_is_suspended_over_the_dirty_hours_and_continued_where_it_was(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store)
    run_until(world, new_engine(world, store, world.meter()), END)
    first, second = store.runs.of_jobs([job])[job]
    suspended = T0 + 2 * SLOT
    assert (first.started_at, first.ended_at, first.exit_code) == (T0, suspended + SAVES, 85)
    left = timedelta(seconds=WORK_S) - (2 * SLOT + SAVES)
    assert (second.started_at, second.ended_at) == (T0 + 4 * SLOT, T0 + 4 * SLOT + left + COST)
    assert (outcomes(store, job), store.jobs.job(job).state) == (
        [Outcome.CHECKPOINTED, Outcome.SUCCEEDED], State.SUCCEEDED,
    )  # fmt: skip
    assert store.jobs.job(job).progress == 2 * SLOT + SAVES
    totals = store.books.run_totals([first.id, second.id])
    assert sum(total.energy_j or 0.0 for total in totals.values()) == pytest.approx(world.true_energy_j(job), rel=1e-9)
    texts = [str(event.detail) for event in store.jobs.events(job)]
    assert any("suspended" in text for text in texts)


def test_the_progress_of_a_continued_run_is_its_length_less_the_restart(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within((T0, T0 + SLOT), (T0 + 2 * SLOT, T0 + 3 * SLOT), (T0 + 4 * SLOT, END)))
    world, job = World(DAY), add(store)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert outcomes(store, job) == [Outcome.CHECKPOINTED, Outcome.CHECKPOINTED, Outcome.SUCCEEDED]
    assert store.jobs.job(job).progress == SLOT + SAVES + (SLOT + SAVES - COST)


def test_the_gpus_of_a_suspending_run_stay_its_own_until_it_has_ended(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY, gpus=1, saves_for=10 * MINUTE), add(store)
    other = add(store, 600, interruptible=False, gpus=1)
    run_until(world, new_engine(world, store, world.meter()), END, step=5 * MINUTE)
    (behind,) = store.runs.of_jobs([other])[other]
    assert behind.started_at == store.runs.of_jobs([job])[job][0].ended_at == T0 + 2 * SLOT + 10 * MINUTE


def test_a_running_job_that_the_plan_does_not_mention_goes_on(store: Store, planned: Callable[[Planner], None]) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store)
    engine = started(world, store)
    planned(lambda situation: Plan(made_at=situation.now))
    run_until(world, engine, END)
    assert outcomes(store, job) == [Outcome.SUCCEEDED]


def test_a_job_that_is_not_interruptible_is_never_asked(store: Store, planned: Callable[[Planner], None]) -> None:
    seen: list[Situation] = []
    planned(watched(seen))
    world, job = World(DAY), add(store, interruptible=False)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert outcomes(store, job) == [Outcome.SUCCEEDED]
    assert {situation.running for situation in seen} == {()}
    assert any(situation.busy for situation in seen)


def test_the_situation_tells_the_running_job_apart_and_a_suspending_one_as_busy(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    seen: list[Situation] = []
    planned(watched(seen))
    world, job = World(DAY), add(store)
    run_until(world, new_engine(world, store, world.meter()), T0 + 2 * SLOT + 2 * SAVES, step=SAVES / 2)
    at = {situation.now: situation for situation in seen}
    (row,) = at[T0 + SLOT].running
    (run, *_) = store.runs.of_jobs([job])[job]
    assert (row.job.id, row.devices, row.since, at[T0 + SLOT].busy) == (job, run.devices, T0, {})
    during = T0 + 2 * SLOT + SAVES / 2
    assert (at[during].running, at[during].busy) == ((), {run.devices[0]: during + 2 * MINUTE})


def test_a_job_runs_for_its_min_run_before_it_is_suspended(store: Store, planned: Callable[[Planner], None]) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store, min_run=75 * MINUTE)
    run_until(world, new_engine(world, store, world.meter()), END, step=5 * MINUTE)
    assert store.runs.of_jobs([job])[job][0].ended_at == T0 + 75 * MINUTE + SAVES


def test_a_drained_daemon_suspends_nothing(store: Store, planned: Callable[[Planner], None]) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store)
    engine = started(world, store)
    engine.draining = True
    run_until(world, engine, END)
    assert outcomes(store, job) == [Outcome.SUCCEEDED]


def test_a_checkpoint_that_cannot_be_asked_for_is_asked_for_again(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store)
    engine = started(world, store)
    world.refusals = [ExecutorError("its shim is far away")]
    run_until(world, engine, END, step=5 * MINUTE)
    assert store.runs.of_jobs([job])[job][0].ended_at == T0 + 2 * SLOT + 5 * MINUTE + SAVES
    assert store.jobs.job(job).state is State.SUCCEEDED


def test_a_job_that_finishes_while_it_is_asked_to_checkpoint_has_succeeded(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store, 3630)
    run_until(world, new_engine(world, store, world.meter()), END)
    (run,) = store.runs.of_jobs([job])[job]
    assert (run.outcome, run.ended_at, store.jobs.job(job).state) == (
        Outcome.SUCCEEDED, T0 + timedelta(seconds=3630), State.SUCCEEDED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ((137, EndedBy.CHECKPOINT_GRACE), "did not end within its grace of 2m"),
        ((138, EndedBy.CHECKPOINT), "ended with exit code 138, which probably means"),
        ((3, EndedBy.CHECKPOINT), "ended with exit code 3"),
    ],
)
def test_a_checkpoint_that_fails_is_a_failure_that_says_so_and_no_progress(
    store: Store, planned: Callable[[Planner], None], end: tuple[int, EndedBy], words: str
) -> None:
    planned(within(*CLEAN))
    world, once, again = World(DAY, checkpoints_as=end), add(store), add(store, retries=1)
    run_until(world, new_engine(world, store, world.meter()), END)
    failed = store.jobs.job(once)
    assert failed.reason is not None
    assert (failed.state, failed.reason.code, outcomes(store, once)) == (
        State.FAILED, ReasonCode.CHECKPOINT_FAILED, [Outcome.FAILED],
    )  # fmt: skip
    assert words in failed.reason.text
    assert outcomes(store, again) == [Outcome.FAILED, Outcome.SUCCEEDED]
    assert (failed.progress, store.jobs.job(again).progress) == (timedelta(0), timedelta(0))
    assert store.runs.of_jobs([again])[again][1].started_at == T0 + 4 * SLOT


def test_a_job_that_checkpoints_of_its_own_accord_is_continued_as_often_as_it_gets_on(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within((T0, END)))
    world, job = World(DAY), add(store, 1200, exit_code=85, retries=0)
    run_until(world, new_engine(world, store, world.meter()), T0 + 4 * SLOT)
    assert outcomes(store, job)[:4] == [Outcome.CHECKPOINTED] * 4
    assert store.jobs.job(job).state in {State.RUNNING, State.STARTING}


def test_a_job_whose_checkpoints_get_it_nowhere_is_given_up(store: Store, planned: Callable[[Planner], None]) -> None:
    planned(within((T0, END)))
    world, job = World(DAY), add(store, 240, exit_code=85, retries=5)
    run_until(world, new_engine(world, store, world.meter()), END)
    ended = store.jobs.job(job)
    assert ended.reason is not None
    assert (ended.state, ended.reason.code, len(outcomes(store, job))) == (State.FAILED, ReasonCode.NO_PROGRESS, 3)


def test_a_job_that_asked_not_to_start_late_is_finished_all_the_same_once_it_has_begun(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within(*CLEAN))
    world, job = World(DAY), add(store, max_delay=MINUTE, expire=True)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert outcomes(store, job) == [Outcome.CHECKPOINTED, Outcome.SUCCEEDED]


def test_a_job_that_is_cancelled_while_it_checkpoints_is_cancelled(
    store: Store, planned: Callable[[Planner], None]
) -> None:
    planned(within(*CLEAN))
    world, stopped, saved = World(DAY, saves_for=10 * MINUTE), add(store), add(store)
    engine = started(world, store)
    run_until(world, engine, T0 + 2 * SLOT + MINUTE)
    store.jobs.intend(Intent.CANCEL, [stopped], actor="ada", now=world.now)
    run_until(world, engine, T0 + 2 * SLOT + 10 * MINUTE - timedelta(seconds=1))
    store.jobs.intend(Intent.CANCEL, [saved], actor="ada", now=world.now)
    world.now += timedelta(seconds=1)
    run_until(world, engine, END)
    assert [store.jobs.job(job).state for job in (stopped, saved)] == [State.CANCELLED] * 2
    assert [outcomes(store, job) for job in (stopped, saved)] == [[Outcome.CANCELLED]] * 2


# crashes


def _live_through(world: World, store: Store, fuse: Fuse) -> None:
    """Live the day, with a new engine whenever the fuse blows."""
    meter, engine = world.meter(), None
    while world.now <= SHORT_END:
        try:
            engine = engine or new_engine(world, store, meter, wrap=lambda port, _: Fused(port, fuse), tick=SLOT)
            engine.refresh(world.now)
            later = engine.tick(world.now)
        except Crash:
            engine = None
            continue
        world.now = min(later, world.now + SLOT)


def _facts(world: World, store: Store, job: int) -> list[object]:
    runs = [run for run in store.runs.of_jobs([job])[job] if run.started_at]
    times = [(run.started_at, run.ended_at, run.outcome, run.exit_code) for run in runs]
    totals = store.books.run_totals([run.id for run in runs]).values()
    energy_j = round(sum(total.energy_j or 0.0 for total in totals), 3)
    return [world.launches, times, store.jobs.job(job).state, store.jobs.job(job).progress, energy_j]


def _crashing_day(folder: Path, fuse: Fuse) -> list[object]:
    """Live a day with a suspension, and return what must not depend on a crash."""
    world = World(DAY)
    with pytest.MonkeyPatch.context() as patch, open_store(folder, f"{fuse.at}.db") as store:
        patch.setattr("greenrun.engine.planning.plan", within((T0, T0 + SLOT), (T0 + 2 * SLOT, SHORT_END)))
        job = add(store, 2400)
        _live_through(world, store, fuse)
        return _facts(world, store, job)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], int]:
    """The facts of the calm day, and its port calls."""
    fuse = Fuse()
    return _crashing_day(tmp_path_factory.mktemp("calm"), fuse), fuse.calls


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@IN_CHUNKS
def test_a_crash_at_any_port_call_of_a_day_with_a_suspension_changes_nothing(
    chunk: int, after: bool, tmp_path: Path, calm: tuple[list[object], int]
) -> None:
    expected, calls = calm
    assert expected[2:4] == [State.SUCCEEDED, SLOT + SAVES]
    chosen = points(calls, f"suspension, after {after}", chunk)
    wrong = {at: got for at in chosen if (got := _crashing_day(tmp_path, Fuse(at=at, after=after))) != expected}
    assert wrong == {}, expected


@pytest.mark.parametrize(("gpus", "left"), [(2, 0), (2, 1), (1, 0)])
def test_a_job_whose_gpus_are_no_longer_told_of_goes_on_and_the_others_are_still_planned(
    store: Store, gpus: int, left: int
) -> None:
    world, job = World(DAY), add(store, gpus=gpus, start_now=True)
    engine = started(world, store)
    world.devices = world.devices[:left]
    other = store.jobs.add_job(spec(60, gpus=0, start_now=True), user="ada", uid=1, now=world.now)[0].id
    run_until(world, engine, T0 + SLOT)
    assert [store.jobs.job(each).state for each in (job, other)] == [State.RUNNING, State.SUCCEEDED]


def test_a_job_without_gpus_goes_on_when_there_are_no_cpu_slots_any_more(store: Store) -> None:
    world, job = World(DAY), add(store, gpus=0, start_now=True)
    started(world, store)
    other = add(store, seconds=60, start_now=True, restart_cost=timedelta(0))
    run_until(world, new_engine(world, store, world.meter(), cpu_slots=0), T0 + SLOT)
    assert [store.jobs.job(each).state for each in (job, other)] == [State.RUNNING, State.SUCCEEDED]
