"""Device-seconds of a report: GPUs are held, CPUs are shared, and neither dilutes what is told of the other."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from greenrun.core.accounting.parts import Part
from greenrun.core.energy.model import Component, Quality
from greenrun.reports.energy import avg_power_w, coverage, utilisation
from greenrun.reports.figures import Share, figures
from tests.reports.columns import only, value, whole

HOUR_S = 3600.0
GPU = Part(
    run_id=1,
    device="gpu",
    component=Component.GPU,
    quality=Quality.MEASURED,
    hour=datetime(2026, 3, 2, tzinfo=UTC),
    seconds=HOUR_S,
    energy_j=300 * HOUR_S,
    pue=1.0,
    booked=None,
    settled=None,
)
UNKNOWN = replace(GPU, energy_j=None, quality=Quality.UNKNOWN)
CPU = replace(GPU, device="cpu", component=Component.CPU, seconds=HOUR_S / 4, energy_j=100 * HOUR_S / 4)


def test_the_mean_power_is_that_of_one_gpu_whatever_the_cpu_does() -> None:
    assert value(avg_power_w(whole([GPU, GPU, CPU, UNKNOWN]))) == 300.0
    assert value(avg_power_w(whole([CPU]))) is None


@pytest.mark.parametrize(
    ("parts", "held_s", "of_time", "of_energy"),
    [
        pytest.param([GPU], HOUR_S, 1.0, 1.0, id="all of it"),
        pytest.param([GPU], None, 1.0, 1.0, id="nothing is held"),
        pytest.param([GPU], 2 * HOUR_S, 0.5, 0.5, id="half of what was held"),
        pytest.param([GPU, CPU], HOUR_S, 1.0, 1.0, id="a CPU adds what is booked"),
        pytest.param([GPU, CPU], 2 * HOUR_S, 1.25 / 2.25, 325 / 625, id="what is missing of GPUs is like GPUs"),
        pytest.param([GPU, UNKNOWN, CPU], None, 1.25 / 2.25, 325 / 625, id="what is unknown likewise"),
        pytest.param([UNKNOWN, CPU], HOUR_S, 0.2, 0.0, id="nothing is known of the GPU"),
        pytest.param([CPU], 0.0, 1.0, 1.0, id="a job without GPUs"),
        pytest.param([], 0.0, None, None, id="nothing at all"),
    ],
)
def test_coverage(parts: list[Part], held_s: float | None, of_time: float | None, of_energy: float | None) -> None:
    found = coverage(whole(parts), np.array([held_s], dtype=np.float64))
    assert [*map(value, found)] == [pytest.approx(of_time), pytest.approx(of_energy)]


def test_a_run_whose_cpu_is_in_the_books_still_lacks_the_gpu_that_is_not() -> None:
    row = only(figures(Share(used=whole([CPU] * 5), held_s=np.array([HOUR_S]), holds=1), None))
    assert "not_covered" in row["flags"]


def test_how_busy_gpus_were_is_told_with_the_part_it_is_known_for() -> None:
    told = replace(GPU, busy_s=900.0, busy_known_s=1800.0)
    assert [*map(value, utilisation(whole([told, GPU, CPU])))] == [0.5, 0.25]
    assert [*map(value, utilisation(whole([GPU, CPU])))] == [None, None]
