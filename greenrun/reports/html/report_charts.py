"""The charts of a report's page; their values are in its tables, too."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from markupsafe import Markup

from greenrun.charts import browser
from greenrun.core.formatting import energy_unit, intensity_text, mass_text, mass_unit
from greenrun.core.units import J_PER_KWH
from greenrun.reports.cells import kwh_text
from greenrun.reports.model import Day, Report
from greenrun.reports.period_models import HourOfDay

HOLDERS = ("runs", "unallocated")
Text = Callable[[float | None], str]


def charts(report: Report) -> Mapping[str, Markup]:
    """Return the charts of the page as HTML, by name."""
    return {chart.id: browser.fragment(chart) for chart in _drawn(report)}


def energy_bars(days: Sequence[Day], per_kwh: float = 1.0) -> list[browser.Bar]:
    """Return a bar for each day in kWh, or in so many of them: what runs used, and the rest."""
    return [_day(day, day.attributed_energy_kwh, day.it_energy_kwh, kwh_text, per_kwh) for day in days]


def _energy_unit(most_kwh: float) -> tuple[float, str]:
    """Return the kWh of the unit that fits the axis of a chart, and its name."""
    size_j, unit = energy_unit(most_kwh * J_PER_KWH)
    return size_j / J_PER_KWH, unit


def _drawn(report: Report) -> Iterator[browser.Chart]:
    grams, unit = mass_unit(max((day.emissions_location_g or 0.0 for day in report.days), default=0.0))
    kwh, energy = _energy_unit(max((day.it_energy_kwh or 0.0 for day in report.days), default=0.0))
    yield browser.bars_over_days(
        energy_bars(report.days, kwh),
        id="energy",
        title="Energy of each day, of runs and unallocated",
        unit=energy,
        parts=HOLDERS,
    )
    yield browser.bars_over_days(
        [_day(day, day.attributed_emissions_g, day.emissions_location_g, mass_text, grams) for day in report.days],
        id="emissions",
        title="Emissions of each day, of runs and unallocated",
        unit=f"{unit} CO2e",
        parts=HOLDERS,
    )
    hours = report.hours_of_day
    kwh, energy = _energy_unit(max((_whole_kwh(hour) for hour in hours), default=0.0))
    of_grid, of_runs = [hour.grid_ci_g_per_kwh for hour in hours], [hour.runs_ci_g_per_kwh for hour in hours]
    yield browser.bars_over_days(
        [_hour(hour, kwh) for hour in hours],
        id="hours",
        title="Energy and carbon intensity by the hour of the day (UTC)",
        unit=energy,
        parts=HOLDERS,
        lines=[
            browser.ScaledLine(name="grid", values=of_grid, colour=browser.AMBER),
            browser.ScaledLine(name="power of runs", values=of_runs, colour=browser.BLUE),
        ],
        line_unit="g/kWh",
    )


def _day(day: Day, held: float | None, whole: float | None, text: Text, per: float) -> browser.Bar:
    free = None if whole is None else max(whole - (held or 0.0), 0.0) / per
    of_runs = "" if held is None else f", of it {text(held)} of runs"
    shown = f"{day.day}: {text(whole)}{of_runs}"
    own = None if whole is None else (held or 0.0) / per
    return browser.Bar(label=f"{day.day:%m-%d}", parts=(own, free), text=shown)


def _whole_kwh(hour: HourOfDay) -> float:
    return (hour.runs_energy_kwh or 0.0) + (hour.unallocated_energy_kwh or 0.0)


def _hour(hour: HourOfDay, kwh: float) -> browser.Bar:
    of_runs, free = hour.runs_energy_kwh, hour.unallocated_energy_kwh
    text = f"{hour.hour:02}:00: {kwh_text(of_runs)} of runs, grid {intensity_text(hour.grid_ci_g_per_kwh)}"
    return browser.Bar(label=f"{hour.hour:02}", parts=((of_runs or 0.0) / kwh, (free or 0.0) / kwh), text=text)
