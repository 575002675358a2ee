"""Each figure of the page says what it is of: which GPU, which signal, how far it is known, and what is left out."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Signal
from greenrun.core.energy.gpu_parts import instance_of, instances_of, slots_of
from greenrun.core.energy.ledger import UNPRICED, Entry, Priced
from greenrun.core.energy.model import Component, Device, Quality, Slice
from greenrun.core.jobs.job import State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Plan
from tests.api.fakes import CPU, GPU, NOW, judged, placed, stored
from tests.web.pages import PageWorld, busy, text_of

SLOTS = slots_of(GPU, 2)
INSTANCES = instances_of(
    GPU,
    [
        instance_of(GPU, f"MIG-{number}", number=number, profile="1g.10gb", slices=(1, 7), memory_bytes=10 << 30)
        for number in (0, 1)
    ],
)


def on_parts(devices: list[Device]) -> PageWorld:
    """With one job on each of the two parts of the only board."""
    world = busy()
    world.scheduler.devices = lambda: [*devices, CPU]
    (run,) = world.store.job_runs[1]
    parts = [device for device in devices if device.part]
    world.store.keep(stored(4, State.RUNNING, name="llama"))
    world.store.job_runs = {
        1: [replace(run, devices=(parts[0].id,))], 4: [replace(run, id=9, job_id=4, devices=(parts[1].id,))],
    }  # fmt: skip
    return world


@pytest.mark.parametrize("devices", [SLOTS, INSTANCES], ids=["slots", "instances"])
def test_parts_of_a_gpu_are_told_apart(devices: list[Device]) -> None:
    world = on_parts(devices)
    lanes = [f"GPU {device.name}" for device in devices if device.part]
    data = world.get("/page/timeline").json()
    assert data["lanes"] == lanes
    assert [bar["lane"] for bar in data["bars"] if bar["kind"] == "running"] == lanes
    rows: Any = re.findall(r'<td data-name="on">(.*?)</td>', world.get("/").text)
    assert rows == lanes
    text = text_of(world.get("/devices").text)
    for lane in lanes:
        assert f"{lane} Emulated GPU" in text


def booked(
    world: PageWorld, device: str, start_s: float, end_s: float, power_w: float | None, *prices: tuple[float, SeriesId]
) -> None:
    """Put so many seconds of a device into the books, with what it is booked with and what it is settled with."""
    part = Slice(
        device=device, component=Component.GPU, run_id=7, start=NOW + timedelta(seconds=start_s),
        end=NOW + timedelta(seconds=end_s), energy_j=None if power_w is None else power_w * (end_s - start_s),
        quality=Quality.UNKNOWN if power_w is None else Quality.MEASURED,
    )  # fmt: skip
    priced = [Priced(intensity_g_per_kwh=value, emissions_g=1.0, kind=Kind.FORECAST, series=of) for value, of in prices]
    first, settled = [*priced, None, None][:2]
    world.store.booked.append(
        Entry(id=len(world.store.booked) + 1, slice=part, job_id=1, pue=1.0, booked=first or UNPRICED, settled=settled)
    )


def on_two_gpus() -> PageWorld:
    """With a job that runs on two GPUs."""
    world = busy()
    world.store.job_runs[1] = [replace(world.store.job_runs[1][0], devices=(GPU.id, "GPU-2"))]
    return world


def steps_of(world: PageWorld, place: int = 0) -> list[tuple[float, float, float]]:
    """The steps of one of the chart's curves: from and to in seconds, and what it is in between."""
    steps = world.get("/jobs/1/power").json()["series"][place]["steps"]
    return [
        (*((datetime.fromisoformat(edge) - NOW).total_seconds() for edge in (start, end)), value)
        for start, end, value in steps
    ]


def test_the_power_of_devices_that_are_read_at_different_instants_is_summed_over_the_same_time() -> None:
    world = on_two_gpus()
    booked(world, GPU.id, 0, 60, 100.0)
    booked(world, GPU.id, 60, 120, 200.0)
    booked(world, "GPU-2", 0, 90, 10.0)
    booked(world, "GPU-2", 90, 120, 20.0)
    assert steps_of(world) == [(0, 60, 110.0), (60, 90, 210.0), (90, 120, 220.0)]


def test_instants_that_nearly_agree_make_no_steps_of_their_own() -> None:
    world = on_two_gpus()
    booked(world, GPU.id, 0, 60, 100.0)
    booked(world, GPU.id, 60, 120, 100.0)
    booked(world, "GPU-2", 0, 60.2, 10.0)
    booked(world, "GPU-2", 60.2, 120, 10.0)
    assert steps_of(world) == [(0, 60.2, 110.0), (60.2, 120, 110.0)]


@pytest.mark.parametrize("told", ["unknown", "missing", "never"])
def test_the_power_of_some_of_a_job_s_devices_is_not_told_as_its_own(told: str) -> None:
    world = on_two_gpus()
    booked(world, GPU.id, 0, 60, 100.0)
    booked(world, GPU.id, 60, 120, 100.0)
    if told != "never":
        booked(world, "GPU-2", 0, 60, 10.0)
    if told == "unknown":
        booked(world, "GPU-2", 60, 120, None)
    assert steps_of(world) == ([] if told == "never" else [(0, 60, 110.0)])


def test_a_run_on_a_part_of_a_gpu_has_the_power_that_is_booked_of_its_board() -> None:
    world = on_parts(SLOTS)
    booked(world, GPU.id, 0, 60, 50.0)
    assert steps_of(world) == [(0, 60, 50.0)]


AVERAGE = SeriesId(provider="test", zone="GB", basis=Basis.LIFECYCLE)
DIRECT = replace(AVERAGE, basis=Basis.DIRECT)
MARGINAL = SeriesId(provider="test", zone="GB", signal=Signal.MARGINAL)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([(100.0, AVERAGE)], [(300.0, AVERAGE)], 150.0),
        ([(100.0, AVERAGE), (200.0, AVERAGE)], [(400.0, AVERAGE)], 250.0),
        ([(900.0, MARGINAL), (200.0, AVERAGE)], [(200.0, AVERAGE)], 200.0),
        ([(200.0, AVERAGE), (900.0, MARGINAL)], [(200.0, AVERAGE)], 200.0),
        ([(900.0, MARGINAL)], [(100.0, AVERAGE)], None),
        ([(900.0, MARGINAL)], [(900.0, MARGINAL)], None),
        ([(100.0, DIRECT)], [(100.0, AVERAGE)], None),
        ([], [(100.0, AVERAGE)], None),
    ],
)
def test_only_averages_that_count_the_same_make_a_mean_intensity(
    first: list[tuple[float, SeriesId]], second: list[tuple[float, SeriesId]], expected: float | None
) -> None:
    """By energy, of which the first GPU used three quarters."""
    world = on_two_gpus()
    booked(world, GPU.id, 0, 60, 300.0, *first)
    booked(world, "GPU-2", 0, 60, 100.0, *second)
    assert steps_of(world) == [(0, 60, 400.0)]
    assert steps_of(world, 1) == ([] if expected is None else [(0, 60, expected)])


@pytest.mark.parametrize(("minutes", "said"), [(60, None), (61, "1 later step is"), (75, "15 later steps are")])
def test_the_table_of_power_says_what_it_leaves_out(minutes: int, said: str | None) -> None:
    world = busy()
    for minute in range(minutes):
        booked(world, GPU.id, 60 * minute, 60 * minute + 60, 100.0)
    text = text_of(world.get("/jobs/1").text)
    assert (f"{said} left out here" in text) if said else ("left out" not in text)


@pytest.mark.parametrize(("jobs", "said"), [(60, None), (61, "1 more is"), (350, "At least 240 more are")])
def test_the_table_of_when_jobs_run_says_what_it_leaves_out(jobs: int, said: str | None) -> None:
    world = PageWorld()
    world.store.keep(*(stored(number) for number in range(1, jobs + 1)))
    world.scheduler.latest = Plan(made_at=NOW, placements=tuple(placed(number) for number in range(1, jobs + 1)))
    text = text_of(world.get("/").text)
    assert (f"{said} left out here" in text) if said else ("left out" not in text)


def marginal() -> PageWorld:
    """With a forecast of marginal intensities, by which job 2 is planned."""
    world = busy()
    saved = world.store.saved
    series = saved.series
    own = Series.of(replace(series.id, signal=Signal.MARGINAL, basis=None), list(series))
    world.store.saved = replace(saved, series=own)
    why = because(ReasonCode.CLEANEST_WINDOW, window="93 g/kWh marginal", below="41 % below now")
    placements = (placed(2, signal=Signal.MARGINAL, reason=why),)
    world.scheduler.latest = replace(world.scheduler.latest, placements=placements)
    world.scheduler.quality.latest = [replace(judged(), series=own.id)]
    return world


@pytest.mark.parametrize("path", ["/", "/grid", "/jobs/2"])
def test_marginal_intensities_are_named_so_wherever_they_are_told(path: str) -> None:
    text = text_of(marginal().get(path).text)
    assert "g/kWh marginal" in text
    assert not re.search(r"g/kWh(?! marginal)", text), re.findall(r".{40}g/kWh(?! marginal).{20}", text)
    assert "marginal" not in text_of(busy().get(path).text).lower()


def test_the_curve_of_a_marginal_signal_is_named_so() -> None:
    (curve,) = marginal().get("/grid/intensity").json()["series"]
    assert curve["name"] == "GB, fresh forecast, marginal"


def test_grams_of_a_marginal_signal_are_named_so() -> None:
    for path in ("/", "/jobs/2"):
        assert "400 g marginal" in text_of(marginal().get(path).text)


def test_a_plan_s_grams_are_not_carried_over_to_another_signal() -> None:
    """It was planned by a marginal signal, and the forecast that is in use by now tells the average."""
    world = busy()
    world.scheduler.latest = replace(world.scheduler.latest, placements=(placed(2, signal=Signal.MARGINAL),))
    html = world.get("/jobs/2").text
    rows = [text_of(row) for row in re.findall(r"<tr.*?</tr>", html, re.S) if 'data-name="CO2e"' in row]
    assert [("g/kWh marginal" in row, row.rstrip().endswith("unknown")) for row in rows] == [
        (False, False), (True, False), (False, True), (False, True),
    ]  # fmt: skip
