"""The API and the metrics over the real store: what one writes the other tells."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.api.app import create_app
from greenrun.core.accounting.weekly import Weekly
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Mark, Quality, Slice
from greenrun.core.jobs import transitions
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.transitions import EventKind
from greenrun.metrics import TOTALS, MetricsCollector, registry_of
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.cost_and_scope2 import Bases
from greenrun.store import Store
from greenrun.store.ledger import counters
from tests.api.fakes import GPU, HOUR, NOW, World, live_state, spec
from tests.metrics.scrape import Scrape, busy


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new database."""
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


@pytest.fixture
def lasting(store: Store) -> World:
    """An API over the real store, and its metrics."""
    world = World()
    world.scheduler.store = store
    world.metrics = registry_of(MetricsCollector(store, live_state(world.store, world.scheduler)))
    world.app = create_app(store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    return world


def run_job(store: Store) -> None:
    """Run job 1 for ten minutes and book what it used."""
    run = store.runs.claim(1, [GPU.id], reason=because(ReasonCode.ASKED_NOW), now=NOW)
    assert run is not None
    store.runs.confirm(run.id, started_at=NOW, log="/tmp/log", now=NOW)
    end = NOW + timedelta(minutes=10)
    piece = Slice(
        device=GPU.id,
        component=Component.GPU,
        run_id=run.id,
        start=NOW,
        end=end,
        energy_j=1 / 3,
        quality=Quality.MEASURED,
    )
    entry = Entry(slice=piece, pue=1.0, booked=Priced(intensity_g_per_kwh=100.0, emissions_g=0.1 + 0.2))
    mark = Mark(device=GPU.id, at=end, energy_j=1 / 3, counter="c", session="s")
    store.books.append_slices([entry], [mark], now=end)
    store.runs.close_run(
        run.id,
        outcome=Outcome.SUCCEEDED,
        exit_code=0,
        started_at=NOW,
        ended_at=end,
        log="/tmp/log",
        job_state=State.SUCCEEDED,
        reason=because(ReasonCode.SUCCEEDED),
        now=end,
    )


def test_a_job_is_submitted_held_released_and_cancelled(lasting: World, store: Store) -> None:
    assert lasting.submit(unique_key="k", env={"A": "b"}, max_delay_s=60).status_code == 201
    assert lasting.submit(unique_key="k").status_code == 200
    flags = [lasting.ask("POST", f"/v1/jobs/1/{verb}").json() for verb in ("hold", "release", "cancel")]
    assert [(row["held"], row["cancel_requested"]) for row in flags] == [(True, False), (False, False), (False, True)]
    events = [row["kind"] for row in lasting.ask("GET", "/v1/jobs/1/events").json()]
    assert events == ["submitted", "held", "released", "cancel_requested"]
    assert store.jobs.job(1).spec.env == {"A": "b"}


def test_what_the_books_have_of_a_run_is_told_by_the_job_the_ledger_and_the_metrics(
    lasting: World, store: Store
) -> None:
    lasting.submit(project="vision")
    run_job(store)
    job = lasting.ask("GET", "/v1/jobs/1").json()
    [run], [entry] = job["runs"], lasting.ask("GET", "/v1/ledger?job=1").json()
    assert (job["state"], run["outcome"], run["energy_j"], run["emissions_g"]) == (
        "succeeded",
        "succeeded",
        1 / 3,
        0.1 + 0.2,
    )
    assert (entry["job"], entry["run"], entry["project"], entry["energy_j"]) == (1, run["id"], "vision", 1 / 3)
    value = lasting.metrics.get_sample_value
    assert value("greenrun_emissions_grams_total", {"project": "vision"}) == 0.1 + 0.2
    assert value("greenrun_jobs_finished_total", {"outcome": "succeeded"}) == 1
    assert value("greenrun_jobs", {"state": "succeeded"}) == 1


def test_a_job_asked_for_by_itself_tells_what_it_cost(lasting: World, store: Store) -> None:
    """A third of a joule by a fixed price; and nothing made up where none is set."""
    lasting.submit()
    run_job(store)
    assert (lasting.ask("GET", "/v1/jobs/1").json()["cost"], "cost" in lasting.ask("GET", "/v1/jobs").json()[0]) == (
        None,
        False,
    )
    bases = Bases(price=Weekly.of([], 0.5).steps, currency="EUR")
    lasting.scheduler.reports = Reports(store.archive, tuple, ReportSettings(bases=bases))
    told = lasting.ask("GET", "/v1/jobs/1").json()
    assert (told["cost"], told["currency"], told["cost_missing_kwh"]) == (pytest.approx(0.5 / 3 / 3.6e6), "EUR", 0.0)


def test_every_total_that_the_store_keeps_is_exported() -> None:
    kept = {
        value
        for module in (transitions, counters)
        for value in vars(module).values()
        if str(value).startswith("greenrun_")
    }
    families = {family.name for family in busy(Scrape()).registry.collect()}
    exported = families | {f"{name}_total" for name in families}
    assert kept - exported == {transitions.PROJECTS}  # which only says whose totals begin at 0
    assert set(TOTALS) - kept == set()


def test_events_are_listed_from_a_time_or_behind_another_one(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        for hour in range(4):
            store.jobs.add_job(spec(), user="ada", uid=41001, now=NOW + hour * HOUR)
        store.jobs.note(EventKind.DAEMON_STARTED, now=NOW + 4 * HOUR, version="1")
        world = World()
        world.app = create_app(store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)

        def ids(**params: Any) -> list[int]:
            return [row["id"] for row in world.ask("GET", "/v1/events", params=params).json()]

        assert ids() == [1, 2, 3, 4, 5]
        assert ids(since="2026-03-02T14:00:00Z") == [3, 4, 5]
        assert ids(limit=2) == [4, 5]
        assert ids(after=2, limit=2) == [3, 4]
        assert ids(job=[1, 3]) == [1, 3]
        assert ids(job=3, after=3) == []
        assert world.ask("GET", "/v1/events", params={"since": "yesterday"}).status_code == 422
        last = world.ask("GET", "/v1/events", params={"after": 4}).json()[0]
        assert (last["kind"], last["job"], last["detail"]) == ("daemon_started", None, {"version": "1"})


def paged(world: World, path: str, **params: Any) -> list[int]:
    """Return the ids on the pages of a list, page by page, following `Link` to the end."""
    answer = world.ask("GET", path, params=params)
    found = [row["id"] for row in answer.json()]
    while "next" in answer.links:
        answer = world.ask("GET", answer.links["next"]["url"])
        assert answer.status_code == 200
        found += [row["id"] for row in answer.json()]
        assert len(found) < 50
    return found


def test_pages_of_jobs_and_events_have_each_row_once_under_every_filter(lasting: World, store: Store) -> None:
    for number in range(7):
        lasting.submit(project="vision" if number % 2 else "speech")
    lasting.ask("POST", "/v1/jobs/4/cancel")
    user = lasting.ask("GET", "/v1/jobs/1").json()["user"]
    for filters, wanted in (({}, 7), ({"project": "vision"}, 3), ({"state": "queued"}, 7), ({"user": user}, 7)):
        found = paged(lasting, "/v1/jobs", limit=2, **filters)
        assert len(found) == wanted == len(set(found))
        assert set(found) == {row["id"] for row in lasting.ask("GET", "/v1/jobs", params=filters).json()}
    for filters in ({}, {"job": 4}, {"job": [1, 4]}):
        found = paged(lasting, "/v1/events", limit=1, **filters)
        assert found == [row["id"] for row in lasting.ask("GET", "/v1/events", params=filters).json()][::-1]


def test_pages_of_the_ledger_have_each_slice_once_where_several_began_at_once(lasting: World, store: Store) -> None:
    lasting.submit()
    run = store.runs.claim(1, [GPU.id], reason=because(ReasonCode.ASKED_NOW), now=NOW)
    assert run is not None
    store.runs.confirm(run.id, started_at=NOW, log="/tmp/log", now=NOW)
    for minute in (2, 0, 1):  # booked in another order than that of time
        start, end = NOW + timedelta(minutes=minute), NOW + timedelta(minutes=minute + 1)
        for component in (Component.GPU, Component.CPU, Component.DRAM):
            piece = Slice(
                device=f"{component}-{GPU.id}",
                component=component,
                run_id=run.id,
                start=start,
                end=end,
                energy_j=1.0,
                quality=Quality.MEASURED,
            )
            entry = Entry(slice=piece, pue=1.0, booked=Priced(intensity_g_per_kwh=100.0, emissions_g=1.0))
            store.books.append_slices([entry], [], now=NOW + HOUR)
    whole = [entry.id for entry in store.books.entries()]
    assert len(whole) == 9 == len(set(whole))
    for job_id, limit in ((None, 2), (1, 2), (None, 4), (1, 1)):
        before: int | None = None
        found: list[int | None] = []
        while page := store.books.entries(job_id=job_id, limit=limit, before=before):
            found[:0] = [entry.id for entry in page]
            before = page[0].id
        assert found == whole
