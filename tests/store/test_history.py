"""The store tells what finished jobs took: successful ones only, with energy only where all of it was measured."""

from datetime import timedelta
from typing import Any

import pytest

from greenrun.core.energy.model import Mark, Quality
from greenrun.core.jobs.job import Outcome, Run, State
from greenrun.core.jobs.transitions import Edit
from greenrun.store import Store, history
from tests.store.examples import WHY, after, claim, close, entry, running, submit

MINUTES = timedelta(minutes=1)


def booked(
    store: Store, run: Run, quality: Quality = Quality.MEASURED, *, device: str = "GPU-0", start: float = 2
) -> None:
    """Book one minute of a run at 60 W."""
    piece = entry(start, device=device, run=run, quality=quality)
    mark = Mark(device=device, at=piece.slice.end, energy_j=0, counter="c", session="s")
    store.books.append_slices([piece], [mark], now=after(start + 60))


def finished(store: Store, *, quality: Quality | None = Quality.MEASURED, seconds: float = 60, **spec: Any) -> int:
    """A job that ran from second 2 for so long, of which one minute was booked."""
    device = f"GPU-{spec.pop('device', 0)}"
    run = running(store, device, **spec)
    if quality:
        booked(store, run, quality, device=device)
    assert close(store, run, ended_at=after(2 + seconds))
    return run.job_id


def told(store: Store, name: str = "train", project: str = "vision", user: str = "ada") -> list[Any]:
    return list(store.history.finished_jobs(user, name=name, project=project))


def test_a_finished_job_tells_its_duration_and_its_measured_energy(store: Store) -> None:
    job_id = finished(store, name="train", project="vision", gpus=1)
    (row,) = told(store)
    assert (row.job_id, row.name, row.project, row.gpus) == (job_id, "train", "vision", 1)
    assert (row.duration, row.energy_j, row.finished_at) == (MINUTES, 3600.0, after(62))


def test_jobs_of_the_name_or_the_project_are_told_the_newest_first_and_no_others(store: Store) -> None:
    named = finished(store, name="train", project="audio", device=0)
    grouped = finished(store, name="other", project="vision", device=1)
    finished(store, name="other", project="audio", device=2)
    assert [row.job_id for row in told(store)] == [grouped, named]
    assert told(store, user="bob") == []


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.CANCELLED])
def test_a_job_that_did_not_succeed_tells_nothing(store: Store, outcome: Outcome) -> None:
    state = State.CANCELLED if outcome is Outcome.CANCELLED else State.FAILED
    assert close(store, running(store, "GPU-0", name="train"), outcome=outcome, job_state=state)
    assert told(store) == []


def test_a_failed_run_does_not_count_for_a_job_that_succeeded_later(store: Store) -> None:
    first = running(store, "GPU-0", name="train", retries=1)
    assert close(store, first, outcome=Outcome.FAILED, exit_code=1, job_state=State.QUEUED, ended_at=after(500))
    second = claim(store, store.jobs.job(first.job_id), "GPU-0")
    assert store.runs.confirm(second.id, started_at=after(600), log=None, now=after(600))
    assert close(store, second, ended_at=after(720))
    assert [row.duration for row in told(store)] == [2 * MINUTES]


def test_a_job_that_was_requeued_and_succeeded_again_is_told_as_it_ended_the_last_time(store: Store) -> None:
    job = store.jobs.job(finished(store, name="train"))
    assert [(row.duration, row.energy_j) for row in told(store)] == [(MINUTES, 3600.0)]
    store.jobs.edit([Edit(before=job, spec=job.spec, requeue=True)], actor="ada", now=after(600))
    assert told(store) == []
    again = store.runs.claim(job.id, ["GPU-0"], reason=WHY, now=after(600))
    assert again is not None
    assert store.runs.confirm(again.id, started_at=after(600), log=None, now=after(600))
    assert close(store, again, ended_at=after(900))
    assert [(row.duration, row.finished_at, row.energy_j) for row in told(store)] == [(5 * MINUTES, after(900), None)]


def test_the_checkpointed_runs_of_a_job_sum_up_to_one_duration_and_energy(store: Store) -> None:
    first = running(store, "GPU-0", name="train", interruptible=True)
    booked(store, first)
    assert close(store, first, outcome=Outcome.CHECKPOINTED, job_state=State.QUEUED, ended_at=after(62))
    second = claim(store, store.jobs.job(first.job_id), "GPU-1")
    assert store.runs.confirm(second.id, started_at=after(600), log=None, now=after(600))
    booked(store, second, device="GPU-1", start=600)
    assert close(store, second, ended_at=after(660))
    assert [(row.duration, row.energy_j) for row in told(store)] == [(2 * MINUTES, 7200.0)]


@pytest.mark.parametrize(
    ("quality", "seconds", "energy_j"),
    [
        (Quality.INTEGRATED, 60, 3600.0),
        (Quality.ESTIMATED, 60, None),
        (Quality.BRIDGED, 60, None),
        (None, 60, None),
        (Quality.MEASURED, 90, None),
    ],
    ids=["integrated", "estimated", "bridged", "nothing booked", "part of its time is in no slice"],
)
def test_energy_that_was_not_all_measured_is_unknown(
    store: Store, quality: Quality | None, seconds: float, energy_j: float | None
) -> None:
    finished(store, name="train", quality=quality, seconds=seconds)
    for _ in range(2):  # the second time from memory
        assert [row.energy_j for row in told(store)] == [energy_j]


def test_jobs_that_are_queued_or_run_tell_nothing(store: Store) -> None:
    submit(store, name="train")
    running(store, "GPU-0", name="train")
    assert told(store) == []


def test_a_job_without_a_name_is_told_by_the_first_words_of_its_command(store: Store) -> None:
    finished(store, command=("python", "train.py"))
    assert [row.name for row in told(store, name="", project="vision")] == ["python train.py"]


def test_no_more_than_the_latest_are_told_and_of_these_the_very_latest_with_their_energy(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LATEST", 3)
    monkeypatch.setattr(history, "METERED", 2)
    ids = [finished(store, name="train", device=number) for number in range(5)]
    assert [(row.job_id, row.energy_j) for row in told(store)] == [(ids[4], 3600.0), (ids[3], 3600.0), (ids[2], None)]


def test_what_another_thread_forgets_meanwhile_is_told_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when many submissions come at once, each in its own thread, and what is in memory grows too large."""
    finished(store, name="train", project="vision", device=0)
    (known,) = told(store)
    finished(store, name="train", project="vision", device=1)
    reads = history._runs

    def forgetting(*asked: Any) -> Any:
        store.history._read = {}
        store.history._energies_j = {}
        return reads(*asked)

    monkeypatch.setattr(history, "_runs", forgetting)
    assert told(store)[1] == known
