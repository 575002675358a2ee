"""A report as one self-contained HTML file, which prints as it looks on the screen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import JsonValue

from greenrun.charts import browser
from greenrun.core.formatting import (
    count_text,
    figure_text,
    instant_text,
    intensity_text,
    mass_text,
    mass_unit,
    money_text,
    number_text,
    period_text,
    precise_percent_text,
)
from greenrun.reports.cells import cells, kwh_text, name, per_work_text
from greenrun.reports.model import Change, ComparedReport, Day, Report, Row

_MOST_BARS, _MOST_ROWS, _MOST_MOVED = 12, 500, 60
_HOLDERS = ("held by runs", "held by none")
_COLUMNS = ("jobs", "energy", "CO2e", "±", "g/kWh", "covered", "settled")

Line = tuple[str, ...]
Text = Callable[[float | None], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The table of the rows of a report; `more` is how many it leaves out."""

    heads: Line
    lines: Sequence[Line]
    foot: Sequence[Line]
    more: int


def as_html(report: Report) -> str:
    """Return the page; the template escapes every text in it."""
    compared = report if isinstance(report, ComparedReport) else None
    return _template().render(
        report=report,
        compared=compared,
        shown=_shown(compared.moved) if compared else (),
        period=period_text(report.start, report.end),
        charts=_charts(report),
        script=browser.page_script(),
        style=browser.page_style(),
        groups=_groups(report),
        work=_work(report),
        beside=_beside(report.total),
    )


@cache
def _template() -> Template:
    pages = Environment(
        loader=PackageLoader("greenrun.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "energy": partial(_typeset, kwh_text),
        "mass": partial(_typeset, mass_text),
        "percent": partial(_typeset, precise_percent_text),
        "width": _width_text,
        "intensity": intensity_text,
        "instant": instant_text,
    }
    pages.globals |= {
        "money": partial(_typeset, money_text),
        "count": count_text,
        "number": number_text,
        "half_width": _half_width,
    }
    return pages.get_template("report.html")


def _typeset(text_of: Callable[..., str], *values: float | str | None) -> str:
    """Return what a number reads as, with a minus that is as wide as a digit and does not break from it."""
    text = text_of(*values)
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


def _width_text(width_pct: float | None) -> str:
    return "uncertainty unknown" if width_pct is None else f"± {precise_percent_text(width_pct / 100)}"


def _half_width(report: Report, grade: str) -> str:
    ratio: float | None = getattr(report.uncertainty, f"{grade}_ratio", None)
    return f"± {precise_percent_text(ratio)}"


def _charts(report: Report) -> Mapping[str, Markup]:
    """Return the charts of the page as HTML, by name."""
    grams, unit = mass_unit(max((day.emissions_location_g or 0.0 for day in report.days), default=0.0))
    drawn = (
        browser.bars_over_days(
            _energy_bars(report.days),
            id="energy",
            title="Energy of each day, held by runs and by none",
            unit="kWh",
            parts=_HOLDERS,
        ),
        browser.bars_over_days(
            _emission_bars(report.days, grams),
            id="emissions",
            title="Emissions of each day, of runs and of none",
            unit=f"{unit} CO2e",
            parts=_HOLDERS,
        ),
        _emitters(report),
    )
    return {chart.id: browser.fragment(chart) for chart in drawn}


def _energy_bars(days: Sequence[Day]) -> list[browser.Bar]:
    return [_day(day, day.attributed_energy_kwh, day.it_energy_kwh, kwh_text, 1.0) for day in days]


def _emission_bars(days: Sequence[Day], per: float) -> list[browser.Bar]:
    return [_day(day, day.attributed_emissions_g, day.emissions_location_g, mass_text, per) for day in days]


def _day(day: Day, held: float | None, whole: float | None, text: Text, per: float) -> browser.Bar:
    free = None if whole is None else max(whole - (held or 0.0), 0.0) / per
    shown = f"{day.day}: {text(whole)}, of it {text(held or 0.0)} held by runs"
    own = None if whole is None else (held or 0.0) / per
    return browser.Bar(label=f"{day.day:%m-%d}", parts=(own, free), text=shown)


def _emitters(report: Report) -> browser.Chart:
    """Draw the rows that emitted most."""
    emitted = [(name(row, " · "), row.emissions_location_g) for row in report.rows]
    largest = sorted(emitted, key=lambda pair: -(pair[1] or 0.0))[:_MOST_BARS]
    grams, unit = mass_unit(max((each_g or 0.0 for _, each_g in largest), default=0.0))
    bars = [
        browser.Bar(label=label, parts=(None if each_g is None else each_g / grams,), text=f"{mass_text(each_g)} CO2e")
        for label, each_g in largest
    ]
    return browser.bars_by_group(bars, id="groups", title=f"Emissions by {report.by}", unit=f"{unit} CO2e")


def _groups(report: Report) -> Groups:
    columns = (*_COLUMNS, "cost") if report.total.cost is not None else _COLUMNS
    totals = (("held by no run", report.unattributed), ("total", report.total))

    def line(label: str, texts: Mapping[str, str]) -> Line:
        return (label, *(_typeset(texts.__getitem__, column) for column in columns))

    return Groups(
        heads=(report.by, *columns),
        lines=[line(name(row, " · "), cells(row)) for row in report.rows[:_MOST_ROWS]],
        foot=[line(label, cells(row)) for label, row in totals],
        more=max(0, len(report.rows) - _MOST_ROWS),
    )


def _work(report: Report) -> list[Line]:
    """Return what the energy was for, where runs reported work: the group, its work, the energy of each."""
    worked = [(row, row.work) for row in [*report.rows, report.total] if row.work]
    return [
        (
            row.group,
            f"{figure_text(done)} {row.work_unit or ''}".rstrip(),
            per_work_text(row.energy_per_work_j, row.work_unit),
        )
        for row, done in worked[:_MOST_ROWS]
    ]


def _beside(total: Row) -> list[Line]:
    """Return cost and the figures on bases other than the grid's average: name, figure and a remark."""
    known_for = f"known for {precise_percent_text(total.gpu_utilization_coverage)} of their time"
    above = f"{_typeset(kwh_text, total.energy_above_idle_kwh)} above it; nothing is subtracted"
    lines: list[tuple[str, float | None, Text, str]] = [
        ("cost of the electricity", total.cost, partial(_cost_text, total.currency),
         "the facility's energy x the price of its hour"),
        ("emissions, market-based", total.emissions_market_g, mass_text, total.market_factor_source or ""),
        ("emissions by the marginal signal", total.emissions_marginal_g, mass_text, "not in any sum"),
        ("embodied emissions of the GPUs", total.embodied_g, mass_text, "of the time in which runs held them"),
        ("losses of transmission", total.td_loss_g, mass_text, "in no location-based figure"),
        ("location-based, losses and embodied", total.emissions_total_g, mass_text, ""),
        ("water", total.water_l, _litres_text, "by a factor per kWh of the devices"),
        ("time in which GPUs did anything", total.gpu_utilization_avg, precise_percent_text, known_for),
        ("what GPUs of runs draw when idle", total.idle_energy_kwh, kwh_text, above),
    ]  # fmt: skip
    return [(label, _typeset(text, value), note) for label, value, text, note in lines if value is not None]


def _cost_text(currency: str | None, cost: float | None) -> str:
    return money_text(cost, currency)


def _litres_text(water_l: float | None) -> str:
    return f"{number_text(water_l)} l"


def _shown(moved: Sequence[Change]) -> list[Line]:
    """Return what changed of the figures that people read of a report: name, before, now, the change and why."""
    return [_moved(change) for change in moved if change.field in _SHOWN][:_MOST_MOVED]


def _moved(change: Change) -> Line:
    label, text = _SHOWN[change.field]
    before, after = _figure(change.before), _figure(change.after)
    moved_by = None if before is None or after is None else after - before
    sign = "+" if moved_by is not None and moved_by > 0 else ""
    texts = (
        str(value) if value is not None and figure is None else _typeset(text, figure)
        for value, figure in ((change.before, before), (change.after, after))
    )
    by = "" if moved_by is None else f"{sign}{_typeset(text, moved_by)}"
    return f"{change.where}: {label}", *texts, by, change.why


def _figure(value: JsonValue) -> float | None:
    """Return a figure if it is a number, else None: an earlier report is a file, which may hold anything."""
    return value if isinstance(value, (int, float)) and abs(value) < 1e300 else None


_SHOWN: Mapping[str, tuple[str, Text]] = {
    "it_energy_kwh": ("energy", kwh_text),
    "facility_energy_kwh": ("energy with the facility", kwh_text),
    "emissions_location_g": ("emissions", mass_text),
    "emissions_market_g": ("emissions, market-based", mass_text),
    "avoided_g": ("avoided", mass_text),
    "cost": ("cost", money_text),
    "settled_ratio": ("settled", precise_percent_text),
    "coverage_ratio": ("energy known for", precise_percent_text),
}
