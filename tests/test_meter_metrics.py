"""How well the GPUs can be read is told from memory, for GPUs alone."""

from greenrun.core.energy import DeviceHealth, MeterHealth
from greenrun.meters.accumulator import Trouble
from tests.test_docs import text
from tests.test_metrics import Scrape

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


def test_no_gpu_is_invented_of_another_device_and_no_lag_of_a_meter_that_never_told() -> None:
    scrape = Scrape()
    scrape.scheduler.readable = POOR
    assert scrape.value("greenrun_gpu_up", gpu_uuid="cpu-0") is None
    assert scrape.value("greenrun_sampler_lag_seconds") is None


def test_every_cause_of_trouble_is_documented() -> None:
    assert [cause for cause in Trouble if f"`{cause}`" not in text("docs/metrics.md")] == []
