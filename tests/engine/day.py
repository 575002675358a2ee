"""A day of jobs under any beat of the daemon, and what its books say in the end."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path

import pytest
from hypothesis import strategies as st

from greenrun.core.jobs.job import JobSpec
from greenrun.meters.recent_readings import RecentReadings
from greenrun.store import Store
from tests.world import SLOT, T0, World, WorldMeter, new_engine, open_store, spec


def counted(store: Store, name: str) -> float:
    """Return a counter's sum over all its labels."""
    return fsum(value for (counter, _), value in store.books.counters().items() if counter == name)


DAY = [310.0, 150.5, 87.25, 244.0]
END = T0 + len(DAY) * SLOT
SAMPLING = timedelta(seconds=9)
WARM = T0 + SLOT  # by then each device was seen at work and at rest, so that a gap can be split as it was


@dataclass(frozen=True, kw_only=True)
class Restart:
    """The daemon dies and comes back; with a `new_sampler` the readings not booked yet are lost."""

    at: timedelta
    new_sampler: bool


@dataclass(kw_only=True)
class Books:
    """What is settled: per job and per device."""

    energy_j: list[float | None] = field(default_factory=list)
    settled_g: list[float | None] = field(default_factory=list)
    device_j: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Beat:
    """How the daemon lives: its tick, further ticks that are `phase` off, and its restarts."""

    tick: timedelta = SLOT
    phase: timedelta = timedelta(0)
    restarts: tuple[Restart, ...] = ()


STARTS = st.sampled_from(["now", "planned", "later"])
JOBS = st.lists(
    st.tuples(STARTS, st.integers(30, 600), st.integers(1, 2), st.integers(0, 1500)), min_size=1, max_size=3
).map(lambda rows: [day_spec(*row) for row in rows])
RESTARTS = st.lists(
    st.builds(
        Restart, at=st.integers(1801, 4 * 1800 - 61).map(lambda s: timedelta(seconds=s)), new_sampler=st.booleans()
    ),
    max_size=3,
)
BEATS = st.builds(
    Beat,
    tick=st.sampled_from([197, 300, 601, 1800, 3600]).map(lambda seconds: timedelta(seconds=seconds)),
    phase=st.integers(0, 599).map(lambda seconds: timedelta(seconds=seconds)),
    restarts=RESTARTS.map(lambda rows: tuple(sorted(rows, key=lambda row: row.at))),
)


def day_spec(start: str, seconds: int, gpus: int, after: int) -> JobSpec:
    """A job that starts as soon as it may, in the cleanest window, or at an instant of its own."""
    earliest = WARM + timedelta(seconds=after)
    if start == "planned":
        return spec(seconds, gpus=gpus, start_after=WARM, max_delay=2 * SLOT)
    return spec(seconds, gpus=gpus, start_now=start == "now", start_after=earliest, max_delay=earliest - T0 + SLOT)


def live(
    jobs: Sequence[JobSpec], beat: Beat, *, values: Sequence[float] = DAY, change: Callable[[World], None] | None = None
) -> Books:
    """Live through the day with this beat and return its books."""
    world = World(values)
    if change is not None:
        change(world)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        warm_up = spec(300, gpus=2, start_now=True, start_after=T0 + timedelta(minutes=5))
        ids = [store.jobs.add_job(one, user="ada", uid=1, now=T0)[0].id for one in (warm_up, *jobs)]
        tick_through(world, store, beat)
        books = Books()
        for job_id in ids:
            (run,) = store.runs.of_jobs([job_id])[job_id]
            total = store.books.run_totals([run.id])[run.id]
            assert total.energy_j == pytest.approx(world.true_energy_j(job_id), rel=1e-9)
            books.energy_j.append(total.energy_j)
            books.settled_g.append(total.settled_g)
        device_j: defaultdict[str, float] = defaultdict(float)
        for entry in store.books.entries(limit=10_000):
            device_j[entry.slice.device] += entry.slice.energy_j or 0.0
        books.device_j = dict(device_j)
    return books


def tick_through(world: World, store: Store, beat: Beat) -> None:
    meter = world.meter()
    engine, restarts = new_engine(world, store, meter, tick=beat.tick), list(beat.restarts)
    while True:
        while restarts and T0 + restarts[0].at <= world.now:
            if restarts.pop(0).new_sampler:
                world.sampled = RecentReadings()
                meter = world.meter()
            engine = new_engine(world, store, meter, tick=beat.tick)
        engine.refresh(world.now)
        later = engine.tick(world.now)
        if world.now >= END:
            return
        off_beat = T0 + beat.phase + ((world.now - T0 - beat.phase) // (2 * beat.tick) + 1) * 2 * beat.tick
        _sample_until(min(later, off_beat, END, *(T0 + restart.at for restart in restarts[:1])), world, meter)


def _sample_until(instant: datetime, world: World, meter: WorldMeter) -> None:
    """Let time pass with a sampler that reads on its own clock, as the real one does."""
    while world.now + SAMPLING < instant:
        world.now += SAMPLING
        meter.read({device.id: world.now for device in world.devices})
    world.now = instant


def same(found: Books, expected: Books) -> None:
    """Assert that two books agree to rounding."""
    assert None not in expected.settled_g
    assert found.energy_j == pytest.approx(expected.energy_j, rel=1e-9)
    assert found.settled_g == pytest.approx(expected.settled_g, rel=1e-9)
    assert found.device_j == pytest.approx(expected.device_j, rel=1e-9)
