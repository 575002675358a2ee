"""What a meter at the plug counts is told beside the books and is in none of their sums, also after restarts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.model import Component, Device, Quality, Reading
from greenrun.meters.recent_readings import RecentReadings
from greenrun.reports.build import Reports, ReportSettings
from greenrun.store import Store
from tests.engine.trouble import submit, total_of
from tests.world import T0, World, WorldMeter, new_engine, open_store, run_until

HOUR = timedelta(hours=1)
PLUG = Device(id="EXTERNAL-h-pdu", index=0, model="pdu (command)", source="external", kind=Component.EXTERNAL)
PLUG_W = 5_000.0
METRIC = "greenrun_external_energy_joules_total"


class Host(WorldMeter):
    """The world's GPUs and, beside them, a plug that draws a steady power from T0 on; it is read every ten seconds."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._world, self._plug = world, RecentReadings()

    def devices(self) -> Sequence[Device]:
        return [*super().devices(), PLUG]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        now = self._world.now
        energy_j = PLUG_W * (now - T0).total_seconds()
        if now.second % 10 == 0:
            one = Reading(
                device=PLUG.id, at=now, energy_j=energy_j, quality=Quality.MEASURED, counter="boot", session="s"
            )
            self._plug.add([one])
        return sorted([*super().read(since), *self._plug.since(since)], key=lambda reading: reading.at)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def counted_j(store: Store) -> float:
    return store.books.counters()[METRIC, (("meter", PLUG.id),)]


def test_it_is_in_no_slice_and_in_no_total_and_changes_no_job(store: Store) -> None:
    world, job = World([300] * 20, gpus=2), submit(store, 3600, gpus=1)
    run_until(world, new_engine(world, store, Host(world)), T0 + 2 * HOUR)
    slices = [entry.slice for entry in store.books.entries(limit=100_000)]
    assert {piece.component for piece in slices} == {Component.GPU}
    assert total_of(store, job).energy_j == pytest.approx(world.true_energy_j(job), rel=1e-9)
    used_j = sum(piece.energy_j or 0.0 for piece in slices)
    told_j = sum(value for (name, _), value in store.books.counters().items() if name == "greenrun_energy_joules_total")
    assert told_j == pytest.approx(used_j, rel=1e-9)
    assert counted_j(store) == pytest.approx(PLUG_W * 7200, rel=0.01)


def test_a_report_has_it_in_no_figure_and_says_so(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    run_until(world, new_engine(world, store, Host(world)), T0 + HOUR)
    reports = Reports(store.archive, lambda: [*world.devices, PLUG], ReportSettings(zone="GB"))
    report = reports.report(T0, T0 + HOUR, "job", world.now).document()
    used_j = sum(entry.slice.energy_j or 0.0 for entry in store.books.entries(limit=100_000))
    assert report["total"]["it_energy_kwh"] == pytest.approx(used_j / 3.6e6, rel=1e-9)
    assert "external_energy_kwh" not in report["total"]
    assert [row["note"] for row in report["data_quality"] if row["field"] == "beside"] == [
        "Metered beside, as at the plug, and in no figure, since these hold what is metered here: pdu (command). "
        "Their joules are greenrun_external_energy_joules_total."
    ]


def test_a_restart_goes_on_counting_and_counts_nothing_twice(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    run_until(world, new_engine(world, store, Host(world)), T0 + HOUR)
    run_until(world, new_engine(world, store, Host(world)), T0 + 2 * HOUR)
    mark = store.books.marks()[PLUG.id]
    first_j = PLUG_W * 5  # the first reading may come with the second tick
    assert counted_j(store) == pytest.approx(mark.energy_j, abs=2 * first_j)


def test_no_gpu_is_made_of_it(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    engine = new_engine(world, store, Host(world))
    run_until(world, engine, T0 + timedelta(minutes=1))
    assert engine.situation(world.now).devices == (world.devices[0].id,)
