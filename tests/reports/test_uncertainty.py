"""Half-widths combine as told: what errs alike adds up, what errs apart goes in quadrature, nothing makes nothing."""

from datetime import UTC, datetime
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.parts import Part
from greenrun.core.energy.model import Component, Device, Quality
from greenrun.reports.figures import Share, figures, pue_pct
from greenrun.reports.rows.groups import quadratures
from greenrun.reports.uncertainty import (
    SPARSE,
    Widths,
    energy_pct,
    quadrature,
    sampled_sparsely,
)
from tests.reports.columns import only, value, whole

WIDTHS = Widths()
GRADES = [grade for grade in Quality if grade not in (Quality.UNKNOWN, Quality.EMULATED)]
SORTS = st.sampled_from(["gpu", "cpu", "dram", SPARSE])
GRADED = st.lists(st.tuples(SORTS, st.sampled_from(GRADES), st.floats(1e-6, 1e4)), min_size=1, max_size=12)
POSITIVE = st.lists(st.floats(0, 1e6), max_size=8)


@given(POSITIVE)
def test_together_they_are_at_least_the_largest_and_at_most_the_sum(parts: list[float]) -> None:
    whole = quadrature(parts)
    assert max(parts, default=0.0) * (1 - 1e-12) <= whole <= fsum(parts) * (1 + 1e-12)


def test_no_parts_have_no_width() -> None:
    assert quadrature([]) == 0.0
    assert energy_pct([("gpu", Quality.MEASURED, 1.0)], 1.0, Widths(measured=0.0)) == 0.0
    assert energy_pct([], 1.0, WIDTHS) is None


@given(GRADED, st.floats(0.01, 1.0))
def test_energy_is_never_surer_than_its_largest_independent_part(
    graded: list[tuple[str, Quality, float]], coverage: float
) -> None:
    total = fsum(kwh for *_, kwh in graded)
    parts: dict[tuple[str, Quality], float] = {}
    for sort, grade, kwh in graded:
        parts[sort, grade] = parts.get((sort, grade), 0.0) + WIDTHS.of(sort, grade) * kwh
    parts["not", Quality.UNKNOWN] = total * (1 - coverage) / coverage
    width = energy_pct(graded, coverage, WIDTHS)
    assert width is not None
    assert max(parts.values()) * (1 - 1e-9) <= width * total / 100 <= fsum(parts.values()) * (1 + 1e-9)


@given(GRADED)
def test_split_into_more_slices_of_a_sort_it_is_as_wide(graded: list[tuple[str, Quality, float]]) -> None:
    halves = [(sort, grade, kwh / 2) for sort, grade, kwh in graded for _ in range(2)]
    assert energy_pct(halves, 1.0, WIDTHS) == pytest.approx(energy_pct(graded, 1.0, WIDTHS))


@given(st.floats(0, 100), st.floats(0, 20), st.floats(0, 100))
def test_emissions_are_never_surer_than_their_energy(energy: float, pue: float, forecast: float) -> None:
    width = quadratures(*(np.array([each]) for each in (energy, pue, forecast)))[0]
    assert width >= max(energy, pue, forecast) * (1 - 1e-12)
    assert quadratures(np.array([0.0]), np.array([0.0]))[0] == 0.0
    assert np.isnan(quadratures(np.array([np.nan]), np.array([pue]))[0])


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=50))
def test_a_pue_that_is_not_set_has_no_width_however_its_sums_are_rounded(energies_kwh: list[float]) -> None:
    assert of_pue([(kwh, 1.0) for kwh in energies_kwh]) == 0.0
    assert of_pue([(kwh, 1.25) for kwh in energies_kwh]) == pytest.approx(100 * 0.1 / 1.25)
    assert of_pue([(1.0, 1.0), (1.0, 1.5)]) == pytest.approx(100 * 0.1 / 2.5)
    assert of_pue([]) is None


def of_pue(energies: list[tuple[float, float]]) -> float | None:
    """The half-width that the PUE makes of energies in kWh, each with the PUE it had."""
    parts = [
        Part(
            run_id=1, device="GPU-0", component=Component.GPU, quality=Quality.MEASURED, seconds=60.0, pue=pue,
            hour=datetime(2026, 3, 2, tzinfo=UTC), energy_j=kwh * 3.6e6, booked=None, settled=None,
        )
        for kwh, pue in energies
    ]  # fmt: skip
    return value(pue_pct(whole(parts), WIDTHS))


def test_of_emulated_energy_nothing_is_known() -> None:
    assert energy_pct([("gpu", Quality.EMULATED, 1.0)], 1.0, WIDTHS) is None
    assert energy_pct([("gpu", Quality.MEASURED, 99.0), ("gpu", Quality.EMULATED, 1e-9)], 1.0, WIDTHS) is None


def test_what_of_a_gap_may_be_others_is_in_the_width() -> None:
    graded = [("gpu", Quality.MEASURED, 9.0), ("gpu", Quality.BRIDGED, 1.0)]
    assert energy_pct(graded, 1.0, WIDTHS) == pytest.approx(10 * (0.45**2 + 0.2**2) ** 0.5)
    assert energy_pct(graded, 1.0, WIDTHS, 5.2) == pytest.approx(10 * (0.45**2 + 0.2**2 + 5.2**2) ** 0.5)


def test_a_counter_beside_another_is_surer_than_either() -> None:
    both = [("gpu", Quality.MEASURED, 1.0), ("cpu", Quality.MEASURED, 1.0)]
    assert energy_pct(both, 1.0, WIDTHS) == pytest.approx(5 / 2**0.5)
    assert energy_pct(both, 1.0, Widths(rapl=0.1)) == pytest.approx(100 * (0.05**2 + 0.1**2) ** 0.5 / 2)


def test_power_of_gpus_that_are_sampled_sparsely_is_less_sure() -> None:
    def sees_a_part(model: str) -> bool:
        return sampled_sparsely(Device(id="G", index=0, source="nvml", model=model))

    sparse = [sees_a_part(model) for model in ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3")]
    usual = [sees_a_part(model) for model in ("NVIDIA A10", "H200", "Tesla V100", "RTX A1000")]
    assert (sparse, usual) == ([True] * 2, [False] * 4)
    assert energy_pct([(SPARSE, Quality.INTEGRATED, 1.0)], 1.0, WIDTHS) == pytest.approx(15)
    assert energy_pct([("gpu", Quality.INTEGRATED, 1.0)], 1.0, WIDTHS) == pytest.approx(10)
    assert energy_pct([(SPARSE, Quality.MEASURED, 1.0)], 1.0, WIDTHS) == pytest.approx(5)


@pytest.mark.parametrize("used_j", [1000.0, 1520.0, 480.0])
def test_a_run_that_ended_in_a_gap_is_as_uncertain_as_the_split_of_that_and_the_whole_is_not(used_j: float) -> None:
    """It was said to be within 18 % where it had used 52 % more: the gap's sum is certain, whose it was is not."""
    parts = [
        Part(
            run_id=run_id, device="GPU-0", component=Component.GPU, quality=Quality.BRIDGED, seconds=60.0, pue=1.0,
            hour=datetime(2026, 3, 2, tzinfo=UTC), energy_j=1000.0, booked=None, settled=None, split_j=520.0,
        )
        for run_id in (1, None)
    ]  # fmt: skip
    own = only(figures(Share(used=whole(parts[:1])), None))["energy_uncertainty_pct"]
    assert own is not None
    assert abs(used_j - 1000.0) <= 1000.0 * own / 100 < 600.0
    both = only(figures(Share(used=whole(parts), is_whole=True), None))
    assert both["energy_uncertainty_pct"] == pytest.approx(20)
