"""The only unit conversions of the program, but for a source's own unit, which its provider reads off its answers."""

from datetime import timedelta

J_PER_KWH = 3_600_000.0
ABSURD_G_PER_KWH = 5_000.0  # above any power station ever built; a unit mix-up (lb/MWh, kg/MWh x1000) lands beyond it


def emissions_g(energy_j: float, intensity_g_per_kwh: float, pue: float = 1.0) -> float:
    """Return grams CO2e of `energy_j` joules of IT energy; `pue` scales them to the facility's energy."""
    return energy_j / J_PER_KWH * intensity_g_per_kwh * pue


def energy_j(power_w: float, duration: timedelta) -> float:
    """Return the joules that a constant power of `power_w` watts uses over `duration`."""
    return power_w * duration.total_seconds()
