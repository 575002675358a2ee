"""The only unit conversions of the program, but for a source's own unit, which its provider reads off its answers."""

from datetime import timedelta

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
    """Return the difference, and 0 for what is only noise of both sums.

    It is not rounded to the digits of the sums: differences of parts would no longer make that of the whole.
    """
    difference = minuend - subtrahend
    is_noise = abs(difference) <= max(abs(minuend), abs(subtrahend)) * 10.0**-DIGITS
    return 0.0 if is_noise else significant(difference)
