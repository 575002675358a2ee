"""The lines of the tables on a report's page: what each row says, in the units that fit it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from greenrun.core.formatting import (
    instant_text,
    intensity_text,
    mass_text,
    money_text,
    number_text,
    precise_percent_text,
)
from greenrun.reports.cells import cells, kwh_text, name, per_work_text
from greenrun.reports.formats import MOST_ROWS
from greenrun.reports.model import Day, JobRow, Report, Row, Unattributed
from greenrun.reports.period_models import GroupTrend, HourOfDay

_MOST = MOST_ROWS["html"]
UNALLOCATED = "unallocated (no run)"
_COLUMNS = ("jobs", "energy", "CO2e", "±", "g/kWh", "covered", "settled", "avoided")
_OF_JOBS = ("user", "outcome", "started")

Line = tuple[str, ...]
Text = Callable[[float | None], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The table of the rows of a report; `more` is how many it leaves out."""

    heads: Line
    lines: Sequence[Line]
    foot: Sequence[Line]
    more: int


def typeset(text_of: Callable[..., str], *values: float | str | None) -> str:
    """Return what a number reads as, with a minus that is as wide as a digit and does not break from it."""
    return re.sub(r"^(> )?-", "\\1\N{MINUS SIGN}", text_of(*values))


def co2e_text(mass_g: float | None) -> str:
    """Return emissions with what they are of; what is not known is nothing of anything."""
    return mass_text(None) if mass_g is None else f"{typeset(mass_text, mass_g)} CO2e"


def change_text(change_pct: float | None) -> str:
    """Return a change with its sign: `+5.6 %`; a dash where it is not known."""
    if change_pct is None:
        return "\N{EN DASH}"
    text = typeset(precise_percent_text, change_pct / 100)
    return re.sub(r"^(< )?", r"\1+", text) if change_pct > 0 else text


def groups(report: Report) -> Groups:
    """Return the rows of the report as they were asked for; of jobs with their user, outcome and date."""
    by_job = report.by == "job"
    columns = tuple(column for column in _COLUMNS if not (by_job and column == "jobs"))
    columns += ("cost",) if report.total.cost is not None else ()

    def line(label: str, row: Row | Unattributed) -> Line:
        texts = cells(row)
        own = _own(row) if by_job else ()
        return (label, *own, *(typeset(texts.__getitem__, column) for column in columns))

    return Groups(
        heads=(report.by, *(_OF_JOBS if by_job else ()), *columns),
        lines=[line(name(row, " · "), row) for row in report.rows[:_MOST]],
        foot=[
            *([line("jobs of others", report.others)] if report.others else []),
            line(UNALLOCATED, report.unattributed),
            line("total", report.total),
        ],
        more=max(0, len(report.rows) - _MOST) + report.rows_left_out,
    )


def trend_lines(rows: Sequence[GroupTrend]) -> list[Line]:
    """Return a line for each project or user: this period, the one before, the change."""
    return [
        (
            row.group,
            str(row.jobs),
            kwh_text(row.it_energy_kwh),
            mass_text(row.emissions_location_g),
            "" if row.previous_emissions_g is None else mass_text(row.previous_emissions_g),
            change_text(row.change_pct),
            intensity_text(row.ci_avg_g_per_kwh),
            "" if row.avoided_pct is None else typeset(precise_percent_text, row.avoided_pct / 100),
        )
        for row in rows[:_MOST]
    ]


def day_lines(days: Sequence[Day]) -> list[Line]:
    """Return a line for each day: all energy, that of runs, emissions, intensity."""
    return [
        (
            str(day.day),
            kwh_text(day.it_energy_kwh),
            kwh_text(day.attributed_energy_kwh),
            mass_text(day.emissions_location_g),
            intensity_text(day.ci_avg_g_per_kwh),
        )
        for day in days
    ]


def hour_lines(hours: Sequence[HourOfDay]) -> list[Line]:
    """Return a line for each hour of the day: energy of runs and unallocated, intensity of runs and of the grid."""
    return [
        (
            f"{hour.hour:02}:00",
            kwh_text(hour.runs_energy_kwh),
            kwh_text(hour.unallocated_energy_kwh),
            intensity_text(hour.runs_ci_g_per_kwh),
            intensity_text(hour.grid_ci_g_per_kwh),
        )
        for hour in hours
    ]


def work_lines(report: Report) -> list[Line]:
    """Return what the energy was for, where runs reported work: the group, its work, the energy of each."""
    worked = [(row, row.work) for row in [*report.rows, report.total] if row.work]
    return [
        (
            row.group,
            f"{number_text(done)} {row.work_unit or ''}".rstrip(),
            per_work_text(row.energy_per_work_j, row.work_unit),
        )
        for row, done in worked[:_MOST]
    ]


def scope_2_lines(report: Report) -> list[Line]:
    """Return both methods of GHG Protocol Scope 2, and below market-based what it is made of."""
    total = report.total
    energy = kwh_text(total.facility_energy_kwh)
    lines: list[Line] = [
        ("Location-based", "mean of the grid", energy, "", intensity_text(total.ci_avg_g_per_kwh),
         mass_text(total.emissions_location_g)),
    ]  # fmt: skip
    facility, market_g = total.facility_energy_kwh, total.emissions_market_g
    factor = market_g / facility if market_g is not None and facility else None
    lines.append(("Market-based", "contracts, then the residual mix", energy, "", intensity_text(factor),
                  mass_text(market_g)))  # fmt: skip
    for row in report.instruments:
        kind = row.instrument or ("" if row.source == "residual mix" else "instrument not stated")
        lines.append((f"of it: {row.source}", kind, kwh_text(row.facility_kwh), precise_percent_text(row.share_ratio),
                      intensity_text(row.g_per_kwh), mass_text(row.emissions_g)))  # fmt: skip
    return lines


def other_lines(report: Report) -> list[Line]:
    """Return what is outside the total of Scope 2: name, figure, a remark."""
    total, missing = report.total, report.missing
    lines: list[tuple[str, float | None, Text, str]] = [
        ("Embodied emissions of GPUs (Scope 3, category 1 or 2)", total.embodied_g, mass_text,
         "for the time in which runs held them"),
        ("Transmission and distribution losses (Scope 3, category 3)", total.td_loss_g, mass_text,
         "by a ratio of the location-based emissions"),
        ("Emissions by the marginal signal", total.emissions_marginal_g, mass_text, "consequential; in no sum"),
        ("Water", total.water_l, _litres_text, "by a factor per kWh of the devices (WUE)"),
        ("Cost of the electricity", total.cost, partial(_cost_text, total.currency),
         "the facility's energy x the price of its hour"),
    ]  # fmt: skip
    always = {"embodied_g", "td_loss_g"}
    fields = ("embodied_g", "td_loss_g", "emissions_marginal_g", "water_l", "cost")
    return [
        (label, typeset(text, value), note if value is not None else f"not known: {missing.get(field, 'not set')}")
        for field, (label, value, text, note) in zip(fields, lines, strict=True)
        if value is not None or field in always
    ]


def gpu_lines(report: Report) -> list[Line]:
    """Return for how much of their time GPUs were allocated and busy, and what was used idle."""
    total, hours = report.total, report.gpu_hours
    lines: list[Line] = []
    if hours is not None and hours.gpus:
        available, held = number_text(hours.available_hours), number_text(hours.allocated_hours)
        lines.append(("Allocated to runs", precise_percent_text(hours.allocated_ratio),
                      f"{held} of {available} GPU-hours in the books, of {hours.gpus} GPUs"))  # fmt: skip
    known = total.gpu_utilization_coverage
    remark = (
        "the meters do not report it" if known is None else f"known for {precise_percent_text(known)} of their time"
    )
    lines.append(("Utilisation of GPUs", precise_percent_text(total.gpu_utilization_avg), remark))
    free, whole = report.unattributed.it_energy_kwh, total.it_energy_kwh
    share = precise_percent_text(free / whole if free is not None and whole else None)
    lines.append(("Unallocated energy", kwh_text(free),
                  f"{share} of all energy; {co2e_text(report.unattributed.emissions_location_g)}"
                  if free is not None else "none was metered while no run held a device"))  # fmt: skip
    if total.idle_energy_kwh is not None:
        above = typeset(kwh_text, total.energy_above_idle_kwh)
        lines.append(("Idle power of allocated GPUs", kwh_text(total.idle_energy_kwh),
                      f"what they would have used idle; {above} above it, and nothing is subtracted"))  # fmt: skip
    return lines


def provenance_lines(report: Report) -> list[Line]:
    """Return each source of intensities: where it comes from, what it counts, what was priced with it."""
    return [
        (
            f"{row.provider} · {row.zone}",
            row.signal.value,
            row.accounting.value if row.accounting else "not stated",
            row.basis.value if row.basis else "not stated",
            row.gases or "not stated",
            kwh_text(row.settled_kwh),
            mass_text(row.emissions_settled_g),
            kwh_text(row.booked_kwh),
        )
        for row in report.series
    ]


def outcome_lines(report: Report) -> list[Line]:
    """Return a line for each way in which runs ended."""
    has_cost = report.total.cost is not None
    return [
        (
            row.outcome.replace("_", " "),
            "waste" if row.is_waste else "success" if row.is_success else "",
            str(row.runs),
            kwh_text(row.it_energy_kwh),
            mass_text(row.emissions_location_g),
            "" if row.avoided_g is None else typeset(mass_text, row.avoided_g),
            *([money_text(row.cost, row.currency) if row.cost is not None else ""] if has_cost else []),
        )
        for row in report.waste
    ]


def _own(row: Row | Unattributed) -> Iterable[str]:
    if not isinstance(row, JobRow):
        return ("", "", "")
    return row.user, row.outcome.replace("_", " "), "" if row.started_at is None else instant_text(row.started_at)


def _cost_text(currency: str | None, cost: float | None) -> str:
    return money_text(cost, currency)


def _litres_text(water_l: float | None) -> str:
    return f"{number_text(water_l)} l"
