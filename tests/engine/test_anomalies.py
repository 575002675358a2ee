"""What the daemon notices in runs: work that is kept, anomalies that are noted once, and jobs stopped on request."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.jobs.job import Anomaly, Job, Outcome, Run, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode, Limits
from greenrun.core.jobs.runs.occupancy import Observed
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.engine.anomalies import AnomalyDetector
from greenrun.engine.engine import Engine
from greenrun.engine.progress import WorkDone
from greenrun.store import Store
from tests.engine.crashes import IN_CHUNKS, Crash, Fuse, Fused, copy_of, points
from tests.store.examples import NOW, after, close, running
from tests.world import T0, World, new_engine, run_until, spec

MINUTE = timedelta(minutes=1)
COUNTED = ("greenrun_anomalies_total", (("rule", "stuck"),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of its own."""
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


# work


def says(run: Run, work: float | None, *, phase: Phase = Phase.RUNNING, unit: str = "samples", **more: Any) -> Observed:
    """A run of which its executor says so."""
    return Observed(run=run, status=RunStatus(phase=phase, work=work, work_unit=unit, **more))


def kept(store: Store, run: Run) -> float | None:
    """The work that the store has of a run."""
    return store.runs.of_jobs([run.job_id])[run.job_id][0].work


def ignored(store: Store, run: Run) -> list[object]:
    """Why what a run said was ignored."""
    return [event.detail["text"] for event in store.jobs.events(run.job_id) if event.kind == "work_ignored"]


def test_work_is_kept_at_once_then_every_half_minute_and_when_the_run_has_ended(store: Store) -> None:
    run, done = running(store), WorkDone(store.runs)
    seen = []
    for seconds, work, phase in ((0, 1.0, Phase.RUNNING), (10, 2.0, Phase.RUNNING), (30, 3.0, Phase.RUNNING)):
        done.take([says(run, work, phase=phase, work_at=after(seconds))], after(seconds))
        seen.append(kept(store, run))
    done.take([says(run, 4.0, phase=Phase.EXITED)], after(31))
    found = store.runs.of_jobs([run.job_id])[run.job_id][0]
    assert (seen, found.work, found.work_unit, found.work_at) == ([1.0, 1.0, 3.0], 4.0, "samples", after(31))


def test_what_goes_back_or_changes_its_unit_is_ignored_and_said_once(store: Store) -> None:
    run, done = running(store), WorkDone(store.runs)
    for seconds, work, unit in ((0, 5.0, "samples"), (40, 4.0, "samples"), (80, 9.0, "tokens"), (120, 6.0, "samples")):
        done.take([says(run, work, unit=unit)], after(seconds))
    assert (kept(store, run), ignored(store, run)) == (6.0, ["it went back from 5 to 4"])


def test_garbage_is_said_once_whatever_becomes_of_the_daemon_and_the_last_good_word_stands(store: Store) -> None:
    run = running(store)
    WorkDone(store.runs).take([says(run, 5.0)], after(0))
    for _ in range(2):
        done = WorkDone(store.runs)
        for seconds in (10, 20):
            done.take([says(run, None, work_fault="its work is not a number")], after(seconds))
    assert (kept(store, run), ignored(store, run)) == (5.0, ["its work is not a number"])


def test_a_run_that_has_ended_is_not_kept_in_mind(store: Store) -> None:
    run, done = running(store), WorkDone(store.runs)
    done.take([says(run, 5.0)], after(0))
    assert list(done.progress) == [run.id]
    done.take([], after(1))
    assert done.progress == {}


def test_the_store_never_takes_less_work_than_it_has(store: Store) -> None:
    run = running(store)
    answers = [store.runs.keep_work(run.id, work=work, unit="steps", at=NOW) for work in (2.0, 2.0, 1.0, 3.0)]
    assert (answers, kept(store, run)) == ([True, False, False, True], 3.0)


def test_a_clock_set_back_makes_neither_an_interval_nor_work_wait_for_the_time_to_come_round(store: Store) -> None:
    run, done = running(store), WorkDone(store.runs)
    for seconds, work in ((7200, 1.0), (7260, 2.0), (3600, 3.0), (3601, 3.0), (3620, 4.0), (3660, 5.0)):
        done.take([says(run, work)], after(seconds))
    assert done.progress[run.id].intervals_s == (60.0, 20.0, 40.0)
    assert (done.progress[run.id].at, kept(store, run)) == (after(3660), 5.0)


# anomalies of energy


@dataclass
class Books:
    """What was booked last."""

    latest: Sequence[Slice] = ()
    idle_w: Mapping[str, float] = field(default_factory=dict)


class Minutes:
    """A anomalies that is shown one minute of a run's GPU after another."""

    def __init__(self, store: Store, run: Run, limits: Limits | None = None) -> None:
        self.store, self.run, self.books, self.minute = store, run, Books(), 0
        self.anomalies = AnomalyDetector(store, self.books, limits or Limits())

    def restart(self) -> None:
        """Go on as a daemon that has just been started."""
        self.anomalies = AnomalyDetector(self.store, self.books, Limits())

    def set_back(self, minutes: int) -> None:
        """Let the clock be set back."""
        self.minute -= minutes

    def show(self, minutes: int, *, busy: float | None = None, power_w: float = 300.0) -> None:
        """Let so many minutes pass, alike."""
        for _ in range(minutes):
            start = NOW + self.minute * MINUTE
            self.minute += 1
            self.books.latest = [
                Slice(
                    device="GPU-1", component=Component.GPU, run_id=self.run.id, start=start, end=start + MINUTE,
                    energy_j=60 * power_w, quality=Quality.MEASURED, busy_s=None if busy is None else busy * 60,
                )
            ]  # fmt: skip
            status = RunStatus(phase=Phase.RUNNING, started_at=NOW)
            self.anomalies.check([Observed(run=self.run, status=status)], start + MINUTE)
            self.books.latest = ()

    @property
    def episodes(self) -> list[tuple[Anomaly, float, float | None]]:
        """The anomalies noted, with the minutes in which they began and were over."""
        found: Sequence[AnomalyEpisode] = self.store.runs.anomalies([self.run.job_id]).get(self.run.id, ())
        return [
            (row.anomaly, (row.since - NOW) / MINUTE, None if row.until is None else (row.until - NOW) / MINUTE)
            for row in found
        ]


def test_an_idle_gpu_is_noted_when_it_begins_and_when_it_is_over_and_once_more_when_it_comes_again(
    store: Store,
) -> None:
    minutes = Minutes(store, running(store, "GPU-1"))
    for span, busy in ((20, 0.0), (5, 0.9), (14, 0.0), (1, 0.9), (15, 0.0)):
        minutes.show(span, busy=busy)
    assert minutes.episodes == [(Anomaly.GPU_IDLE, 15, 21), (Anomaly.GPU_IDLE, 55, None)]
    assert minutes.anomalies.ongoing == {Anomaly.GPU_IDLE: 1}
    assert store.books.counters()["greenrun_anomalies_total", (("rule", "gpu_idle"),)] == 2


def test_a_restart_forgets_the_evidence_and_counts_what_goes_on_no_second_time(store: Store) -> None:
    minutes = Minutes(store, running(store, "GPU-1"))
    minutes.show(16, busy=0.0)
    minutes.restart()
    minutes.anomalies.check([Observed(run=minutes.run, status=RunStatus(phase=Phase.RUNNING))], after(0))
    assert minutes.anomalies.ongoing == {Anomaly.GPU_IDLE: 1}  # before there is anything new
    minutes.show(20, busy=0.0)
    assert (minutes.episodes, minutes.anomalies.ongoing) == ([(Anomaly.GPU_IDLE, 15, None)], {Anomaly.GPU_IDLE: 1})
    minutes.show(1, busy=1.0)
    assert minutes.episodes == [(Anomaly.GPU_IDLE, 15, 37)]


def test_evidence_from_before_a_restart_does_not_add_up_with_that_after_it(store: Store) -> None:
    minutes = Minutes(store, running(store, "GPU-1"))
    minutes.show(10, busy=0.0)
    minutes.restart()
    minutes.show(14, busy=0.0)
    assert minutes.episodes == []


def test_after_the_clock_was_set_back_new_evidence_counts_and_what_lies_ahead_of_it_does_not(store: Store) -> None:
    minutes = Minutes(store, running(store, "GPU-1"))
    minutes.show(70, busy=0.9)
    minutes.set_back(60)
    minutes.show(16, busy=0.0)
    minutes.show(1, busy=0.9)
    assert minutes.episodes == [(Anomaly.GPU_IDLE, 25, 27)]


def learned_from(store: Store, jobs: int, name: str = "train") -> Run:
    """A run of a job of whose name (or of one beside it) so many have finished, each drew 300 W for an hour."""
    for _ in range(jobs):
        run = running(store, "GPU-1", name=name, project="vision")
        close(store, run, ended_at=after(3602), now=after(3602))
        store.history._energies_j[run.id] = 300.0 * 3600  # what a run used is kept in memory once it was asked for
    return running(store, "GPU-1", name="train", project="vision")


def test_jobs_of_its_project_that_have_another_name_tell_nothing_of_its_power(store: Store) -> None:
    minutes = Minutes(store, learned_from(store, 3, name="evaluate"))
    minutes.show(20, power_w=100.0)
    assert minutes.episodes == []


def test_power_is_compared_with_three_finished_jobs_of_its_name_and_not_with_fewer(store: Store) -> None:
    two = Minutes(store, learned_from(store, 2))
    two.show(20, power_w=100.0)
    assert two.episodes == []
    close(store, two.run, outcome=Outcome.FAILED, job_state=State.FAILED)
    three = Minutes(store, learned_from(store, 1))
    three.show(30, power_w=100.0)
    three.show(20, power_w=300.0)
    assert three.episodes == [(Anomaly.POWER_OFF, 15, 34)]


def test_once_power_is_as_usual_again_a_full_window_passes_before_it_can_be_off_again(store: Store) -> None:
    minutes = Minutes(store, learned_from(store, 3))
    for span, power_w in ((30, 100.0), (4, 300.0), (16, 100.0)):
        minutes.show(span, power_w=power_w)
    assert minutes.episodes == [(Anomaly.POWER_OFF, 15, 34), (Anomaly.POWER_OFF, 49, None)]


def test_what_a_stuck_run_said_last_is_stored_before_it_is_noted(store: Store) -> None:
    run, anomalies = (
        running(store),
        AnomalyDetector(store, Books(), Limits(stuck=timedelta(seconds=10), stuck_intervals=0.0)),
    )
    for seconds, work in ((0, 1.0), (5, 2.0), (16, 2.0)):
        anomalies.check([says(run, work)], after(seconds))
    assert (anomalies.ongoing, kept(store, run)) == ({Anomaly.STUCK: 1}, 2.0)


def test_a_run_that_has_ended_is_no_longer_counted(store: Store) -> None:
    minutes = Minutes(store, running(store, "GPU-1"))
    minutes.show(16, busy=0.0)
    minutes.anomalies.check([], NOW + 17 * MINUTE)
    assert minutes.anomalies.ongoing == {}


# in the loop

TWO = 2 * MINUTE  # the step of these days
LIMITS = Limits(stuck_intervals=1.0)  # the usual interval is ten minutes here, and so is the limit


def stuck_world(store: Store, **more: Any) -> tuple[World, Engine, Job]:
    """A job that runs for six hours and says after half an hour, for the last time, what it has done."""
    world = World([100.0] * 20)
    engine = new_engine(world, store, world.meter(), anomalies=LIMITS)
    job, _ = store.jobs.add_job(spec(6 * 3600, start_now=True, **more), user="ada", uid=1, now=T0)
    for minutes, work in ((10, 100.0), (20, 200.0), (30, 300.0)):
        run_until(world, engine, T0 + minutes * MINUTE, step=TWO)
        world.said[job.id] = {"work": work, "work_unit": "samples", "work_at": world.now}
    return world, engine, job


def the_run(store: Store, job: Job) -> Run:
    """The job's only run."""
    (run,) = store.runs.of_jobs([job.id])[job.id]
    return run


def is_stopped_for_it(store: Store, job: Job) -> bool:
    """Whether the job was stopped, once, and says why."""
    ended, run = store.jobs.job(job.id), the_run(store, job)
    assert ended.reason is not None
    assert ended.reason.text.startswith("stopped on stuck, as its user had asked: it has reported no new work for 1")
    assert [event.kind for event in store.jobs.events(job.id)][-3:] == ["anomaly", "cancel_requested", "finished"]
    codes = (ended.state, run.outcome, ended.reason.code, store.books.counters()[COUNTED])
    return codes == (State.CANCELLED, Outcome.CANCELLED, ReasonCode.ANOMALOUS, 1)


def test_a_job_without_new_work_is_noted_and_runs_on_unless_its_user_asked_otherwise(store: Store) -> None:
    world, engine, job = stuck_world(store)
    run_until(world, engine, T0 + 60 * MINUTE, step=TWO)
    run = the_run(store, job)
    (episode,) = store.runs.anomalies([job.id])[run.id]
    assert (episode.anomaly, episode.until) == (Anomaly.STUCK, None)
    assert 10 * MINUTE < episode.since - (T0 + 30 * MINUTE) <= 10 * MINUTE + 2 * TWO  # it is heard of a tick late
    assert (store.jobs.job(job.id).state, store.books.counters()[COUNTED], run.work) == (State.RUNNING, 1, 300.0)
    world.said[job.id]["work"] = 301.0
    run_until(world, engine, world.now + TWO, step=TWO)
    assert store.runs.anomalies([job.id])[run.id][0].until is not None
    assert engine.anomalies.ongoing == {}


def test_a_restarted_daemon_takes_the_work_it_finds_for_no_new_one(store: Store) -> None:
    world, engine, job = stuck_world(store)
    run_until(world, engine, T0 + 60 * MINUTE, step=TWO)
    run_until(world, new_engine(world, store, world.meter(), anomalies=LIMITS), T0 + 70 * MINUTE, step=TWO)
    ((_, (episode,)),) = store.runs.anomalies([job.id]).items()
    assert (episode.anomaly, episode.until) == (Anomaly.STUCK, None)


@pytest.mark.parametrize("retries", [0, 3])
def test_a_job_that_asked_for_it_is_stopped_with_the_reason_and_not_tried_again(store: Store, retries: int) -> None:
    world, engine, job = stuck_world(store, stop_on=(Anomaly.STUCK,), retries=retries)
    run_until(world, engine, T0 + 50 * MINUTE, step=TWO)
    assert is_stopped_for_it(store, job)


def test_another_anomaly_than_those_asked_for_stops_nothing(store: Store) -> None:
    world, engine, job = stuck_world(store, stop_on=(Anomaly.GPU_IDLE,))
    run_until(world, engine, T0 + 50 * MINUTE, step=TWO)
    assert (store.jobs.job(job.id).state, store.books.counters()[COUNTED]) == (State.RUNNING, 1)


def test_an_executor_that_cannot_be_reached_meanwhile_does_not_take_the_reason_away(store: Store) -> None:
    world, engine, job = stuck_world(store, stop_on=(Anomaly.STUCK,))
    real = world.stop
    world.stop = lambda run, by: None  # type: ignore[method-assign]
    run_until(world, engine, T0 + 46 * MINUTE, step=TWO)
    assert (store.jobs.job(job.id).state, store.jobs.job(job.id).cancel_requested) == (State.RUNNING, True)
    world.unreachable = True
    run_until(world, engine, T0 + 48 * MINUTE, step=TWO)
    world.unreachable, world.stop = False, real  # type: ignore[method-assign]
    run_until(world, engine, T0 + 50 * MINUTE, step=TWO)
    assert is_stopped_for_it(store, job)


@pytest.mark.slow
@pytest.mark.parametrize("after_it", [False, True], ids=["before", "after"])
@IN_CHUNKS
def test_a_crash_at_any_port_call_loses_neither_the_stop_nor_its_reason_and_counts_once(
    store: Store, chunk: int, after_it: bool, tmp_path: Path
) -> None:
    world, _, job = stuck_world(store, stop_on=(Anomaly.STUCK,))
    began = copy_of(store, tmp_path / "began.db")

    def is_right(fuse: Fuse) -> bool:
        file = tmp_path / f"{fuse.at}.db"
        file.write_bytes(began.read_bytes())
        with Store(file) as own:
            live_through(copy.deepcopy(world), own, fuse)
            return is_stopped_for_it(own, job)

    calm = Fuse()
    assert is_right(calm)
    chosen = points(calm.calls, f"stuck, after {after_it}", chunk)
    assert [at for at in chosen if not is_right(Fuse(at=at, after=after_it))] == []


def live_through(world: World, store: Store, fuse: Fuse) -> None:
    """Tick for fifty minutes with one crash on the way; each daemon begins to anomalies anew."""
    meter, engine = world.meter(), None
    while world.now < T0 + 80 * MINUTE:
        try:
            engine = engine or new_engine(world, store, meter, anomalies=LIMITS, wrap=lambda port, _: Fused(port, fuse))
            engine.tick(world.now)
        except Crash:
            engine = None
            continue
        if not store.runs.live_runs():
            return
        world.now += 5 * MINUTE


def test_anomalies_change_no_plan(tmp_path: Path) -> None:
    plans = []
    for name, limits in (("off", Limits(gpu_idle=None, power_off=None, stuck=None)), ("on", Limits(stuck=MINUTE))):
        with Store(tmp_path / f"{name}.db") as store:
            world = World([100.0, 300.0, 50.0, 200.0] * 5)
            engine = new_engine(world, store, world.meter(), anomalies=limits)
            for number in range(4):
                store.jobs.add_job(spec(3600 * (number + 1)), user="ada", uid=1, now=T0)
            world.said = {number: {"work": 1.0, "work_unit": "samples"} for number in range(1, 5)}
            run_until(world, engine, T0 + timedelta(hours=4))
            plans.append((engine.plan, world.launches, engine.planning.changes))
    assert plans[0] == plans[1]
