"""The cells of a report's tables: the same texts on the page and in the terminal."""

from collections.abc import Mapping
from math import floor

from greenrun.core.formatting import (
    energy_text,
    joules_text,
    mass_text,
    money_text,
    number_text,
    precise_percent_text,
    whole_text,
)
from greenrun.core.units import J_PER_KWH
from greenrun.reports.model import JobRow, Row, Unattributed

_MOST_DECIMALS = 3
_LEAST_HOURS = 0.01


def cells(row: Row | Unattributed) -> Mapping[str, str]:
    """Return the cells of a row by the names of their columns; what few rows have is empty where it is not known."""
    uncertainty, busy = row.emissions_uncertainty_pct, row.gpu_utilization_avg
    return {
        "jobs": str(row.jobs) if isinstance(row, Row) else "",
        "energy": kwh_text(row.it_energy_kwh),
        "CO2e": mass_text(row.emissions_location_g),
        "±": _width_text(row.emissions_location_g, uncertainty),
        "g/kWh": "" if row.ci_avg_g_per_kwh is None else whole_text(row.ci_avg_g_per_kwh),
        "covered": precise_percent_text(row.coverage_ratio),
        "settled": precise_percent_text(row.settled_ratio),
        "marginal": "" if row.emissions_marginal_g is None else mass_text(row.emissions_marginal_g),
        "avoided": mass_text(row.avoided_g) if row.avoided_runs else "",
        "of baseline": "" if row.avoided_pct is None else precise_percent_text(row.avoided_pct / 100),
        "busy": "" if busy is None else precise_percent_text(busy),
        "per work": per_work_text(row.energy_per_work_j, row.work_unit),
        "cost": "" if row.cost is None else money_text(row.cost, row.currency),
    }


def _width_text(value: float | None, width_pct: float | None) -> str:
    """Return the half-width of a value: a value whose uncertainty is not known says so."""
    return "" if value is None else precise_percent_text(None if width_pct is None else width_pct / 100)


def name(row: Row | Unattributed, separator: str = " ") -> str:
    """Return what a row is about: its group, and of a job its name too."""
    return f"{row.group}{separator}{row.job_name}" if isinstance(row, JobRow) else row.group


def part_text(part: float, whole: float) -> str:
    """Return how much there is of what there should be, as `384 of 720`; what is less never reads like all of it.

    Both are in hours, of which nobody reads less than a hundredth.
    """
    text, all_of_it = number_text(round(part, 2)), number_text(whole)
    if 0 < part < _LEAST_HOURS <= whole:
        return f"< {_LEAST_HOURS:g} of {all_of_it}"
    if part >= whole or text != all_of_it:
        return f"{text} of {all_of_it}"
    for decimals in range(1, _MOST_DECIMALS + 1):
        text = f"{part:,.{decimals}f}"
        if text != f"{whole:,.{decimals}f}":
            return f"{text} of {all_of_it}"
    return f"{floor(part * 10**_MOST_DECIMALS) / 10**_MOST_DECIMALS:,} of {all_of_it}"


def kwh_text(energy_kwh: float | None) -> str:
    """Return an energy in the unit that fits it."""
    return energy_text(None if energy_kwh is None else energy_kwh * J_PER_KWH)


def per_work_text(energy_j: float | None, unit: str | None) -> str:
    """Return the energy that each unit of work took; empty where that is not known."""
    return "" if energy_j is None else f"{joules_text(energy_j)}/{unit or 'unit'}"
