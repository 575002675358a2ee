"""How well the GPUs can be read is told from memory, for GPUs alone."""

from dataclasses import replace

import pytest

from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.gpu_parts import instance_of, instances_of, slots_of
from greenrun.core.energy.model import DeviceHealth, MeterHealth
from greenrun.core.jobs.job import Run
from greenrun.meters.gpu.accumulator import Trouble
from greenrun.metrics.devices import device_metrics
from tests.api.fakes import GPU, NOW, live_state
from tests.documents import text
from tests.metrics.scrape import Scrape

POOR = MeterHealth(
    devices=(
        DeviceHealth(device="GPU-1", is_up=False, gap_s=7.5, troubles={"rebased": 2, "gap": 1}),
        DeviceHealth(device="cpu-0", is_up=False, gap_s=7.5, troubles={"gap": 1}),
    ),
    restarts=3,
)


def test_a_gpu_that_cannot_be_read_is_down_and_its_troubles_are_told_by_cause() -> None:
    scrape = Scrape()
    scrape.scheduler.readable = POOR
    assert scrape.value("greenrun_gpu_up", gpu_uuid="GPU-1") == 0.0
    assert scrape.value("greenrun_gpu_gap_seconds_total", gpu_uuid="GPU-1") == 7.5
    told = {cause: scrape.value("greenrun_gpu_read_errors_total", gpu_uuid="GPU-1", cause=cause) for cause in Trouble}
    assert told == {**dict.fromkeys(Trouble), Trouble.REBASED: 2.0, Trouble.GAP: 1.0}
    assert scrape.value("greenrun_sampler_restarts_total") == 3.0


def test_a_gpu_that_never_was_read_has_no_joules_and_one_that_has_some_keeps_them() -> None:
    scrape, name = Scrape(), "greenrun_gpu_energy_joules_total"
    assert scrape.value(name, gpu_uuid="GPU-1") == 0.0
    scrape.scheduler.readable = MeterHealth(devices=(DeviceHealth(device="GPU-1", is_up=False, was_read=False),))
    assert scrape.value(name, gpu_uuid="GPU-1") is None
    scrape.count(name, 7.5, gpu_uuid="GPU-1")  # of before the daemon was started again
    assert scrape.value(name, gpu_uuid="GPU-1") == 7.5


@pytest.mark.parametrize("signals", [[], [Signal.AVERAGE], [Signal.MARGINAL], [*Signal]])
def test_no_emissions_are_told_of_a_signal_that_no_source_tells(signals: list[Signal]) -> None:
    scrape = Scrape()
    scrape.signals = set(signals)
    names = {row.name for family in scrape.registry.collect() for row in family.samples}
    grams = {name for name in names if name.endswith("_emissions_grams_total")}
    assert ("greenrun_emissions_grams_total" in grams) is (Signal.AVERAGE in signals)
    assert ("greenrun_marginal_emissions_grams_total" in grams) is (Signal.MARGINAL in signals)
    assert signals or not grams
    assert "greenrun_unpriced_energy_joules_total" in names


def test_no_gpu_is_invented_of_another_device_and_no_lag_of_a_meter_that_never_told() -> None:
    scrape = Scrape()
    scrape.scheduler.readable = POOR
    assert scrape.value("greenrun_gpu_up", gpu_uuid="cpu-0") is None
    assert scrape.value("greenrun_sampler_lag_seconds") is None


def test_every_cause_of_trouble_is_documented() -> None:
    assert [cause for cause in Trouble if f"`{cause}`" not in text("docs/metrics.md")] == []


SLOTS = slots_of(GPU, 4)
MIG = instances_of(
    replace(GPU, id="GPU-2", index=1),
    [
        instance_of(GPU, f"MIG-{number}", number=number, profile=profile, slices=(own, 7), memory_bytes=None)
        for number, (profile, own) in enumerate([("2g.20gb", 2), ("3g.40gb", 3)])
    ],
)
INSTANCES = [replace(one, id=one.id.replace("GPU-1/", "GPU-2/"), within="GPU-2") for one in MIG[1:]]
WHOLE = replace(GPU, id="GPU-3", index=2)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], (0.0, 0.0, 0.0)),
        ([SLOTS[1].id], (1 / 4, 0.0, 0.0)),
        ([SLOTS[1].id, SLOTS[4].id, INSTANCES[1].id, "GPU-3"], (2 / 4, 3 / 7, 1.0)),
        ([slot.id for slot in SLOTS[1:]], (1.0, 0.0, 0.0)),
    ],
)
def test_boards_are_told_by_how_much_of_them_is_held_and_parts_by_whether(
    held: list[str], expected: tuple[float, ...]
) -> None:
    there = [*SLOTS, MIG[0], *INSTANCES, WHOLE]
    leasable = [device.id for device in there if not device.is_divided]
    runs = [
        Run(id=at, job_id=at, number=1, token="t", devices=(device,), claimed_at=NOW) for at, device in enumerate(held)
    ]
    scrape = Scrape()
    state = replace(live_state(scrape.store, scrape.scheduler), devices=lambda: there)
    rows = [row for family in device_metrics(state, runs, {}) for row in family.samples]
    told = {(row.name, row.labels.get("gpu_uuid", "")): row.value for row in rows}
    assert tuple(told["greenrun_gpu_held_ratio", board] for board in ("GPU-1", "GPU-2", "GPU-3")) == (
        pytest.approx(expected)
    )
    assert [name for what, name in told if what == "greenrun_gpu_leased"] == leasable
    assert [name for what, name in told if what == "greenrun_gpu_available"] == leasable
    assert [name for name in leasable if told["greenrun_gpu_leased", name]] == held
    assert len([name for what, name in told if what == "greenrun_gpu_held_ratio"]) == 3


def test_a_board_that_is_shared_no_more_is_held_as_far_as_a_run_still_has_a_slot() -> None:
    scrape = Scrape()
    run = Run(id=1, job_id=1, number=1, token="t", devices=(SLOTS[1].id,), claimed_at=NOW)
    state = replace(live_state(scrape.store, scrape.scheduler), devices=lambda: [GPU])
    rows = {row.name: row.value for family in device_metrics(state, [run], {}) for row in family.samples}
    assert (rows["greenrun_gpu_leased"], rows["greenrun_gpu_held_ratio"]) == (1.0, 0.25)


FIGURES = {
    "greenrun_gpu_power_watts": 250.0, "greenrun_gpu_power_limit_watts": 700.0, "greenrun_gpu_utilization_ratio": 0.9,
    "greenrun_gpu_memory_used_bytes": float(1 << 30), "greenrun_gpu_temperature_celsius": 61.0,
}  # fmt: skip


def test_what_a_gpu_tells_beside_its_energy_is_told_as_long_as_it_is_known() -> None:
    scrape = Scrape()
    assert {name: scrape.value(name, gpu_uuid="GPU-1") for name in FIGURES} == FIGURES
    scrape.scheduler.readable = POOR
    assert {name: scrape.value(name, gpu_uuid="GPU-1") for name in FIGURES} == dict.fromkeys(FIGURES)
