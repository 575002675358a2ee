"""The store in memory keeps the promises of the one on disk, as far as an engine relies on them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Kind
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import State
from greenrun.engine.ports import EngineStore
from greenrun.simulation.memory import EVENTS_KEPT, MemoryStore
from tests.store import jobs_contract, runs_contract
from tests.store.examples import NOW, SERIES, WHY, after, entry, forecast, series, submit

ON_DISK_ONLY = {
    "test_text_that_cannot_be_stored_is_refused_with_nothing_stored",  # nothing is turned into text
    "test_jobs_are_listed_by_state_project_user_and_order",  # an engine asks by state alone
    "test_instants_of_other_zones_come_back_as_the_same_instant_in_utc",  # nor are instants
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def promises(module: Any) -> dict[str, Callable[..., None]]:
    """The tests of a contract, which take the store of the module that they are in."""
    return {name: test for name, test in vars(module).items() if name.startswith("test_") and name not in ON_DISK_ONLY}


globals().update(promises(jobs_contract) | promises(runs_contract))


def test_it_is_a_store(store: MemoryStore) -> None:
    port: EngineStore = store
    assert port.jobs.jobs() == []


def test_a_query_of_waiting_jobs_does_not_touch_finished_ones(store: MemoryStore) -> None:
    first, second = submit(store), submit(store)  # type: ignore[arg-type]
    store.jobs.change_states(State.QUEUED, {first.id: (State.CANCELLED, WHY)}, actor="ada", now=NOW)
    store.jobs._jobs[first.id] = None  # type: ignore[assignment]  # whoever reads it fails
    assert [job.id for job in store.jobs.jobs([State.QUEUED])] == [second.id]


def test_jobs_are_listed_by_state_in_order(store: MemoryStore) -> None:
    first, second, third = (submit(store) for _ in range(3))  # type: ignore[arg-type]
    store.jobs.change_states(State.QUEUED, {second.id: (State.CANCELLED, WHY)}, actor="ada", now=NOW)
    assert [job.id for job in store.jobs.jobs([State.QUEUED])] == [first.id, third.id]
    assert [job.id for job in store.jobs.jobs([State.CANCELLED, State.FAILED])] == [second.id]
    assert [job.id for job in store.jobs.jobs()] == [first.id, second.id, third.id]


def test_events_do_not_grow_without_end(store: MemoryStore) -> None:
    for _ in range(EVENTS_KEPT + 5):
        submit(store)  # type: ignore[arg-type]
    assert len(store.jobs.events(limit=10 * EVENTS_KEPT)) == EVENTS_KEPT


def test_forecasts_come_back_oldest_first_and_old_ones_are_forgotten(store: MemoryStore) -> None:
    later = [forecast(1, 2, fetched_at=NOW + timedelta(days=day), issued_at=after(day)) for day in (0, 1, 99)]
    assert [store.grid.save_forecast(each) for each in later] == [True, True, True]
    assert store.grid.forecasts("GB", NOW) == later[2:]
    assert store.grid.forecasts("FR", NOW) == []


def test_a_forecast_that_says_the_same_again_is_no_new_one(store: MemoryStore) -> None:
    assert [store.grid.save_forecast(each) for each in (forecast(1, 2), forecast(1, 2), forecast(1, 3))] == [
        True, False, True,
    ]  # fmt: skip


def test_measured_values_come_back_and_a_changed_one_takes_the_old_one_s_place(store: MemoryStore) -> None:
    measured = series(10, 20, 30, kind=Kind.MEASURED)
    assert store.grid.save_intensities(measured, fetched_at=NOW) == 3
    assert store.grid.save_intensities(measured, fetched_at=NOW) == 0
    assert store.grid.save_intensities(series(25, kind=Kind.MEASURED, start_s=1800), fetched_at=after(60)) == 1
    kept = store.grid.intensities(SERIES, NOW, after(5400))
    assert kept.values.tolist() == [10, 25, 30]
    assert store.grid.intensities(SERIES, after(1800), after(1801)).values.tolist() == [25]
    assert len(store.grid.intensities(SERIES, after(9000), after(9999))) == 0


def test_values_are_final_when_they_were_seen_long_enough_after_their_slot(store: MemoryStore) -> None:
    store.grid.save_intensities(series(10, 20, kind=Kind.MEASURED), fetched_at=after(3600))
    assert store.grid.intensities(SERIES, NOW, after(3600), final_after=timedelta(minutes=30)).values.tolist() == [10]


def test_energy_is_refused_rather_than_lost(store: MemoryStore) -> None:
    with pytest.raises(StoreError, match="books no energy"):
        store.books.append_slices([entry()], [], now=NOW)
