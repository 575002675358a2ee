"""Charges: what the ledger knows as it is, and an estimate, told apart, for the rest."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from greenrun.core.budgets.budget import Measure, amount_text
from greenrun.core.budgets.charges import Amount, ChargedAccount, ChargedHour, Estimates, charged

HOUR = datetime(2026, 11, 2, 10, tzinfo=UTC)
ADA = ChargedAccount("ada", "vision")
KWH = 3_600_000.0
ONE = ChargedHour(hour=HOUR, start=HOUR, account=ADA, pue=1.5, energy_j=2 * KWH, grams=600.0)


def amounts(row: ChargedHour, **estimates: object) -> dict[Measure, Amount]:
    return charged([row], Estimates(**estimates), [ADA])[ADA]  # type: ignore[arg-type]


def test_what_is_known_is_charged_as_it_is() -> None:
    found = amounts(ONE, prices={HOUR: 0.4})
    assert found == {
        Measure.KWH: Amount(2.0),
        Measure.KG_CO2E: Amount(0.6),
        Measure.MONEY: Amount(pytest.approx(2.0 * 1.5 * 0.4)),
    }


def test_energy_without_grams_is_charged_at_the_mean_rate_of_the_rest() -> None:
    """Half of it is priced, at 400 g for each of 1.5 kWh of the facility."""
    kg = amounts(replace(ONE, unpriced_j=KWH))[Measure.KG_CO2E]
    assert kg.value == pytest.approx(1.2)
    assert kg.assumed == pytest.approx(0.6)


def test_without_any_grams_the_grid_now_is_taken_and_without_that_it_is_not_known() -> None:
    """What is not known is never told as 0."""
    unpriced = replace(ONE, grams=0.0, unpriced_j=2 * KWH)
    assert amounts(unpriced, g_per_kwh=100.0)[Measure.KG_CO2E] == (pytest.approx(0.3), pytest.approx(0.3), True)
    assert not amounts(unpriced)[Measure.KG_CO2E].is_known
    assert not amounts(unpriced)[Measure.MONEY].is_known


def test_seconds_of_unknown_energy_are_charged_by_the_power_of_the_device() -> None:
    blind = replace(ONE, energy_j=0.0, grams=0.0, unknown_gpu_s=3600.0, unknown_cpu_s=3600.0)
    found = amounts(blind, gpu_w=400.0, g_per_kwh=100.0)
    assert found[Measure.KWH] == (pytest.approx(0.45), pytest.approx(0.45), True)
    assert found[Measure.KG_CO2E].value == pytest.approx(0.45 * 1.5 * 0.1)


def test_an_account_without_energy_is_charged_nothing() -> None:
    assert charged([], Estimates(), [ADA]) == {ADA: {}}


@pytest.mark.parametrize(
    ("amount", "measure", "text"),
    [
        (1.0, Measure.GPU_HOURS, "1 GPU-hour"),
        (0.0004, Measure.GPU_HOURS, "0 GPU-hours"),
        (1250.4, Measure.GPU_HOURS, "1,250 GPU-hours"),
        (0.5, Measure.KG_CO2E, "500 g CO2e"),
        (12.0, Measure.KWH, "12 kWh"),
        (3.0, Measure.MONEY, "3.00 EUR"),
        (None, Measure.KWH, "unknown"),
    ],
)
def test_amounts_have_their_units(amount: float | None, measure: Measure, text: str) -> None:
    assert amount_text(amount, measure, "EUR") == text
