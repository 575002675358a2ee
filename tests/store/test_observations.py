"""The histograms and forced starts: each start and end counts once, in its own transaction, and only what is known."""

from datetime import timedelta

import pytest

from greenrun.core.energy.model import Quality
from greenrun.core.errors import StoreError
from greenrun.core.histogram import JOB_DEFERRAL, RUN_DURATION, RUN_EMISSIONS, RUN_ENERGY, JobExemplar
from greenrun.core.jobs.job import Outcome, Run, State
from greenrun.core.jobs.reasons import FORCED, ReasonCode, because
from greenrun.store import Store
from tests.store.examples import NOW, after, claim, close, entry, running, submit

AGAIN = {"outcome": Outcome.FAILED, "exit_code": 3, "job_state": State.QUEUED}
NO_FORECAST = because(ReasonCode.NO_FORECAST)


def seen(store: Store, name: str) -> tuple[float, float]:
    """How many values a histogram has, and their sum."""
    totals = store.books.counters()
    return sum(value for (each, _), value in totals.items() if each == f"{name}_bucket"), totals.get(
        (f"{name}_sum", ()), 0
    )


def forced(store: Store) -> dict[str, float]:
    """The forced starts by reason."""
    totals = store.books.counters().items()
    return {dict(labels)["reason"]: value for (name, labels), value in totals if name == "greenrun_forced_starts_total"}


def booked(store: Store, run: Run, **changes: object) -> None:
    """Book a minute of the run's only device from its start on."""
    store.books.append_slices([entry(2, run=run, **changes)], [], now=after(62))  # type: ignore[arg-type]


def test_a_jobs_wait_counts_once_from_when_it_could_have_started(store: Store) -> None:
    first = running(store)
    assert seen(store, JOB_DEFERRAL) == (1, 2)
    close(store, first, **AGAIN)
    again = claim(store, store.jobs.job(first.job_id))
    store.runs.confirm(again.id, started_at=after(900), log=None, now=after(900))
    assert seen(store, JOB_DEFERRAL) == (1, 2)
    running(store, start_after=NOW + timedelta(seconds=1.5))
    assert seen(store, JOB_DEFERRAL) == (2, 2.5)


def test_a_run_counts_once_when_it_ends_with_what_it_used(store: Store) -> None:
    run = running(store, "GPU-0")
    booked(store, run)
    assert [close(store, run, ended_at=after(62)) for _ in range(2)] == [True, False]
    assert [seen(store, name) for name in (RUN_DURATION, RUN_ENERGY, RUN_EMISSIONS)] == [(1, 60), (1, 3600), (1, 0.2)]
    example = JobExemplar(job_id=run.job_id, value=60.0, at=after(61))
    assert store.runs.examples[RUN_DURATION, 60.0] == example


@pytest.mark.parametrize(
    ("what", "counted"),
    [({"grams": None}, (1, 0)), ({"energy_j": None, "quality": Quality.UNKNOWN, "grams": None}, (0, 0))],
    ids=["no-price", "no-reading"],
)
def test_what_is_not_wholly_known_is_not_counted(
    store: Store, what: dict[str, object], counted: tuple[int, int]
) -> None:
    run = running(store, "GPU-0")
    booked(store, run, **what)
    close(store, run, ended_at=after(62))
    assert (seen(store, RUN_ENERGY)[0], seen(store, RUN_EMISSIONS)[0]) == counted
    assert seen(store, RUN_DURATION) == (1, 60)


def test_a_run_that_never_started_counts_nothing(store: Store) -> None:
    run = claim(store, submit(store))
    close(store, run, outcome=Outcome.FAILED_TO_START, exit_code=None, job_state=State.FAILED)
    assert {name for name, _ in store.books.counters() if "bucket" in name} == set()


def test_a_clock_that_was_set_back_takes_nothing_from_a_sum(store: Store) -> None:
    close(store, running(store), ended_at=after(-500))
    assert seen(store, RUN_DURATION) == (1, 0)


def test_only_starts_without_a_choice_are_forced(store: Store) -> None:
    running(store)
    assert forced(store) == {}
    run = store.runs.claim(submit(store).id, [], reason=NO_FORECAST, now=NOW)
    assert run is not None
    assert forced(store) == {}, "it has not started yet"
    store.runs.confirm(run.id, started_at=after(2), log=None, now=after(3))
    assert forced(store) == {"no_forecast": 1.0}
    assert ReasonCode.NO_FORECAST in FORCED


def test_failed_writes_are_counted_and_observe_nothing(store: Store) -> None:
    assert store.database.write_failures == 0
    with pytest.raises(StoreError):
        store.runs.confirm(99, started_at=NOW, log=None, now=NOW)
    assert (store.database.write_failures, store.runs.examples) == (1, {})
