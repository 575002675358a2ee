"""A run is claimed by one, holds its devices alone, and ends once, with its job, in one step."""

from datetime import timedelta
from typing import Any

import pytest

from greenrun.core.errors import InvalidTransition, StoreError
from greenrun.core.jobs.history import GpuTime
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.jobs.transitions import Intent
from greenrun.store import Store
from tests.store.examples import NOW, WHY, after, claim, close, running, submit

FAILED = {"outcome": Outcome.FAILED, "exit_code": 3, "reason": Reason(ReasonCode.EXIT_CODE, "exit code 3")}
REQUEUED = FAILED | {"job_state": State.QUEUED}


def missed(store: Store) -> float:
    return store.books.counters().get(("greenrun_deadlines_missed_total", ()), 0)


def finished(store: Store) -> dict[str, float]:
    """How many jobs finished, by outcome."""
    totals = store.books.counters().items()
    return {dict(labels)["outcome"]: value for (name, labels), value in totals if name.endswith("finished_total")}


def test_a_claim_is_a_run_and_its_leases_and_the_state(store: Store) -> None:
    job = submit(store)
    run = claim(store, job, "GPU-0", "GPU-1")
    assert (run.number, run.devices, run.claimed_at, run.outcome) == (1, ("GPU-0", "GPU-1"), after(1), None)
    assert len(run.token) == 32
    assert store.runs.live_runs() == [run]
    assert (store.jobs.job(job.id).state, store.jobs.job(job.id).reason) == (State.STARTING, WHY)
    assert [event.kind for event in store.jobs.events(job.id)] == ["submitted", "claimed"]


def test_a_claimed_job_cannot_be_claimed_again(store: Store) -> None:
    job = submit(store)
    claim(store, job, "GPU-0")
    assert store.runs.claim(job.id, ["GPU-1"], reason=WHY, now=NOW) is None


def test_a_leased_device_cannot_be_claimed_and_nothing_changes(store: Store) -> None:
    claim(store, submit(store), "GPU-0")
    late = submit(store)
    assert store.runs.claim(late.id, ["GPU-1", "GPU-0"], reason=WHY, now=NOW) is None
    assert store.jobs.job(late.id) == late
    assert store.runs.claim(late.id, ["GPU-1"], reason=WHY, now=NOW) is not None


def test_a_job_that_was_held_or_cancelled_meanwhile_is_not_claimed(store: Store) -> None:
    held, cancelled = submit(store), submit(store)
    store.jobs.intend(Intent.HOLD, [held.id], actor="ada", now=NOW)
    store.jobs.intend(Intent.CANCEL, [cancelled.id], actor="ada", now=NOW)
    assert [store.runs.claim(job.id, [], reason=WHY, now=NOW) for job in (held, cancelled)] == [None, None]


def test_a_confirmed_run_has_its_start_and_log(store: Store) -> None:
    run = claim(store, submit(store))
    confirmed = [store.runs.confirm(run.id, started_at=after(2), log="/logs/1", now=after(3)) for _ in range(2)]
    (live,) = store.runs.live_runs()
    assert confirmed == [True, False]
    assert (live.started_at, live.log) == (after(2), "/logs/1")
    assert store.jobs.job(run.job_id).state is State.RUNNING


def test_a_closed_run_ends_its_job_and_frees_its_devices_once(store: Store) -> None:
    run = running(store, "GPU-0")
    assert [close(store, run), close(store, run, **FAILED)] == [True, False]
    (ended,) = store.runs.of_jobs([run.job_id])[run.job_id]
    job = store.jobs.job(run.job_id)
    assert (ended.outcome, ended.exit_code, ended.ended_at, ended.log) == (Outcome.SUCCEEDED, 0, after(60), "/logs/1")
    assert (job.state, job.finished_at) == (State.SUCCEEDED, after(60))
    assert store.runs.live_runs() == []
    assert finished(store) == {"succeeded": 1}
    claim(store, submit(store), "GPU-0")


def test_a_run_that_started_unseen_passes_through_running(store: Store) -> None:
    run = claim(store, submit(store))
    close(store, run, started_at=after(2), log="/logs/1")
    (ended,) = store.runs.of_jobs([run.job_id])[run.job_id]
    assert (ended.started_at, ended.log) == (after(2), "/logs/1")
    assert [event.kind for event in store.jobs.events(run.job_id)] == ["submitted", "claimed", "started", "finished"]


def test_a_run_that_never_started_cannot_have_succeeded(store: Store) -> None:
    run = claim(store, submit(store), "GPU-0")
    with pytest.raises(InvalidTransition):
        close(store, run)
    assert store.runs.live_runs() == [run]


def test_an_end_that_no_job_comes_to_keeps_nothing_of_the_start_either(store: Store) -> None:
    run = claim(store, submit(store), "GPU-0")
    with pytest.raises(InvalidTransition):
        close(store, run, started_at=after(0), job_state=State.EXPIRED)
    assert (store.jobs.job(run.job_id).state, store.runs.live_runs()) == (State.STARTING, [run])
    assert "started" not in [event.kind for event in store.jobs.events(run.job_id)]


def test_a_requeued_job_gets_its_next_run_and_is_not_finished(store: Store) -> None:
    run = running(store, "GPU-0")
    close(store, run, **REQUEUED)
    job = store.jobs.job(run.job_id)
    again = claim(store, job, "GPU-0")
    assert (job.state, job.finished_at, finished(store)) == (State.QUEUED, None, {})
    assert (again.number, again.token != run.token) == (2, True)
    assert [event.kind for event in store.jobs.events(job.id)][-2:] == ["requeued", "claimed"]


def test_the_progress_of_checkpointed_runs_adds_up_and_that_of_others_does_not_count(store: Store) -> None:
    job = submit(store, interruptible=True)
    ends = [(Outcome.CHECKPOINTED, 600.5), (Outcome.CHECKPOINTED, 300), (Outcome.FAILED, 99), (Outcome.FAILED, None)]
    for outcome, seconds in ends:
        progress = None if seconds is None else timedelta(seconds=seconds)
        run = claim(store, store.jobs.job(job.id), "GPU-0")
        store.runs.confirm(run.id, started_at=after(2), log=None, now=after(3))
        close(store, run, **REQUEUED | {"outcome": outcome, "progress": progress})
    assert store.jobs.job(job.id).progress == timedelta(seconds=900.5)


def test_finished_jobs_are_counted_by_the_outcome_of_their_last_run(store: Store) -> None:
    close(store, running(store), **FAILED | {"outcome": Outcome.TIMED_OUT, "job_state": State.FAILED})
    close(store, running(store), **FAILED | {"outcome": Outcome.CANCELLED, "job_state": State.CANCELLED})
    assert finished(store) == {"timed_out": 1, "cancelled": 1}


def test_a_finish_by_is_missed_by_more_than_a_second_and_counted(store: Store) -> None:
    close(store, running(store, finish_by=after(59)))
    assert missed(store) == 0
    close(store, running(store, finish_by=after(58)))
    assert missed(store) == 1


def test_a_latest_start_is_missed_once_per_job(store: Store) -> None:
    limit = after(0.5) - NOW
    run = running(store, max_delay=limit, finish_by=after(10))
    assert missed(store) == 1
    close(store, run)
    assert missed(store) == 1


def test_a_second_run_after_the_latest_start_misses_nothing(store: Store) -> None:
    run = running(store, max_delay=after(10) - NOW)
    close(store, run, **REQUEUED)
    again = claim(store, store.jobs.job(run.job_id))
    store.runs.confirm(again.id, started_at=after(100), log=None, now=after(100))
    close(store, again, ended_at=after(200))
    assert missed(store) == 0


def test_runs_are_given_per_job_also_where_there_are_none(store: Store) -> None:
    idle, run = submit(store), running(store)
    assert {job: [each.id for each in rows] for job, rows in store.runs.of_jobs([idle.id, run.job_id]).items()} == {
        idle.id: [],
        run.job_id: [run.id],
    }
    assert store.runs.of_jobs([]) == {}


def test_holds_are_the_started_runs_that_lived_at_or_after_an_instant(store: Store) -> None:
    early, late, live = running(store), running(store), running(store)
    claim(store, submit(store))  # not started: holds nothing yet
    close(store, early, ended_at=after(60))
    close(store, late, ended_at=after(70))

    expected = {0: [early.id, late.id, live.id], 70: [late.id, live.id], 71: [live.id]}
    assert {at: [run.id for run in store.books.holds(after(at))] for at in expected} == expected


def test_gpu_time_is_that_of_ended_runs_with_gpus_whose_it_is_and_since_when(store: Store) -> None:
    first, without, live = running(store, "GPU-0", "GPU-1", project="thesis"), running(store), running(store, "GPU-2")
    assert store.runs.gpu_time(after=0, among=(), since=NOW) == []
    close(store, first)
    close(store, without)
    (told,) = store.runs.gpu_time(after=0, among=(), since=NOW)
    assert told == GpuTime(run_id=first.id, user="ada", project="thesis", gpus=2, start=after(2), end=after(60))
    assert store.runs.gpu_time(after=first.id, among=[first.id], since=NOW) == [told]
    assert store.runs.gpu_time(after=first.id, among=[live.id], since=NOW) == []
    assert store.runs.gpu_time(after=0, among=[first.id], since=after(61)) == []


def test_an_unknown_run_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no run 5"):
        store.runs.confirm(5, started_at=NOW, log=None, now=NOW)


@pytest.mark.parametrize(
    ("limit", "at_min", "expected"),
    [
        ({"max_delay": timedelta(minutes=30)}, 29, 0),
        ({"max_delay": timedelta(minutes=30)}, 31, 1),
        ({"finish_by": NOW + timedelta(minutes=90)}, 80, 0),
        ({"finish_by": NOW + timedelta(minutes=90)}, 92, 1),
        ({}, 10_000, 0),
    ],
)
def test_a_job_that_never_starts_misses_its_limit_when_that_passes_and_once(
    store: Store, limit: dict[str, Any], at_min: int, expected: int
) -> None:
    job = submit(store, **limit)
    now = NOW + timedelta(minutes=at_min)
    for _ in range(2):
        store.jobs.miss_limits([job.id], now=now)
    assert (missed(store), store.jobs.job(job.id).deadline_missed) == (expected, bool(expected))
