"""Every quantity reads in one way, is never empty, and is unknown where it is missing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core import formatting
from greenrun.core.formatting import (
    compared_text,
    count_text,
    duration_text,
    energy_text,
    exact_duration_text,
    iso_text,
    mass_text,
    mass_unit,
    money_text,
    number_text,
    percent_text,
    period_text,
    power_text,
    ranges_text,
)
from greenrun.core.parsing import parse_duration, parse_instant

AMOUNTS = st.floats(min_value=-1e15, max_value=1e15)
OF_ONE_NUMBER = [
    formatting.number_text, formatting.whole_text, formatting.energy_text, formatting.joules_text,
    formatting.power_text, formatting.mass_text, formatting.intensity_text, formatting.money_text,
    formatting.percent_text, formatting.precise_percent_text, formatting.duration_text,
]  # fmt: skip


@pytest.mark.parametrize("text_of", [*OF_ONE_NUMBER, formatting.instant_text], ids=lambda text_of: text_of.__name__)
def test_what_is_missing_is_unknown(text_of: Callable[[None], str]) -> None:
    """Never 0, and never nothing."""
    assert text_of(None) == "unknown"


@pytest.mark.parametrize("text_of", OF_ONE_NUMBER, ids=lambda text_of: text_of.__name__)
@given(value=AMOUNTS)
def test_a_number_is_never_told_as_nothing_nor_as_minus_zero(text_of: Callable[[float], str], value: float) -> None:
    """Whatever it is, some digits stand for it."""
    text = text_of(value)
    assert any(sign.isdigit() for sign in text)
    assert not text.startswith("-0 ")
    assert text != "-0"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"), (0.25, "0.25s"), (8, "8s"), (90, "1m30s"), (3600, "1h"), (5400, "1h30m"), (90061, "1d1h"),
        (86400, "1d"), (59.9, "1m"), (86700, "1d"), (86_399, "23h59m"), (-90, "-1m30s"),
    ],
)  # fmt: skip
def test_a_duration_for_people_has_two_units_at_most(seconds: float, expected: str) -> None:
    """As seconds and as a timedelta alike."""
    assert duration_text(seconds) == duration_text(timedelta(seconds=seconds)) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.25, "0.25s"), (5, "5s"), (90, "90s"), (150, "2m30s"), (600, "10m"), (5400, "90m"),
        (86_400, "24h"), (172_800, "48h"), (604_800, "7d"), (86_399, "23h59m59s"), (7260, "2h1m"),
        (360_000, "4d4h"),
    ],
)  # fmt: skip
def test_an_exact_duration_is_written_as_a_person_would_write_it(seconds: float, text: str) -> None:
    """One unit where that says it."""
    assert exact_duration_text(timedelta(seconds=seconds)) == text


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30_000)))
def test_an_exact_duration_survives_being_written(duration: timedelta) -> None:
    """Writing and reading gives the same, to the microsecond."""
    assert parse_duration(exact_duration_text(duration)) == duration


@given(st.integers(0, 4 * 10**9).map(lambda s: datetime.fromtimestamp(s, UTC)), st.integers(0, 999_999))
def test_an_exact_instant_survives_being_written(second: datetime, us: int) -> None:
    """Writing and reading gives the same, to the microsecond."""
    at = second.replace(microsecond=us)
    assert parse_instant(iso_text(at)) == at


@pytest.mark.parametrize(
    ("energy_j", "expected"),
    [(0.0, "0 Wh"), (1750, "0.486 Wh"), (3.6e5, "100 Wh"), (3.6e6, "1 kWh"), (-7.2e6, "-2 kWh"), (4.5e9, "1.25 MWh")],
)
def test_energies(energy_j: float, expected: str) -> None:
    """In the unit that fits."""
    assert energy_text(energy_j) == expected


@pytest.mark.parametrize(
    ("grams", "expected"),
    [(0.0123, "0.0123 g"), (93.4, "93.4 g"), (999, "999 g"), (999.6, "1 kg"), (-2500, "-2.5 kg"), (3.2e8, "320 t")],
)
def test_masses(grams: float, expected: str) -> None:
    """In the unit that fits the rounded number, which a range can be told in as well."""
    assert mass_text(grams) == expected
    scale, unit = mass_unit(grams)
    assert f"{number_text(grams / scale)} {unit}" == expected


@pytest.mark.parametrize(("watts", "expected"), [(80, "80 W"), (350.4, "350 W"), (5600, "5.6 kW"), (2.5e6, "2.5 MW")])
def test_powers(watts: float, expected: str) -> None:
    """In the unit that fits."""
    assert power_text(watts) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [(1250, "EUR", "1,250.00 EUR"), (0.0, None, "0.00"), (0.0123, "EUR", "0.012 EUR"), (-3.456, "EUR", "-3.46 EUR")],
)
def test_money(amount: float, currency: str | None, expected: str) -> None:
    """To the cent, and of less than ten of them what there is."""
    assert money_text(amount, currency) == expected


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "February 2026"),
        ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", "December 2026"),
        ("2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z", "2026-02-01 to 2026-04-01"),
        ("2026-02-01T06:00:00Z", "2026-03-01T00:00:00Z", "2026-02-01 06:00 UTC to 2026-03-01"),
        ("2026-02-02T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-02 to 2026-03-01"),
    ],
)
def test_a_whole_month_is_told_by_its_name(start: str, end: str, said: str) -> None:
    assert period_text(datetime.fromisoformat(start), datetime.fromisoformat(end)) == said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (formatting.mass_text(5.53e-18), "0 g"),
        (formatting.precise_percent_text(2.5e-18), "0 %"),
        (formatting.mass_text(-3e-9), "0 g"),
        (formatting.power_text(349.99999999999994), "350 W"),
        (number_text(0.00001234), "< 0.001"),
        (number_text(-0.00001234), "> -0.001"),
        (formatting.precise_percent_text(9.64e-7), "< 0.01 %"),
        (formatting.precise_percent_text(-9.64e-7), "> -0.01 %"),
        (formatting.precise_percent_text(0.000357), "0.04 %"),
        (formatting.precise_percent_text(0.0938), "9.38 %"),
        (formatting.energy_text(0.5), "< 0.001 Wh"),
        (formatting.joules_text(0.0005), "500 µJ"),
        (formatting.joules_text(0.25), "0.25 J"),
        (number_text(99.96), "100"),
        (formatting.figure_text(0.00001), "0.00001"),
        (formatting.figure_text(1234567.0), "1,234,570"),
        (formatting.figure_text(0.1051234567), "0.105123"),
        (formatting.money_text(0.00001, "EUR"), "< 0.001 EUR"),
        (formatting.plain_number(349.99999999999994), "350"),
        (formatting.plain_number(0.1 + 0.2), "0.3"),
        (formatting.plain_number(-1234567.25), "-1234567.25"),
        (formatting.plain_number(1e-9), "0.000000001"),
        (formatting.plain_number(0.0), "0.0"),
    ],
)
def test_nobody_reads_the_noise_of_a_float_nor_an_exponent(said: str, expected: str) -> None:
    assert said == expected


def test_ratios_are_told_in_per_cent() -> None:
    """With a space before the sign, and with decimals only where they are asked for."""
    assert [percent_text(0.414), percent_text(0.414, 1), percent_text(-0.001)] == ["41 %", "41.4 %", "0 %"]


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [(93, 158, "41 % below now"), (103, 100, "3 % above now"), (100.2, 100, "as now"), (None, 100, "unknown")],
)
def test_a_value_is_compared_with_its_reference(value: float | None, reference: float, expected: str) -> None:
    """By how much and in which direction."""
    assert compared_text(value, reference) == expected


def test_a_column_s_digits_stand_below_each_other() -> None:
    """So many decimals, without a sign before nothing."""
    assert [formatting.decimal_text(value, 2) for value in (1.5, -0.001, None)] == ["1.50", "0.00", "unknown"]


def test_counts_and_ranges() -> None:
    """One thing is singular, and neighbours are put together."""
    assert [count_text(1, "GPU"), count_text(2, "GPU"), count_text(0, "entry", "entries")] == [
        "1 GPU", "2 GPUs", "0 entries",
    ]  # fmt: skip
    assert [ranges_text([4, 14, 12, 13]), ranges_text([])] == ["4, 12-14", "none"]
