"""A report as one self-contained HTML file, which prints as it looks on the screen."""

from collections.abc import Mapping, Sequence
from functools import cache, partial

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from pydantic import JsonValue

from greenrun.charts import browser
from greenrun.core.formatting import (
    count_text,
    instant_text,
    intensity_text,
    mass_text,
    money_text,
    number_text,
    period_text,
    precise_percent_text,
)
from greenrun.reports.cells import kwh_text, part_text
from greenrun.reports.html import report_tables as tables
from greenrun.reports.html.report_charts import charts
from greenrun.reports.html.report_tables import Line, Text
from greenrun.reports.model import Change, ComparedReport, Report

_MOST_MOVED = 60


def as_html(report: Report) -> str:
    """Return the page; the template escapes every text in it."""
    compared = report if isinstance(report, ComparedReport) else None
    return _template().render(
        report=report,
        compared=compared,
        shown=_shown(compared.moved) if compared else (),
        period=period_text(report.start, report.end),
        charts=charts(report),
        script=browser.page_script(),
        style=browser.page_style(),
        tables=tables,
        groups=tables.groups(report),
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
        "change": tables.change_text,
        "co2e": tables.co2e_text,
        "energy": partial(tables.typeset, kwh_text),
        "mass": partial(tables.typeset, mass_text),
        "percent": partial(tables.typeset, precise_percent_text),
        "width": _width_text,
        "intensity": intensity_text,
        "instant": instant_text,
    }
    pages.globals |= {
        "money": partial(tables.typeset, money_text),
        "count": count_text,
        "number": number_text,
        "part": part_text,
        "half_width": _half_width,
    }
    return pages.get_template("report.html")


def _width_text(width_pct: float | None) -> str:
    return "uncertainty unknown" if width_pct is None else f"± {precise_percent_text(width_pct / 100)}"


def _half_width(report: Report, grade: str) -> str:
    ratio: float | None = getattr(report.uncertainty, f"{grade}_ratio", None)
    return f"± {precise_percent_text(ratio)}"


def _shown(moved: Sequence[Change]) -> list[Line]:
    """Return what changed of the figures that people read of a report: name, before, now, the change and why."""
    return [_moved(change) for change in moved if change.field in _SHOWN][:_MOST_MOVED]


def _moved(change: Change) -> Line:
    label, text = _SHOWN[change.field]
    before, after = _figure(change.before), _figure(change.after)
    moved_by = None if before is None or after is None else after - before
    sign = "+" if moved_by is not None and moved_by > 0 else ""
    texts = (
        str(value) if value is not None and figure is None else tables.typeset(text, figure)
        for value, figure in ((change.before, before), (change.after, after))
    )
    by = "" if moved_by is None else f"{sign}{tables.typeset(text, moved_by)}"
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
