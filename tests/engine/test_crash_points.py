"""Raise before and after every port call of a scripted day, restart: same outcome, joules and grams as the calm day.

Each crash point is a day of its own. It begins from a copy of the calm day at the tick in which the point lies,
because up to there nothing differs. `make test-long` tries every point, other runs those that the seed draws.
"""

import copy
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.jobs.job import State
from greenrun.core.jobs.transitions import Intent
from greenrun.store import Store
from tests.engine.crashes import IN_CHUNKS, Crash, Fuse, Fused, copy_of, points
from tests.world import SLOT, T0, World, new_engine, spec

END = T0 + 3 * SLOT
STEP = timedelta(minutes=30)
BASELINES_G = """
    SELECT sum(emissions_g) FROM ledger JOIN slices ON slices.id = slice_id JOIN runs ON runs.id = run_id
    WHERE stage = 'baseline' GROUP BY job_id ORDER BY job_id
"""


@dataclass
class Outcome:
    """What must not depend on crashes."""

    launches: list[int]
    states: list[State]
    exit_codes: list[list[int | None]]
    starts: list[list[datetime | None]]
    energy_j: list[float]
    settled_g: list[float]
    all_energy_j: float
    baselines_g: list[float]
    places: list[tuple[str, ...]]


@dataclass
class Snapshot:
    """The calm day just before a tick, and how many port calls it had made."""

    calls: int
    world: World
    database: Path


def _live_on(world: World, store: Store, fuse: Fuse, snapshots: list[Snapshot] | None = None) -> None:
    """Tick to the end of the day, rebuilding the engine at the same instant whenever the fuse blows."""
    meter = world.meter()

    def engine() -> Any:
        return new_engine(world, store, meter, wrap=lambda port, _: Fused(port, fuse))

    running = None
    while True:
        if snapshots is not None:
            file = store.path.with_name(f"at-{len(snapshots)}.db")
            snapshots.append(Snapshot(fuse.calls, copy.deepcopy(world), copy_of(store, file)))
        while True:
            try:
                running = running or engine()
                running.refresh(world.now)
                later = running.tick(world.now)
                break
            except Crash:
                running = None
        if world.now >= END:
            return
        running = None if snapshots is not None else running  # so that a copy of the day starts like the calm one
        world.now = min(later, world.now + STEP, END)


def _outcome(world: World, store: Store, jobs: list[int]) -> Outcome:
    runs = [[run for run in store.runs.of_jobs([job])[job] if run.started_at] for job in jobs]
    totals = [store.books.run_totals([run.id for run in of_job]) for of_job in runs]
    return Outcome(
        launches=world.launches,
        states=[store.jobs.job(job).state for job in jobs],
        exit_codes=[[run.exit_code for run in of_job] for of_job in runs],
        starts=[[run.started_at for run in of_job] for of_job in runs],
        energy_j=[sum(total.energy_j or 0.0 for total in of_job.values()) for of_job in totals],
        settled_g=[sum(total.settled_g or 0.0 for total in of_job.values()) for of_job in totals],
        all_energy_j=sum(entry.slice.energy_j or 0.0 for entry in store.books.entries(limit=10_000)),
        baselines_g=[*(row[0] for row in _rows(store, BASELINES_G)), *_counted(store)],
        places=_rows(store, "SELECT started_at, ended_at, why FROM baselines ORDER BY run_id"),
    )


def _rows(store: Store, query: str) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute(query).fetchall()


def _counted(store: Store) -> list[float]:
    """What the counters say of the comparison with an earlier start."""
    names = ("greenrun_settled_baseline_emissions_grams_total", "greenrun_compared_emissions_grams_total")
    return [value for (name, _), value in sorted(store.books.counters().items()) if name in names]


def _script(store: Store) -> list[int]:
    """A job for the clean window, one that fails at once, and one that is cancelled while it waits."""
    specs = [spec(1500, max_delay=2 * SLOT), spec(600, exit_code=3, start_now=True), spec(900, max_delay=3 * SLOT)]
    jobs = [store.jobs.add_job(one, user="ada", uid=1, now=T0)[0].id for one in specs]
    store.jobs.intend(Intent.CANCEL, [jobs[2]], actor="ada", now=T0)
    return jobs


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Snapshot], Outcome, int, list[int]]]:
    folder = tmp_path_factory.mktemp("calm")
    world, fuse, snapshots = World([300, 100, 200, 250, 300]), Fuse(), list[Snapshot]()
    with Store(folder / "calm.db") as store:
        jobs = _script(store)
        _live_on(world, store, fuse, snapshots)
        yield snapshots, _outcome(world, store, jobs), fuse.calls, jobs


def test_the_calm_day_is_what_it_was_meant_to_be(calm: tuple[list[Snapshot], Outcome, int, list[int]]) -> None:
    snapshots, outcome, calls, _ = calm
    assert outcome.states == [State.SUCCEEDED, State.FAILED, State.CANCELLED]
    assert outcome.exit_codes == [[0], [3], []]
    assert outcome.energy_j == pytest.approx([350 * 1500, 350 * 600, 0.0])
    assert len(outcome.baselines_g) == 2 + 2
    assert sum(outcome.baselines_g[:2]) > sum(outcome.settled_g)
    assert calls > 100
    assert len(snapshots) > 6


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@IN_CHUNKS
def test_a_crash_at_any_port_call_changes_nothing(
    chunk: int, after: bool, calm: tuple[list[Snapshot], Outcome, int, list[int]], tmp_path: Path
) -> None:
    snapshots, expected, calls, jobs = calm
    wrong = {}
    for at in points(calls, f"day, after {after}", chunk):
        begin = max((snapshot for snapshot in snapshots if snapshot.calls < at), key=lambda snapshot: snapshot.calls)
        world = copy.deepcopy(begin.world)
        file = tmp_path / "day.db"
        for old in tmp_path.glob("day.db*"):
            old.unlink()
        file.write_bytes(begin.database.read_bytes())
        with Store(file) as store:
            _live_on(world, store, Fuse(at=at, after=after, calls=begin.calls))
            got = _outcome(world, store, jobs)
        if not _same(got, expected):
            wrong[at] = got
    assert wrong == {}, expected


def _same(got: Outcome, expected: Outcome) -> bool:
    close = pytest.approx
    return (
        (got.launches, got.states, got.exit_codes, got.starts)
        == (expected.launches, expected.states, expected.exit_codes, expected.starts)
        and got.energy_j == close(expected.energy_j, rel=1e-9)
        and got.settled_g == close(expected.settled_g, rel=1e-9)
        and got.all_energy_j == close(expected.all_energy_j, rel=1e-9)
        and got.baselines_g == close(expected.baselines_g, rel=1e-9)
        and got.places == expected.places
    )
