"""Each figure of the page says what it is of: which GPU, which signal, how far it is known, and what is left out."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenrun.core.budgets.budget import Budget, Budgets, Measure, Owner, OwnerKind
from greenrun.core.budgets.budget_admission import Standing
from greenrun.core.budgets.calendar_period import PeriodKind, period_of
from greenrun.core.budgets.charges import Amount
from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Signal
from greenrun.core.energy.gpu_parts import instance_of, instances_of, slots_of
from greenrun.core.energy.ledger import UNPRICED, Entry, Priced, Total
from greenrun.core.energy.model import Component, Device, Quality, Slice
from greenrun.core.jobs.job import State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Options, Plan
from greenrun.engine.budgets.budget_keeper import BudgetKeeper
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.reports.build import Reports
from greenrun.reports.figure_models import CostFigures
from greenrun.simulation.memory import MemoryStore
from tests.api.fakes import CPU, GPU, NOW, judged, placed, stored
from tests.web.pages import STRANGER, PageWorld, busy, text_of

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


def test_a_run_that_uses_no_processor_for_a_while_has_a_power_all_the_same() -> None:
    world = busy()
    booked(world, GPU.id, 0, 180, 100.0)
    booked(world, CPU.id, 0, 60, 10.0)
    booked(world, CPU.id, 120, 180, None)
    assert steps_of(world) == [(0, 60, 110.0), (60, 120, 100.0)]


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


def cells(world: PageWorld, path: str, job: int = 1) -> list[str]:
    """The cells of the row of a job, or of its only run on its own page."""
    rows = re.findall(r"<tr.*?</tr>", world.get(path).text, re.S)
    (row,) = [row for row in rows if re.search(rf'href="/jobs/{job}"|<th scope="row">{job}\.1 ', row)]
    return [text_of(cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.S)]


PLACES = ["/", "/jobs", "/jobs/1"]


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("grade", [grade for grade in Quality if grade is not Quality.UNKNOWN])
def test_energy_is_told_with_its_grade(path: str, grade: Quality) -> None:
    world = busy()
    world.store.totals[7] = Total(energy_j=3.6e6, emissions_g=123.0, quality=grade)
    assert f"1 kWh {grade}" in cells(world, path)


@pytest.mark.parametrize("path", PLACES)
def test_energy_of_which_a_part_is_missing_is_not_told_as_all_of_it(path: str) -> None:
    world = busy()
    world.store.totals[7] = Total(energy_j=3.6e6, quality=Quality.UNKNOWN)
    told = cells(world, path)
    assert "at least 1 kWh" in told
    assert "1 kWh" not in told
    nothing = busy()
    nothing.store.totals = {}
    assert "kWh" not in " ".join(cells(nothing, path))


def test_a_stranger_is_told_how_good_an_energy_is() -> None:
    for quality, said in ((Quality.EMULATED, "1 kWh emulated"), (Quality.UNKNOWN, "at least 1 kWh")):
        world = busy()
        world.store.totals[7] = Total(energy_j=3.6e6, quality=quality)
        assert said in text_of(world.get("/", who=STRANGER).text)


@pytest.mark.parametrize("missing_kwh", [0.0, 0.5])
def test_a_cost_says_of_how_much_no_price_is_known(missing_kwh: float, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = CostFigures(cost=1.25, currency="EUR", cost_missing_kwh=missing_kwh)
    monkeypatch.setattr(Reports, "cost_of", lambda *_: cost)
    text = text_of(busy().get("/jobs/1").text)
    assert ("electricity 1.25 EUR" in text, ", of 0.5 kWh no price is known" in text) == (True, missing_kwh > 0)


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        ([(3.6e6, Quality.MEASURED), (7.2e6, Quality.ESTIMATED)], "3 kWh estimated"),
        ([(3.6e6, Quality.MEASURED), (7.2e6, Quality.MEASURED)], "3 kWh measured"),
        ([(3.6e6, Quality.MEASURED), (7.2e6, Quality.UNKNOWN)], "at least 3 kWh"),
        ([(3.6e6, Quality.MEASURED), (None, Quality.UNKNOWN)], "at least 1 kWh"),
        ([(None, Quality.UNKNOWN), (None, Quality.UNKNOWN)], "unknown"),
    ],
)
def test_the_energy_of_a_job_is_as_good_as_that_of_its_worst_run(
    totals: list[tuple[float | None, Quality]], expected: str
) -> None:
    world = busy()
    (run,) = world.store.job_runs[1]
    world.store.job_runs[1] = [replace(run, id=7 + place, number=1 + place) for place in range(len(totals))]
    world.store.totals = {7 + place: Total(energy_j=of, quality=grade) for place, (of, grade) in enumerate(totals)}
    assert cells(world, "/jobs")[4] == expected


@pytest.mark.parametrize(("coverage", "said"), [(1.0, "40 %"), (0.5, "40 % known for 50 % of the time")])
def test_how_busy_gpus_were_says_of_how_much_of_the_time_that_is_known(coverage: float, said: str) -> None:
    world = busy()
    world.store.totals[7] = Total(utilization=0.4, utilization_coverage=coverage)
    assert cells(world, "/jobs/1")[-1] == said


GPU_2 = replace(GPU, id="GPU-2", index=1)
GPU_3 = replace(GPU, id="GPU-3", index=2)


@pytest.mark.parametrize(
    ("devices", "powers_w", "said"),
    [
        ([GPU, CPU], {GPU.id: 300.0, CPU.id: 100.0}, "GPUs draw 300 W Waiting"),
        ([GPU, GPU_2, CPU], {GPU.id: 300.0, GPU_2.id: 100.0}, "GPUs draw 400 W Waiting"),
        ([GPU, GPU_2, CPU], {GPU.id: 300.0}, "GPUs draw 300 W, without 1 GPU that does not tell"),
        ([GPU, GPU_2, GPU_3], {GPU_3.id: 300.0}, "GPUs draw 300 W, without 2 GPUs that do not tell"),
        ([*SLOTS, CPU], {GPU.id: 300.0}, "GPUs draw 300 W Waiting"),
        ([GPU, GPU_2, CPU], {CPU.id: 100.0}, "power not known"),
    ],
)
def test_what_the_gpus_draw_says_which_of_them_are_not_in_it(
    devices: list[Device], powers_w: dict[str, float], said: str
) -> None:
    world = busy()
    world.scheduler.devices, world.scheduler.powers_w = lambda: devices, lambda: powers_w
    assert said in text_of(world.get("/").text)


def test_what_a_budget_only_assumes_is_told_apart() -> None:
    world, most = busy(), {Measure.KG_CO2E: 2.0}
    rules = Budgets(projects={"vision": Budget(most=most), "speech": Budget(most=most)})
    kept = BudgetKeeper(MemoryStore(), BudgetRules(budgets=rules), Options(gpu_power_w=300.0))
    for name, used in (("vision", Amount(1.95, 0.1)), ("speech", Amount(1.0))):
        owner, period = Owner(OwnerKind.PROJECT, name), period_of(PeriodKind.MONTH, NOW, UTC)
        standing = Standing(owner=owner, budget=rules.projects[name], period=period, used={Measure.KG_CO2E: used})
        kept.standings[owner] = standing
    world.scheduler.kept_budgets = kept
    text = text_of(world.get("/").text)
    assert "1.95 of 2 used, 0.05 left; 0.1 of what was used is an estimate, for what was not measured" in text
    assert text.count("is an estimate") == 1
