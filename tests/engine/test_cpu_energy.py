"""What a meter tells besides GPUs, and of no run, is nobody's, by component; it is never planned with or leased."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from greenrun.config import load_config
from greenrun.core.energy.model import Component, Device, Quality, Reading, Slice
from greenrun.core.jobs.job import State
from greenrun.core.units import emissions_g
from greenrun.daemon.wiring import engine_settings
from greenrun.engine.bookkeeping import Bookkeeping
from greenrun.engine.intensities import CarbonIntensities
from greenrun.meters.recent_readings import RecentReadings
from greenrun.store import Store
from tests.engine.trouble import only_energy, submit, total_of
from tests.world import SLOT, T0, WATTS, World, WorldMeter, new_engine, open_store, run_until

HOUR = timedelta(hours=1)
CPU_W = {"cpu-0": 90.0, "cpu-0-dram": 12.5, "cpu-1": 110.0}
KINDS = {"cpu-0": Component.CPU, "cpu-0-dram": Component.DRAM, "cpu-1": Component.CPU}


class Processors:
    """A meter of CPUs that draw a steady power from T0 on."""

    def __init__(self, world: World) -> None:
        self._world, self._history = world, RecentReadings()

    def devices(self) -> Sequence[Device]:
        return [
            Device(id=name, index=index, model="", source="rapl", kind=kind)
            for index, (name, kind) in enumerate(KINDS.items())
        ]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        now = self._world.now
        seconds = (now - T0).total_seconds()
        self._history.add(
            Reading(
                device=name, at=now, energy_j=power_w * seconds, quality=Quality.MEASURED, counter="boot", session="s"
            )
            for name, power_w in CPU_W.items()
        )
        return self._history.since(since)


class Host(WorldMeter):
    """The world's GPUs and, beside them, its CPUs."""

    refusals = ()

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._processors = Processors(world)

    def devices(self) -> Sequence[Device]:
        return [*super().devices(), *self._processors.devices()]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        return sorted([*super().read(since), *self._processors.read(since)], key=lambda reading: reading.at)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def used_j(slices: Sequence[Slice], component: Component) -> float:
    return sum(piece.energy_j or 0.0 for piece in slices if piece.component is component)


def test_a_job_gets_gpus_alone_and_waits_for_one_though_cpus_are_free(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    first, second = submit(store, 3600), submit(store, 3600)
    engine = new_engine(world, store, Host(world))
    run_until(world, engine, T0 + timedelta(minutes=10))
    assert [run.devices for run in store.runs.live_runs()] == [(world.devices[0].id,)]
    assert (store.jobs.job(first).state, store.jobs.job(second).state) == (State.RUNNING, State.QUEUED)
    assert engine.situation(world.now).devices == (world.devices[0].id,)


def test_all_energy_is_somebodys_or_nobodys_and_adds_up_to_the_devices(store: Store) -> None:
    world, job = World([300] * 20, gpus=2), submit(store, 3600, gpus=1)
    run_until(world, new_engine(world, store, Host(world)), T0 + 2 * HOUR)
    slices = [entry.slice for entry in store.books.entries(limit=100_000)]
    seconds = (2 * HOUR).total_seconds()
    assert used_j(slices, Component.CPU) == pytest.approx((90.0 + 110.0) * seconds, rel=1e-9)
    assert used_j(slices, Component.DRAM) == pytest.approx(12.5 * seconds, rel=1e-9)
    gpus_j = 2 * WATTS.idle * seconds + (WATTS.busy - WATTS.idle) * 3600
    assert used_j(slices, Component.GPU) == pytest.approx(gpus_j, rel=1e-9)
    assert {piece.component for piece in slices if piece.run_id is not None} == {Component.GPU}
    assert total_of(store, job).energy_j == pytest.approx(world.true_energy_j(job), rel=1e-9)


def test_the_totals_tell_the_components_apart(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    submit(store, 3600)
    run_until(world, new_engine(world, store, Host(world)), T0 + 2 * HOUR)
    totals = {(name, dict(labels).get("component")): value for (name, labels), value in store.books.counters().items()}
    for component, power_w in (("cpu", 200.0), ("dram", 12.5)):
        unattributed_j = totals["greenrun_unattributed_energy_joules_total", component]
        assert unattributed_j == pytest.approx(power_w * 7200, rel=1e-9)
        assert totals["greenrun_energy_joules_total", component] == pytest.approx(unattributed_j, rel=1e-9)
        grams = totals["greenrun_unattributed_settled_emissions_grams_total", component]
        assert grams == pytest.approx(emissions_g(unattributed_j, 300), rel=1e-9)


def test_a_run_that_fell_silent_is_not_completed_by_what_the_cpu_used(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 3600)
    host = Host(world)
    heard = host.read

    def without_gpus(since: Mapping[str, datetime]) -> Sequence[Reading]:
        return [one for one in heard(since) if one.device in CPU_W or one.at < T0 + SLOT]

    host.read = without_gpus  # type: ignore[method-assign]
    run_until(world, new_engine(world, store, host), T0 + 2 * HOUR)
    booked_j = sum(row.slice.energy_j or 0.0 for row in store.books.entries(job_id=job))
    assert total_of(store, job) == only_energy(booked_j)


def test_what_a_clock_set_back_leaves_unknown_keeps_its_component(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    books = Bookkeeping(store, Processors(world), CarbonIntensities(store.grid))
    for at in (T0 + HOUR, T0 + 2 * HOUR, T0 + HOUR / 2):
        world.now = at
        books.account([], at)
    unknown = [row.slice for row in store.books.entries() if row.slice.quality is Quality.UNKNOWN]
    assert {piece.device: piece.component for piece in unknown} == KINDS


def test_what_a_gpu_is_taken_to_draw_does_not_depend_on_the_cpus(tmp_path: Path) -> None:
    host = Host(World([300] * 20, gpus=2))
    settings = engine_settings(load_config(None, {"XDG_CONFIG_HOME": str(tmp_path)}), host, [], None)  # type: ignore[arg-type]
    assert settings.options.gpu_power_w == WATTS.busy
