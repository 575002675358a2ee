"""A report as one HTML file that needs nothing else and no network; it prints on paper as it shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import JsonValue

from greenrun.charts import browser
from greenrun.reports import words
from greenrun.reports.model import Change, ComparedReport, Day, JobRow, Report, Row, Unattributed

_MOST_BARS, _MOST_ROWS, _MOST_MOVED = 12, 500, 60
_HOLDERS = ("held by runs", "held by none")

Line = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The table of the rows of a report; `more` is how many it leaves out."""

    heads: Line
    lines: Sequence[Line]
    foot: Sequence[Line]
    more: int


def as_html(report: Report) -> str:
    """Return the page; the template escapes every text in it."""
    moved = report.moved if isinstance(report, ComparedReport) else None
    return _template().render(
        report=report,
        span=words.span(report.start, report.end),
        charts=_drawn(report),
        script=browser.page_script(),
        style=browser.page_style(),
        groups=_groups(report),
        work=_work(report),
        beside=_beside(report.total),
        moved=moved,
        shown=_shown(moved or ()),
        compared_with=words.minute(report.compared_with) if isinstance(report, ComparedReport) else None,
        half_width=lambda grade: getattr(report.uncertainty, f"{grade}_ratio", None),
    )


@cache
def _template() -> Template:
    pages = Environment(
        loader=PackageLoader("greenrun.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for word in (words.energy, words.grams, words.percent, words.points, words.width, words.intensity, words.instant):
        pages.filters[word.__name__] = word
    pages.globals.update(money=words.money, sum_of=words.sum_of, intensity_range=_intensity_range)
    return pages.get_template("report.html")


def _drawn(report: Report) -> Mapping[str, Markup]:
    """Return the charts of the page as HTML, by name."""
    most_g = max((day.emissions_location_g or 0.0 for day in report.days), default=0.0)
    grams, unit = browser.mass_unit(most_g)
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
    return [_day(day, day.attributed_energy_kwh, day.it_energy_kwh, words.energy, 1.0) for day in days]


def _emission_bars(days: Sequence[Day], per: float) -> list[browser.Bar]:
    return [_day(day, day.attributed_emissions_g, day.emissions_location_g, words.grams, per) for day in days]


def _day(
    day: Day, held: float | None, whole: float | None, text: Callable[[float | None], str], per: float
) -> browser.Bar:
    free = None if whole is None else max(whole - (held or 0.0), 0.0) / per
    told = f"{day.day}: {text(whole)}, of it {text(held or 0.0)} held by runs"
    own = None if whole is None else (held or 0.0) / per
    return browser.Bar(label=f"{day.day:%m-%d}", parts=(own, free), told=told)


def _emitters(report: Report) -> browser.Chart:
    """Draw the rows that emitted most."""
    largest = sorted(report.rows, key=lambda row: -(row.emissions_location_g or 0.0))[:_MOST_BARS]
    grams, unit = browser.mass_unit(max((row.emissions_location_g or 0.0 for row in largest), default=0.0))
    bars = [
        browser.Bar(label=_name(row), parts=(None if told_g is None else told_g / grams,), told=_co2e(told_g))
        for row, told_g in ((row, row.emissions_location_g) for row in largest)
    ]
    return browser.bars_by_group(bars, id="groups", title=f"Emissions by {report.by}", unit=f"{unit} CO2e")


def _co2e(grams: float | None) -> str:
    return f"{words.grams(grams)} CO2e"


def _groups(report: Report) -> Groups:
    has_cost = report.total.cost is not None
    heads = (report.by, "jobs", "energy", "CO2e", "±", "g/kWh", "covered", "settled", *(("cost",) if has_cost else ()))
    return Groups(
        heads=heads,
        lines=[_cells(row)[: len(heads)] for row in report.rows[:_MOST_ROWS]],
        foot=[_cells(row)[: len(heads)] for row in (report.unattributed, report.total)],
        more=max(0, len(report.rows) - _MOST_ROWS),
    )


def _cells(row: Row | Unattributed) -> Line:
    return (
        _name(row),
        str(row.jobs) if isinstance(row, Row) else "",
        words.energy(row.it_energy_kwh),
        words.grams(row.emissions_location_g),
        words.points(row.emissions_uncertainty_pct),
        "" if row.ci_avg_g_per_kwh is None else f"{row.ci_avg_g_per_kwh:.0f}",
        words.percent(row.coverage_ratio),
        words.percent(row.settled_ratio),
        words.money(row.cost, row.currency),
    )


def _name(row: Row | Unattributed) -> str:
    name = f"{row.group} · {row.job_name}" if isinstance(row, JobRow) else row.group
    return "held by no run" if isinstance(row, Unattributed) else name


def _intensity_range(row: Row) -> str:
    low, high = row.ci_min_g_per_kwh, row.ci_max_g_per_kwh
    return "" if low is None or high is None else f"from {low:.0f} to {high:.0f}"


def _work(report: Report) -> list[Line]:
    """Return what the energy was for, where runs said what they had done: the group, its work, the energy of each."""
    told = [(row, row.work) for row in [*report.rows, report.total] if row.work]
    return [
        (row.group, f"{done:,.6g} {row.work_unit or ''}".rstrip(), words.per_work(row.energy_per_work_j, row.work_unit))
        for row, done in told[:_MOST_ROWS]
    ]


def _beside(total: Row) -> list[Line]:
    """Return what is told of cost and on other bases than the grid's average: name, figure and a remark."""
    busy = f"told for {words.percent(total.gpu_utilization_coverage)} of their time"
    above = f"{words.energy(total.energy_above_idle_kwh)} above it; nothing is subtracted"
    cost = words.money(total.cost, total.currency)
    water = f"{total.water_l or 0.0:.3g} l"
    lines: list[tuple[float | None, Line]] = [
        (total.cost, ("cost of the electricity", cost, "the facility's energy x the price of its hour")),
        (total.emissions_market_g, ("emissions, market-based", "", total.market_factor_source or "")),
        (total.emissions_marginal_g, ("emissions by the marginal signal", "", "not in any sum")),
        (total.embodied_g, ("embodied emissions of the GPUs", "", "of the time in which runs held them")),
        (total.td_loss_g, ("losses of transmission", "", "in no location-based figure")),
        (total.emissions_total_g, ("location-based, losses and embodied", "", "")),
        (total.water_l, ("water", water, "by a factor per kWh of the devices")),
        (
            total.gpu_utilization_avg,
            ("time in which GPUs did anything", words.percent(total.gpu_utilization_avg), busy),
        ),
        (total.idle_energy_kwh, ("what GPUs of runs draw when idle", words.energy(total.idle_energy_kwh), above)),
    ]
    return [(name, text or words.grams(value), note) for value, (name, text, note) in lines if value is not None]


def _shown(moved: Sequence[Change]) -> list[Line]:
    """Return what changed of the figures that people read of a report: name, before, now, the change and why."""
    return [_moved(change) for change in moved if change.field in _SHOWN][:_MOST_MOVED]


def _moved(change: Change) -> Line:
    name, text = _SHOWN[change.field]
    before, after = _figure(change.before), _figure(change.after)
    moved_by = None if before is None or after is None else after - before
    sign = "+" if moved_by is not None and moved_by > 0 else ""
    told = (
        str(value) if value is not None and figure is None else text(figure)
        for value, figure in ((change.before, before), (change.after, after))
    )
    return f"{change.where}: {name}", *told, "" if moved_by is None else f"{sign}{text(moved_by)}", change.why


def _figure(value: JsonValue) -> float | None:
    """Return what can be reckoned with, else None: an earlier report is a file, which may say anything."""
    return value if isinstance(value, (int, float)) and abs(value) < 1e300 else None


_SHOWN: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "it_energy_kwh": ("energy", words.energy),
    "facility_energy_kwh": ("energy with the facility", words.energy),
    "emissions_location_g": ("emissions", words.grams),
    "emissions_market_g": ("emissions, market-based", words.grams),
    "avoided_g": ("avoided", words.grams),
    "cost": ("cost", words.amount),
    "settled_ratio": ("settled", words.percent),
    "coverage_ratio": ("energy known for", words.percent),
}
