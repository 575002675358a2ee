"""The only unit conversions of the program, but for a source's own unit, which its provider reads off its answers."""

from datetime import timedelta
from math import ceil, log10

J_PER_KWH = 3_600_000.0
DIGITS = 12  # of a sum of floats that are worth telling
ABSURD_G_PER_KWH = 5_000.0  # above any power station ever built; a unit mix-up (lb/MWh, kg/MWh x1000) lands beyond it


def emissions_g(energy_j: float, intensity_g_per_kwh: float, pue: float = 1.0) -> float:
    """Return grams CO2e of `energy_j` joules of IT energy; `pue` scales them to the facility's energy."""
    return energy_j / J_PER_KWH * intensity_g_per_kwh * pue


def energy_j(power_w: float, duration: timedelta) -> float:
    """Return the joules that a constant power of `power_w` watts uses over `duration`."""
    return power_w * duration.total_seconds()


def significant(value: float) -> float:
    """Return a quotient of sums to the digits that these are good for, so that of equal parts it is what they are."""
    return float(f"{value:.{DIGITS}g}")


def difference_of(minuend: float, subtrahend: float) -> float:
    """Return the difference to the digits that both sums are good for, so that equal ones differ by 0, not by noise."""
    largest = max(abs(minuend), abs(subtrahend))
    return round(minuend - subtrahend, DIGITS - ceil(log10(largest))) + 0.0 if largest else 0.0
