"""Jobs keep what their users asked for, move only by compare-and-set, and leave an event for every change."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest

from greenrun.core.errors import InvalidJob, InvalidTransition, JobNotFound
from greenrun.core.jobs.job import (
    After,
    Anomaly,
    ArrayPlace,
    Dependency,
    DurationSource,
    GpuIds,
    JobSpec,
    Notice,
    State,
)
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.jobs.transitions import TRANSITIONS, Intent
from greenrun.store import Store
from tests.store.examples import NOW, WHY, after, claim, close, intend, running, spec, submit

WAITS = Reason(ReasonCode.CLEANEST_WINDOW, "waits for the cleanest free window: 93 g/kWh")

EVERYTHING = JobSpec(
    command=("python", "train.py", "--name", "größer \udcff"),
    workdir="/home/ada",
    name="big",
    project="vision",
    gpus=2,
    gpu_model="A100",
    gpu_ids=GpuIds.INDEX,
    shared=True,
    gpu_memory_gib=37.25,
    memory_gib=32.5,
    cpus=2.5,
    io_weight=50,
    container="lab/image:1",
    duration=timedelta(hours=6, microseconds=1),
    duration_source=DurationSource.LEARNED,
    duration_note="learned from 3 finished jobs named big",
    time_limit=timedelta(hours=7),
    finish_by=datetime(2026, 11, 24, 9, tzinfo=UTC),
    max_delay=timedelta(hours=12),
    start_after=datetime(2026, 11, 23, 9, tzinfo=UTC),
    start_now=True,
    expire=True,
    priority=-3,
    power_w=612.5,
    power_note="learned from 3 finished jobs named big",
    power_cap="70%:slowdown=8%:above=p75",
    power_cap_note="by a model",
    min_saving=0.05,
    run_below_g_per_kwh=80.0,
    retries=2,
    retry_on=(75, 137),
    noted_files={"/w/a.py": "1 2 3"},
    grace=timedelta(seconds=120),
    interruptible=True,
    min_run=timedelta(minutes=20),
    restart_cost=timedelta(seconds=1.5),
    checkpoint_signal="USR2",
    checkpoint_exit_code=3,
    after=(Dependency(job_id=7), Dependency(job_id=9, on=After.ANY)),
    array=ArrayPlace(key="sweep", index=3, size=10, at_once=4),
    env={"PATH": "/bin", "A": "=1"},
    env_file="/home/ada/env",
    umask="027",
    limits={"nofile": "1024:unlimited"},
    log="/home/ada/out.log",
    unique_key="nightly",
    labels={"team": "b"},
    git_commit="3631e7b",
    stop_on=(Anomaly.GPU_IDLE, Anomaly.STUCK),
    notify=(Notice.ENDED, Notice.LATE),
)


def kinds(store: Store, job_id: int) -> list[str]:
    return [event.kind for event in store.jobs.events(job_id)]


def test_a_spec_comes_back_as_it_was_given(store: Store) -> None:
    bare = JobSpec(command=("true",), workdir="/", duration=timedelta(seconds=1))
    same = [field.name for field in fields(JobSpec) if getattr(EVERYTHING, field.name) == getattr(bare, field.name)]
    jobs = [store.jobs.add_job(each, user="ada", uid=1000, now=NOW)[0] for each in (EVERYTHING, bare)]
    assert same == []  # so that a column that is forgotten is found
    assert [store.jobs.job(job.id).spec for job in jobs] == [EVERYTHING, bare]


def test_a_new_job_is_queued_with_who_and_when(store: Store) -> None:
    job, new = store.jobs.add_job(spec(), user="ada", uid=1000, now=NOW)
    assert (job, new) == (store.jobs.job(job.id), True)
    assert (job.user, job.uid, job.state, job.submitted_at, job.reason) == ("ada", 1000, State.QUEUED, NOW, None)
    (event,) = store.jobs.events(job.id)
    assert (event.kind, event.actor, event.at) == ("submitted", "ada", NOW)
    assert store.books.counters()["greenrun_jobs_submitted_total", ()] == 1


def test_a_unique_key_of_one_user_gives_the_old_job_and_counts_nothing(store: Store) -> None:
    first, _ = store.jobs.add_job(spec(unique_key="k"), user="ada", uid=1000, now=NOW)
    again = store.jobs.add_job(spec(unique_key="k", name="other"), user="ada", uid=1000, now=after(1))
    _, other_is_new = store.jobs.add_job(spec(unique_key="k"), user="bob", uid=1001, now=after(1))
    assert again == (first, False)
    assert other_is_new
    assert store.books.counters()["greenrun_jobs_submitted_total", ()] == 2


def test_text_that_cannot_be_stored_is_refused_with_nothing_stored(store: Store) -> None:
    with pytest.raises(InvalidJob, match="was not accepted"):
        submit(store, workdir="/tmp/\udcff")
    with pytest.raises(InvalidJob, match="was not accepted"):
        submit(store, priority=2**70)
    assert store.jobs.jobs() == []
    assert store.jobs.events() == []


def test_many_jobs_are_read_together_in_the_order_asked_whether_they_have_ended_or_not(store: Store) -> None:
    ended, waiting = submit(store), submit(store)
    assert store.jobs.change_states(State.QUEUED, {ended.id: (State.CANCELLED, WHY)}, actor="ada", now=after(1))
    assert store.jobs.jobs_of([]) == []
    assert store.jobs.jobs_of([waiting.id, ended.id]) == [waiting, store.jobs.job(ended.id)]
    with pytest.raises(JobNotFound, match="no job 99"):
        store.jobs.jobs_of([ended.id, 99])


def test_an_unknown_job_is_not_found(store: Store) -> None:
    with pytest.raises(JobNotFound, match="no job 7"):
        store.jobs.job(7)
    with pytest.raises(JobNotFound):
        intend(store, Intent.HOLD, 7)


def test_jobs_are_listed_by_state_project_user_and_order(store: Store) -> None:
    first, second = submit(store), submit(store, project="vision")
    third, _ = store.jobs.add_job(spec(), user="bob", uid=1001, now=NOW)
    store.jobs.change_states(State.QUEUED, {second.id: (State.CANCELLED, WHY)}, actor="ada", now=NOW)

    def ids(*args: object, **filters: object) -> list[int]:
        return [job.id for job in store.jobs.jobs(*args, **filters)]  # type: ignore[arg-type]

    assert ids() == [first.id, second.id, third.id]
    assert ids([State.QUEUED]) == [first.id, third.id]
    assert ids([State.CANCELLED, State.FAILED]) == [second.id]
    assert ids(project="vision") == [second.id]
    assert ids(user="bob") == [third.id]
    assert ids(limit=2) == [first.id, second.id]
    assert ids(limit=2, newest_first=True) == [third.id, second.id]


def test_the_states_of_jobs_are_told_by_id_and_an_unknown_one_is_absent(store: Store) -> None:
    first, second = submit(store), submit(store)
    store.jobs.change_states(State.QUEUED, {second.id: (State.CANCELLED, WHY)}, actor="ada", now=NOW)
    states = store.jobs.job_states([first.id, second.id, 99])
    assert (states, store.jobs.job_states([])) == ({first.id: State.QUEUED, second.id: State.CANCELLED}, {})


def test_a_listed_move_happens_once(store: Store) -> None:
    job = submit(store)
    moves = [
        store.jobs.change_states(State.QUEUED, {job.id: (State.EXPIRED, WHY)}, actor="scheduler", now=after(5))
        for _ in range(2)
    ]
    job = store.jobs.job(job.id)
    assert moves == [True, False]
    assert (job.state, job.finished_at, job.reason) == (State.EXPIRED, after(5), WHY)
    assert kinds(store, job.id) == ["submitted", "finished"]
    assert store.books.counters()["greenrun_jobs_finished_total", (("outcome", "expired"),)] == 1


def test_of_moves_at_once_all_are_done_or_none(store: Store) -> None:
    run, waiting, other = running(store, "GPU-0"), submit(store), submit(store)
    ends = dict.fromkeys((waiting.id, other.id), (State.CANCELLED, WHY))
    for wrong in (run.job_id, 99):
        moves = {**ends, wrong: (State.CANCELLED, WHY)}
        assert not store.jobs.change_states(State.QUEUED, moves, actor="ada", now=NOW)
    assert [store.jobs.job(job_id).state for job_id in ends] == [State.QUEUED] * 2
    assert store.jobs.change_states(State.QUEUED, ends, actor="ada", now=NOW)
    assert [store.jobs.job(job_id).state for job_id in ends] == [State.CANCELLED] * 2
    assert store.books.counters()["greenrun_jobs_finished_total", (("outcome", "cancelled"),)] == 2


def test_an_unlisted_move_is_a_programming_error(store: Store) -> None:
    job = submit(store)
    for old, new in set(product(State, State)) - TRANSITIONS:
        with pytest.raises(InvalidTransition, match=f"cannot go from {old} to {new}"):
            store.jobs.change_states(old, {job.id: (new, WHY)}, actor="ada", now=NOW)
    assert store.jobs.job(job.id) == job


def test_a_job_with_a_live_run_is_not_moved_from_under_it(store: Store) -> None:
    run = running(store, "GPU-0")
    assert not store.jobs.change_states(State.RUNNING, {run.job_id: (State.QUEUED, WHY)}, actor="ada", now=NOW)
    assert [live.id for live in store.runs.live_runs()] == [run.id]


def test_only_another_code_of_a_reason_is_an_event(store: Store) -> None:
    job = submit(store)
    closer = Reason(WAITS.code, "waits for the cleanest free window: 91 g/kWh")
    for reason in (WAITS, closer, WHY):
        store.jobs.set_reason({job.id: reason, 99: reason}, now=after(9))
        assert store.jobs.job(job.id).reason == reason
    changes = store.jobs.events(job.id)[1:]
    assert [(event.kind, event.at, event.detail["reason"]) for event in changes] == [
        ("reason_changed", after(9), "cleanest_window"),
        ("reason_changed", after(9), "due"),
    ]


def test_a_finished_job_keeps_its_last_reason(store: Store) -> None:
    run = running(store)
    close(store, run)
    store.jobs.set_reason({run.job_id: WAITS}, now=after(9))
    assert store.jobs.job(run.job_id).reason == Reason(ReasonCode.SUCCEEDED, "finished with exit code 0")


def test_holding_and_releasing_are_intents_of_queued_jobs(store: Store) -> None:
    job = submit(store)
    held = [intend(store, intent, job.id).held for intent in (Intent.HOLD, Intent.HOLD, Intent.RELEASE)]
    claim(store, job)
    assert held == [True, True, False]
    assert kinds(store, job.id) == ["submitted", "held", "released", "claimed"]
    with pytest.raises(InvalidTransition, match="is starting"):
        intend(store, Intent.HOLD, job.id)


def test_a_cancel_is_noted_until_the_job_is_finished(store: Store) -> None:
    run = running(store)
    asked = [intend(store, Intent.CANCEL, run.job_id, actor="bob").cancel_requested for _ in range(2)]
    close(store, run)
    assert asked == [True, True]
    assert kinds(store, run.job_id) == ["submitted", "claimed", "started", "cancel_requested", "finished"]
    with pytest.raises(InvalidTransition, match="has succeeded already"):
        intend(store, Intent.CANCEL, run.job_id, actor="bob")


def test_a_queued_job_can_be_told_to_start_now(store: Store) -> None:
    job = submit(store)
    assert intend(store, Intent.START_NOW, job.id).spec.start_now
    assert kinds(store, job.id) == ["submitted", "start_now_requested"]
    claim(store, job)
    with pytest.raises(InvalidTransition):
        intend(store, Intent.START_NOW, job.id)


def test_events_are_the_latest_in_order(store: Store) -> None:
    ids = [submit(store).id for _ in range(3)]
    assert [event.job_id for event in store.jobs.events(limit=2)] == ids[1:]


def test_instants_of_other_zones_come_back_as_the_same_instant_in_utc(store: Store) -> None:
    tokyo = timezone(timedelta(hours=9))
    job, _ = store.jobs.add_job(
        spec(finish_by=after(3600).astimezone(tokyo)), user="a", uid=1, now=NOW.astimezone(tokyo)
    )
    assert (job.submitted_at, job.spec.finish_by) == (NOW, after(3600))
    assert job.submitted_at.tzinfo is UTC


def test_submissions_are_told_whatever_became_of_them_the_newest_of_many(store: Store) -> None:
    ids = [store.jobs.add_job(spec(), user="ada", uid=1000, now=after(60 * minute))[0].id for minute in range(3)]
    store.jobs.change_states(State.QUEUED, {ids[1]: (State.CANCELLED, WHY)}, actor="ada", now=after(60))
    assert [job.id for job in store.jobs.submissions(after(60), 10)] == ids[1:]
    assert [job.id for job in store.jobs.submissions(NOW, 1)] == ids[2:]
