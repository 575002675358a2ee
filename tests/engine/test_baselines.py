"""What an earlier start would have emitted is booked once, as runs end and settle, and adds up in every form of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.energy import baseline
from greenrun.core.energy.model import Mark
from greenrun.core.jobs.availability import MACHINE, Drain
from greenrun.core.jobs.job import Dependency, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.store import Store
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

HOUR = timedelta(hours=1)
VALUES = [400, 300, 400, 100, 100, 250, *[400] * 30]
DAY = T0 + 8 * HOUR
WHY = Reason(ReasonCode.DUE, "its planned window has come")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def sql(store: Store, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute(query).fetchall()


def day(store: Store, **options: Any) -> World:
    """Let a few jobs of two projects pass, some of which wait for clean power."""
    world = World(VALUES, gpus=2)
    specs = [
        spec(3600, max_delay=6 * HOUR, project="vision"),
        spec(1800, max_delay=6 * HOUR, gpus=2),
        spec(2700, start_now=True),
        spec(900, max_delay=5 * HOUR, project="vision", exit_code=3),
    ]
    store.jobs.add_jobs(specs, user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter(), **options), DAY)
    return world


def ended(
    store: Store,
    start: float,
    end: float,
    *devices: str,
    job: int | None = None,
    how: tuple[Outcome, State] = (Outcome.SUCCEEDED, State.SUCCEEDED),
) -> int:
    """A run that held these devices, in hours; of a job that was submitted at T0."""
    if job is None:
        job = store.jobs.add_job(spec(60, gpus=len(devices)), user="ada", uid=1, now=T0)[0].id
    run = store.runs.claim(job, devices, reason=WHY, now=T0 + start * HOUR)
    assert run is not None
    store.runs.close_run(
        run.id, outcome=how[0], exit_code=0, log=None,
        started_at=T0 + start * HOUR, ended_at=T0 + end * HOUR,
        job_state=how[1], reason=WHY, now=T0 + end * HOUR,
    )  # fmt: skip
    return run.id


def places(store: Store) -> dict[int, tuple[str, str]]:
    return {
        row[0]: (row[1][11:16], row[2][11:16])
        for row in sql(store, "SELECT run_id, started_at, ended_at FROM baselines")
    }


# where runs would have been


def test_a_run_that_ends_has_its_place_in_the_same_moment(store: Store) -> None:
    first, second, third = ended(store, 5, 7, "a"), ended(store, 7, 8, "a", "b"), ended(store, 9, 12, "b")
    assert places(store) == {first: ("00:00", "02:00"), second: ("02:00", "03:00"), third: ("03:00", "06:00")}


def test_a_device_is_told_from_one_whose_name_is_a_part_of_its_own(store: Store) -> None:
    first, second = ended(store, 5, 7, "GPU-1"), ended(store, 7, 8, "GPU-11")
    assert places(store) == {first: ("00:00", "02:00"), second: ("00:00", "01:00")}


def test_a_board_and_its_parts_keep_each_other_waiting_and_parts_do_not(store: Store) -> None:
    """As where the site gave a board out as a whole, then in parts, then as a whole again."""
    devices = ["a", "a/slot-1-of-4", "a/slot-2-of-4", "ab", "a"]
    found = [ended(store, 5 + at, 6 + at, device) for at, device in enumerate(devices)]
    begins = ["00:00", "01:00", "01:00", "00:00", "02:00"]
    assert [places(store)[run][0] for run in found] == begins
    assert places_when_opened(store) == places(store)


def drain(store: Store, device: str, since: float, until: float | None = None) -> None:
    store.drains.drain([Drain(device=device, user="ada", since=T0 + since * HOUR)])
    if until is not None:
        store.drains.resume([device], user="ada", now=T0 + until * HOUR)


def test_no_run_would_have_started_on_a_gpu_while_it_was_drained(store: Store) -> None:
    """Of its own GPUs, whoever drained them again meanwhile, and of the whole machine also without a GPU."""
    drain(store, "a", 0)
    drain(store, "a", 1, 3)
    drain(store, "b", 0, 9)
    drain(store, MACHINE, 4, 5)
    found = [ended(store, 9, 10, "a"), ended(store, 10, 11, "a", "b"), ended(store, 11, 12, "c"), ended(store, 12, 13)]
    expected = [("03:00", "04:00"), ("09:00", "10:00"), ("00:00", "01:00"), ("00:00", "01:00")]
    assert places(store) == dict(zip(found, expected, strict=True))
    assert places_when_opened(store) == places(store)


def test_what_was_drained_on_a_board_was_drained_on_its_parts(store: Store) -> None:
    """Of the past and still; a part that was drained by itself concerns no other."""
    drain(store, "a", 0, 3)
    drain(store, "b/slot-1-of-4", 0, 9)
    parts = ["a/slot-1-of-4", "a/MIG-x-2-of-7", "b/slot-2-of-4", "b/slot-1-of-4", "ab/slot-1-of-4"]
    found = [ended(store, 9, 10, part) for part in parts]
    drain(store, "a", 11)
    found.append(ended(store, 12, 13, "a/slot-3-of-4"))
    begins = ["03:00", "03:00", "00:00", "09:00", "00:00", "03:00"]
    assert [places(store)[run][0] for run in found] == begins
    assert places_when_opened(store) == places(store)


def test_a_gpu_that_is_drained_still_would_not_have_been_free_earlier(store: Store) -> None:
    """Its last run began before; the machine's drain keeps a job without GPUs, too."""
    job = store.jobs.add_job(spec(60, gpus=0), user="ada", uid=1, now=T0 + 2 * HOUR)[0].id
    drain(store, "a", 1)
    drain(store, MACHINE, 2, 6)
    found = [ended(store, 5, 6, "a", job=store.jobs.add_job(spec(60), user="ada", uid=1, now=T0 + 2 * HOUR)[0].id)]
    found.append(ended(store, 8, 9, job=job))
    assert places(store) == {found[0]: ("05:00", "06:00"), found[1]: ("06:00", "07:00")}


def test_a_job_that_waits_for_another_starts_when_that_had_ended_though_its_gpu_was_free(store: Store) -> None:
    first = store.jobs.add_job(spec(60), user="ada", uid=1, now=T0)[0].id
    second = store.jobs.add_job(spec(60, after=(Dependency(job_id=first),)), user="ada", uid=1, now=T0)[0].id
    runs = ended(store, 5, 7, "a", job=first), ended(store, 8, 9, "b", job=second)
    assert places(store) == {runs[0]: ("00:00", "02:00"), runs[1]: ("02:00", "03:00")}
    assert places_when_opened(store) == {runs[0]: ("00:00", "02:00"), runs[1]: ("02:00", "03:00")}


@pytest.mark.parametrize(
    ("outcome", "took"), [(Outcome.CHECKPOINTED, ("02:00", "02:30")), (Outcome.FAILED, ("02:00", "03:00"))]
)
def test_only_what_was_suspended_had_to_load(store: Store, outcome: Outcome, took: tuple[str, str]) -> None:
    job = store.jobs.add_job(spec(60, restart_cost=HOUR / 2), user="ada", uid=1, now=T0)[0].id
    first, second = ended(store, 5, 7, "a", job=job, how=(outcome, State.QUEUED)), ended(store, 8, 9, "b", job=job)
    assert places(store) == {first: ("00:00", "02:00"), second: took}
    assert places_when_opened(store) == {first: ("00:00", "02:00"), second: took}


def test_runs_of_a_database_that_is_older_get_their_places_when_it_is_opened(store: Store) -> None:
    for start, devices in ((5, "a"), (7, "ab"), (8, "b")):
        ended(store, start, start + 1, *devices)
    before = places(store)
    assert places_when_opened(store) == before


def test_those_that_have_a_place_keep_it_and_the_others_make_room_when_it_is_opened(store: Store) -> None:
    runs = [ended(store, start, start + 2, "a") for start in (5, 7, 9)]
    before = places(store)
    assert places_when_opened(store, f"DELETE FROM baselines WHERE run_id = {runs[1]}") == before


def places_when_opened(store: Store, forget: str = "DELETE FROM baselines") -> dict[int, tuple[str, str]]:
    """Where runs would have been as a store finds that is opened once this was forgotten."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(forget)
    with Store(store.path) as again:
        return places(again)


def test_a_run_whose_clock_was_set_back_has_a_place_all_the_same(store: Store) -> None:
    run = ended(store, 5, 4, "a")
    assert places(store) == {run: ("00:00", "00:00")}


# what that would have emitted


def test_what_is_booked_is_what_the_counters_and_the_ledger_say(store: Store) -> None:
    day(store)
    booked, actual = (
        {
            dict(labels)["project"]: value
            for (name, labels), value in store.books.counters().items()
            if name == f"greenrun_{what}"
        }
        for what in ("settled_baseline_emissions_grams_total", "compared_emissions_grams_total")
    )
    ledger = dict(sql(store, "SELECT stage, sum(emissions_g) FROM ledger JOIN slices ON slices.id = slice_id"
                             " WHERE run_id IS NOT NULL GROUP BY stage"))  # fmt: skip
    assert fsum(booked.values()) == pytest.approx(ledger["baseline"], rel=1e-12)
    assert fsum(actual.values()) == pytest.approx(ledger["settled"], rel=1e-12)
    assert set(booked) == {"vision", "default"}
    assert fsum(booked.values()) > fsum(actual.values())
    assert sql(store, "SELECT count(*) FROM baselines WHERE at IS NULL OR why IS NOT NULL") == [(0,)]
    totals = store.books.run_totals([run for (run,) in sql(store, "SELECT id FROM runs")]).values()
    assert fsum(row.baseline_g or 0.0 for row in totals) == pytest.approx(fsum(booked.values()))
    assert fsum(row.avoided_g or 0.0 for row in totals) == pytest.approx(fsum(booked.values()) - fsum(actual.values()))


def test_a_run_is_booked_once_and_nothing_of_it_changes_later(store: Store) -> None:
    world = day(store)
    rows = sql(store, "SELECT * FROM ledger WHERE stage = 'baseline' ORDER BY id")
    assert rows
    world.values = [9.0] * len(VALUES)
    engine = new_engine(world, store, world.meter())
    store.jobs.add_job(spec(600, start_now=True), user="ada", uid=1, now=world.now)
    run_until(world, engine, DAY + 2 * HOUR)
    assert sql(store, "SELECT * FROM ledger WHERE stage = 'baseline' ORDER BY id")[: len(rows)] == rows


@pytest.mark.parametrize("device", ["a", "a/slot-1-of-4", "a/MIG-x-2-of-7"])
def test_a_run_waits_until_its_devices_are_booked_up_to_its_end_but_not_for_ever(store: Store, device: str) -> None:
    """A part is booked with its board."""
    run = ended(store, 1, 2, device)
    store.books.append_slices([], [Mark(device="a", at=T0 + HOUR, energy_j=0, counter="c", session="s")], now=T0)
    late = T0 + timedelta(days=9)
    assert store.baselines.comparable([run], T0 + 3 * HOUR) == []
    [found] = store.baselines.comparable([run], late)
    store.baselines.book_baselines([baseline.compare(found, {})], now=late)
    assert sql(store, "SELECT why FROM baselines") == [(baseline.NO_SLICES,)]
    assert store.baselines.uncompared(late) == []
    assert store.baselines.book_baselines([baseline.compare(found, {})], now=late) == 0


def test_a_run_that_the_source_cannot_price_earlier_says_so(store: Store) -> None:
    world = World(VALUES, gpus=1)
    store.jobs.add_jobs([spec(1800, max_delay=6 * HOUR)], user="ada", uid=1, now=T0 - 5 * HOUR)
    run_until(world, new_engine(world, store, world.meter()), DAY)
    assert sql(store, "SELECT why FROM baselines") == [(baseline.NOT_MEASURED,)]
    assert sql(store, "SELECT count(*) FROM ledger WHERE stage = 'baseline'") == [(0,)]


def test_finding_what_can_be_compared_reads_only_what_waits(store: Store) -> None:
    waits = "SELECT 1 FROM unsettled WHERE slice_id = slices.id"
    unsettled = f"SELECT 1 FROM slices WHERE run_id = runs.id AND EXISTS ({waits})"
    queries = {
        "INDEX ix_baselines_waiting": "SELECT run_id FROM baselines WHERE at IS NULL AND run_id > 5",
        "INDEX ix_baselines_ended_at": "SELECT run_id FROM baselines WHERE ended_at > '2026'",
        "SEARCH unsettled USING INTEGER PRIMARY KEY": f"SELECT id FROM runs WHERE EXISTS ({unsettled})",
        "SEARCH slices USING COVERING INDEX ix_slices_run_id (run_id=?)": f"SELECT 1 FROM runs WHERE ({unsettled})",
    }
    plans = {part: str(sql(store, f"EXPLAIN QUERY PLAN {query}")) for part, query in queries.items()}
    assert {part: plan for part, plan in plans.items() if part not in plan} == {}


def test_many_runs_are_compared_in_the_end_though_some_never_settle(store: Store) -> None:
    world = World([200.0] * 60, gpus=4)
    store.jobs.add_jobs([spec(300) for _ in range(60)], user="ada", uid=1, now=T0)
    run_until(world, new_engine(world, store, world.meter()), T0 + 6 * SLOT)
    assert sql(store, "SELECT count(*) FROM baselines WHERE at IS NOT NULL AND why IS NULL") == [(60,)]
