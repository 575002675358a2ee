"""What one more kWh emitted is summed only of figures that count the same."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from greenrun.core.accounting.parts import Part, Parts, Price
from greenrun.core.carbon.intensity import Basis, Kind, SeriesId, Signal
from greenrun.core.energy.model import Component, Quality
from greenrun.reports.emissions import forecast_comparison, marginal
from tests.reports.columns import value, whole

MARGINAL = Signal.MARGINAL


def part(grams: float, basis: Basis, signal: Signal = MARGINAL, beside_g: float | None = None) -> Part:
    """An hour of 2 J by a source of its own, and for half of that a price by another one beside it."""
    series = SeriesId(provider="one", zone="GB", signal=signal, basis=basis)
    price = Price(series=series, kind=Kind.MEASURED, emissions_g=grams, lowest_g_per_kwh=1, highest_g_per_kwh=1)
    return Part(
        run_id=1, device="a", component=Component.GPU, quality=Quality.MEASURED, hour=datetime(2026, 3, 2, tzinfo=UTC),
        seconds=3600, energy_j=2.0, pue=1.0, booked=price, settled=None,
        marginal_g=beside_g, marginal_j=None if beside_g is None else 1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "grams", "ratio"),
    [
        ([part(3, Basis.DIRECT), part(4, Basis.DIRECT)], 7.0, 1.0),
        ([part(3, Basis.DIRECT), part(4, Basis.LIFECYCLE)], None, None),
        ([part(3, Basis.DIRECT), part(4, Basis.DIRECT, Signal.AVERAGE)], 3.0, 0.5),
        ([part(3, Basis.DIRECT, Signal.AVERAGE, 9), part(4, Basis.DIRECT, Signal.AVERAGE)], 9.0, 0.25),
        ([part(4, Basis.DIRECT, Signal.AVERAGE)], None, None),
        ([], None, None),
    ],
    ids=["alike", "two bases", "an average too", "beside", "averages", "nothing"],
)
def test_marginal_grams_are_of_one_basis_and_never_of_averages(
    parts: list[Part], grams: float | None, ratio: float | None
) -> None:
    told_g, _, told_ratio = map(value, marginal(whole(parts)))
    assert (told_g, told_ratio) == (grams, ratio)


@pytest.mark.parametrize(("signal", "grams"), [(Signal.AVERAGE, (3.0, 2.0)), (MARGINAL, (None, None))])
def test_a_forecast_is_compared_under_this_name_only_if_it_told_averages(
    signal: Signal, grams: tuple[float | None, float | None]
) -> None:
    booked = part(3, Basis.DIRECT, signal)
    assert booked.booked is not None
    settled = replace(booked.booked, emissions_g=2.0)
    forecast = replace(booked.booked, kind=Kind.FORECAST)
    told = forecast_comparison(Parts.of([replace(booked, booked=forecast, settled=settled)]))
    assert (told.booked_g, told.settled_g) == grams
