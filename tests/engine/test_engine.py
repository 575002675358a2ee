"""The engine brings the world from submission to settled books, and no crash, phase or restart changes the outcome."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import DeviceBusy, ExecutorError, StorageFull
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.runs.status import EndedBy
from greenrun.core.jobs.trail import EventKind
from greenrun.core.jobs.transitions import Intent
from greenrun.core.planning.model import Options
from greenrun.core.units import emissions_g
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

DAY = [300, 300, 100, 300, 200, 300, 50, 300, 300, 300]
END = T0 + 10 * SLOT


def test_a_job_waits_for_the_clean_window_runs_once_and_its_grams_settle(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    job, _ = store.jobs.add_job(spec(1800, max_delay=4 * SLOT), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    (run,) = store.runs.of_jobs([job.id])[job.id]
    books = store.books.run_totals([run.id])[run.id]
    assert (run.started_at, run.ended_at, run.outcome) == (T0 + 2 * SLOT, T0 + 3 * SLOT, Outcome.SUCCEEDED)
    assert store.jobs.job(job.id).state is State.SUCCEEDED
    assert books.energy_j == pytest.approx(350 * 1800, rel=1e-9)
    assert books.settled_g == pytest.approx(emissions_g(350 * 1800, 100), rel=1e-9)
    assert books.emissions_g == pytest.approx(books.settled_g, rel=1e-9)


def test_all_energy_is_some_runs_or_nobodys(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    for seconds in (900, 2700, 5400):
        store.jobs.add_job(spec(seconds, max_delay=3 * SLOT), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    booked = sum(entry.slice.energy_j or 0.0 for entry in store.books.entries(limit=10_000))
    hours = (END - T0).total_seconds()
    expected = 2 * 60.0 * hours + 290.0 * (900 + 2700 + 5400)
    assert booked == pytest.approx(expected, rel=1e-9)


def test_a_failing_job_fails_with_its_code_and_retries_only_as_often_as_allowed(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    once, _ = store.jobs.add_job(spec(60, exit_code=3, start_now=True), user="ada", uid=1, now=T0)
    thrice, _ = store.jobs.add_job(spec(60, exit_code=4, start_now=True, retries=2), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert [run.exit_code for run in store.runs.of_jobs([once.id])[once.id]] == [3]
    assert [run.exit_code for run in store.runs.of_jobs([thrice.id])[thrice.id]] == [4, 4, 4]
    assert store.jobs.job(thrice.id).state is State.FAILED
    assert store.jobs.job(once.id).reason.code is ReasonCode.EXIT_CODE  # type: ignore[union-attr]


def test_a_queued_job_is_cancelled_and_a_running_one_is_stopped_first(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    engine = new_engine(world, store, world.meter())
    running, _ = store.jobs.add_job(spec(7200, start_now=True), user="ada", uid=1, now=T0)
    waiting, _ = store.jobs.add_job(spec(1800, max_delay=6 * SLOT), user="ada", uid=1, now=T0)
    run_until(world, engine, T0 + timedelta(minutes=20))
    for job in (running, waiting):
        store.jobs.intend(Intent.CANCEL, [job.id], actor="ada", now=world.now)
    run_until(world, engine, T0 + SLOT)
    assert [store.jobs.job(job.id).state for job in (running, waiting)] == [State.CANCELLED, State.CANCELLED]
    (run,) = store.runs.of_jobs([running.id])[running.id]
    assert (run.outcome, run.exit_code) == (Outcome.CANCELLED, 143)
    assert next(iter(world.processes.values())).ended_by is EndedBy.STOP


def test_an_unreachable_executor_relaunches_nothing_and_loses_nothing(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    engine = new_engine(world, store, world.meter())
    job, _ = store.jobs.add_job(spec(3600, start_now=True), user="ada", uid=1, now=T0)
    run_until(world, engine, T0 + timedelta(minutes=20))
    world.unreachable = True
    run_until(world, engine, T0 + 4 * SLOT)
    assert store.jobs.job(job.id).reason.code is ReasonCode.UNREACHABLE  # type: ignore[union-attr]
    world.unreachable = False
    run_until(world, engine, END)
    (run,) = store.runs.of_jobs([job.id])[job.id]
    assert (world.launches, run.outcome) == ([job.id], Outcome.SUCCEEDED)
    assert store.books.run_totals([run.id])[run.id].energy_j == pytest.approx(350 * 3600, rel=1e-9)


def test_without_a_forecast_jobs_start_at_once_and_emissions_stay_unknown_until_measured(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.provider_down = True
    job, _ = store.jobs.add_job(spec(1200, max_delay=4 * SLOT), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), T0 + timedelta(minutes=25))
    (run,) = store.runs.of_jobs([job.id])[job.id]
    assert run.started_at == T0
    assert store.books.run_totals([run.id])[run.id].emissions_g is None
    run_until(world, new_engine(world, store, world.meter()), END)
    assert store.books.run_totals([run.id])[run.id].settled_g == pytest.approx(emissions_g(350 * 1200, 300), rel=1e-9)


def test_a_job_that_asked_not_to_start_late_expires(tmp_path: Path) -> None:
    world, store = World(DAY, gpus=1), open_store(tmp_path)
    store.jobs.add_job(spec(4 * 1800, start_now=True), user="ada", uid=1, now=T0)
    impatient, _ = store.jobs.add_job(spec(1800, max_delay=SLOT, expire=True), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert store.jobs.job(impatient.id).state is State.EXPIRED


def test_a_claim_left_by_a_crash_is_taken_back_before_the_job_starts_again(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    job, _ = store.jobs.add_job(spec(600, start_now=True), user="ada", uid=1, now=T0)
    run = store.runs.claim(job.id, [world.devices[0].id], reason=_because(), now=T0)
    assert run is not None
    run_until(world, new_engine(world, store, world.meter()), END)
    first, second = store.runs.of_jobs([job.id])[job.id]
    world.start(first, store.jobs.job(job.id))  # the old supervisor comes up late
    assert (first.outcome, second.outcome) == (Outcome.FAILED_TO_START, Outcome.SUCCEEDED)
    assert world.launches == [job.id]


def _because():  # type: ignore[no-untyped-def]
    from greenrun.core.jobs.reasons import because

    return because(ReasonCode.ASKED_NOW)


def test_start_now_overrides_a_start_after(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    job, _ = store.jobs.add_job(spec(600, start_after=T0 + 6 * SLOT), user="ada", uid=1, now=T0)
    store.jobs.intend(Intent.START_NOW, [job.id], actor="ada", now=T0)
    run_until(world, new_engine(world, store, world.meter()), T0 + SLOT)
    assert store.runs.of_jobs([job.id])[job.id][0].started_at == T0


def test_a_busy_gpu_is_tried_again_with_patience_and_fails_no_job(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.refusals = [DeviceBusy("held by somebody", "gpu")] * 5
    job, _ = store.jobs.add_job(spec(600, start_now=True), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert (store.jobs.job(job.id).state, world.launches) == (State.SUCCEEDED, [job.id])


def test_a_launch_that_keeps_failing_gives_its_job_up_with_the_cause(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.refusals = [ExecutorError("no room for the run's folder")] * 9
    job, _ = store.jobs.add_job(spec(600, start_now=True), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert (store.jobs.job(job.id).state, len(world.refusals)) == (State.FAILED, 6)
    assert "no room" in store.jobs.job(job.id).reason.text  # type: ignore[union-attr]


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(days=400)])
def test_a_pause_after_a_failure_does_not_last_as_long_as_the_clock_was_ahead(tmp_path: Path, ahead: timedelta) -> None:
    world, store = World(DAY), open_store(tmp_path)
    job, _ = store.jobs.add_job(spec(60, exit_code=4, start_now=True, retries=1), user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    for late in (timedelta(0), timedelta(minutes=1)):
        world.now = T0 + ahead + late
        engine.tick(world.now)
    paused = store.jobs.job(job.id)
    assert paused.reason is not None
    assert (paused.state, paused.reason.code) == (State.QUEUED, ReasonCode.RETRY_PAUSE)
    world.now = T0 + timedelta(minutes=2)
    run_until(world, engine, T0 + timedelta(minutes=4))
    assert (store.jobs.job(job.id).state, len(store.runs.of_jobs([job.id])[job.id])) == (State.FAILED, 2)


def test_a_launch_that_failed_after_it_spawned_is_adopted_and_not_started_again(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    world.late_refusals = 1
    job, _ = store.jobs.add_job(spec(600, start_now=True), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), END)
    assert (store.jobs.job(job.id).state, world.launches) == (State.SUCCEEDED, [job.id])


def test_a_run_on_a_gpu_that_is_no_longer_told_of_keeps_no_other_one_busy(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    first, _ = store.jobs.add_job(spec(7200, start_now=True), user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), T0 + timedelta(minutes=5))
    held = store.runs.of_jobs([first.id])[first.id][0].devices
    world.devices = tuple(device for device in world.devices if device.id not in held)
    second, _ = store.jobs.add_job(spec(600, start_now=True), user="ada", uid=1, now=world.now)
    run_until(world, new_engine(world, store, world.meter()), T0 + SLOT)
    assert store.jobs.job(second.id).state is State.SUCCEEDED


def test_a_plan_that_was_made_to_be_shown_is_stored_by_the_next_tick_with_its_reasons(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + timedelta(minutes=1))
    job, _ = store.jobs.add_job(spec(1800, max_delay=4 * SLOT), user="ada", uid=1, now=world.now)
    engine.planning.replan(engine.situation(world.now))
    shown = engine.plan
    assert store.jobs.job(job.id).reason is None
    engine.tick(world.now)
    assert engine.plan is shown
    assert store.plans.last_plan() == shown
    assert store.jobs.job(job.id).reason == shown.reason(job.id)


def test_a_plan_that_could_not_be_stored_is_stored_by_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, store = World(DAY), open_store(tmp_path)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + timedelta(minutes=1))
    job, _ = store.jobs.add_job(spec(1800, max_delay=4 * SLOT), user="ada", uid=1, now=world.now)

    def full(*_: object, **__: object) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(store.plans, "save_plan", full)
        with pytest.raises(StorageFull):
            engine.tick(world.now)
    engine.tick(world.now)
    assert store.plans.last_plan() == engine.plan
    assert engine.plan.placement(job.id) is not None


@pytest.mark.parametrize("is_held", [False, True])
def test_nothing_is_planned_anew_while_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    """Also not with the forecast as it comes, nor while somebody else holds a GPU."""
    world, store, second = World(DAY), open_store(tmp_path), timedelta(seconds=1)
    if is_held:
        monkeypatch.setattr(world, "held_elsewhere", lambda devices: dict.fromkeys(devices[:1], "somebody"))
    engine = new_engine(world, store, world.meter(), options=Options())
    store.jobs.add_job(spec(1800, max_delay=4 * SLOT), user="ada", uid=1, now=T0)
    engine.refresh(T0)
    engine.tick(T0)
    made = engine.plan
    for _ in range(100):
        world.now += 5 * second
        engine.tick(world.now)
    assert engine.plan is made


def test_a_job_that_fails_at_once_is_tried_again_after_pauses_which_a_restart_keeps(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    job, _ = store.jobs.add_job(spec(1, exit_code=3, start_now=True, retries=4), user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    while (stored := store.jobs.job(job.id)).state is not State.FAILED:
        if stored.reason and stored.reason.code is ReasonCode.RETRY_PAUSE:
            store.close()
            store = open_store(tmp_path)
            engine = new_engine(world, store, world.meter())
        run_until(world, engine, world.now + timedelta(seconds=2))
        plan = engine.plan.reason(job.id)
        assert store.jobs.job(job.id).state is not State.QUEUED or (plan and plan.code is ReasonCode.RETRY_PAUSE)
    starts = [event.detail for event in store.jobs.events(job.id) if event.kind == "claimed"]
    assert [detail["reason"] for detail in starts] == ["asked_now", *["retrying"] * 4]
    runs = store.runs.of_jobs([job.id])[job.id]
    pauses = [later.started_at - run.ended_at for run, later in pairwise(runs)]  # type: ignore[operator]
    assert [round(pause / timedelta(seconds=10)) for pause in pauses] == [1, 2, 4, 8]
    assert all(pause % timedelta(seconds=10) < timedelta(seconds=5) for pause in pauses)


def test_a_job_that_never_starts_misses_its_limit_when_that_passes_and_is_counted_once(tmp_path: Path) -> None:
    """It asks for more GPUs than there are, so nothing would ever look at its limit again."""
    with open_store(tmp_path) as store:
        world = World([300] * 20, gpus=1)
        job, _ = store.jobs.add_job(spec(600, gpus=2, max_delay=timedelta(hours=1)), user="ada", uid=1, now=T0)
        engine = new_engine(world, store, world.meter())
        missed = []
        for minutes in (50, 70, 180):
            run_until(world, engine, T0 + timedelta(minutes=minutes))
            missed.append(store.books.counters().get(("greenrun_deadlines_missed_total", ()), 0))
        assert missed == [0, 1, 1]
        assert store.jobs.job(job.id).state is State.QUEUED


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({"finish_by": T0 + timedelta(minutes=20)}, timedelta(minutes=20)),
        ({"max_delay": timedelta(minutes=20), "interruptible": True}, timedelta(minutes=30)),
        ({"max_delay": timedelta(minutes=20)}, None),
        ({}, None),
    ],
    ids=["finish-by", "interruptible", "started in time", "without"],
)
def test_a_run_misses_its_limit_when_that_passes_and_not_when_it_ends(
    more: dict[str, Any], limit: timedelta | None, tmp_path: Path
) -> None:
    """It takes an hour where ten minutes were said, and is counted once."""
    with open_store(tmp_path) as store:
        world = World([300] * 20, gpus=1)
        slow = spec(3600, duration=timedelta(minutes=10), start_now=True, **more)
        job, _ = store.jobs.add_job(slow, user="ada", uid=1, now=T0)
        engine, told = new_engine(world, store, world.meter()), []
        for minutes in (40, 180):
            run_until(world, engine, T0 + timedelta(minutes=minutes))
            missed = [event.at - T0 for event in store.jobs.events(job.id) if event.kind == EventKind.LIMIT_MISSED]
            told.append([round(at / timedelta(seconds=1)) for at in missed])
        assert told == [[] if limit is None else [limit.total_seconds() + 1]] * 2
        assert store.jobs.job(job.id).state is State.SUCCEEDED
        counted = store.books.counters().get(("greenrun_deadlines_missed_total", ()), 0)
        assert counted == (limit is not None)
