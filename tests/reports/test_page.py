"""Everybody can read the page: heads of rows and columns, words for the charts, no colour of too little contrast."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from greenrun.charts import browser
from greenrun.reports import page
from greenrun.reports.model import Report
from greenrun.reports.movement import compared
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of

STYLE = Path(page.__file__).parent / "templates" / "report.css"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 15)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return reports_of(store).report(T0, END, "project", NOW)


class Elements(HTMLParser):
    """Collects the start tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def test_tables_have_heads_for_rows_and_columns_and_a_caption(report: Report) -> None:
    elements = Elements(page.as_html(report))
    assert {attrs.get("scope") for attrs in elements.of("th")} == {"row", "col"}
    assert len(elements.of("caption")) == len(elements.of("table")) >= 5


def test_charts_say_in_words_what_they_draw(report: Report) -> None:
    said = [attrs["aria-label"] or "" for attrs in Elements(page.as_html(report)).of("figure")]
    assert [text.partition(".")[0] for text in said] == [
        "Energy of each day, held by runs and by none",
        "Emissions of each day, of runs and of none",
        "Emissions by project",
    ]
    assert all("2026-10-28" in text for text in said[:2])
    assert "project 0: " in said[2]


def test_what_is_drawn_of_a_day_is_what_runs_held_and_the_rest_of_it(report: Report) -> None:
    days = {f"{day.day:%m-%d}": day for day in report.days}
    bars = page._energy_bars(report.days)
    assert [bar.label for bar in bars] == list(days)
    for bar in bars:
        held, free = bar.parts
        assert held == pytest.approx(days[bar.label].attributed_energy_kwh)
        assert held + free == pytest.approx(days[bar.label].it_energy_kwh)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_bars_stand_out_as_wcag_asks(theme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)
    colours = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks]
    told = colours[theme]
    for text, behind in (("ink", "back"), ("muted", "back"), ("muted", "soft"), ("ink", "soft"), ("warn", "warnback")):
        assert contrast(told[text], told[behind]) >= 4.5, (text, behind)
    for bar in (browser.GREEN, browser.GREY, told["own"], told["free"]):
        assert contrast(bar, told["back"]) >= 3, bar


def test_what_moved_is_a_section_where_a_report_is_compared(report: Report) -> None:
    now = report.document()
    old = {**now, "total": {**now["total"], "emissions_location_g": 5.0, "flags": []}}
    text = page.as_html(compared({**old, "generated_at": "2026-11-01T07:30:00Z"}, report))
    assert "Compared with the report of 2026-11-01T07:30:00Z: 2 figures changed, of which 1 are below" in text
    assert "total: emissions" in text
    assert "<td>+" in text
    assert "What moved" not in page.as_html(report)
    assert "0 figures changed." in page.as_html(compared(now, report))


def test_a_preliminary_report_says_so_first(report: Report) -> None:
    assert "This report is preliminary" in page.as_html(report.model_copy(update={"preliminary": True}))
    assert "This report is preliminary" not in page.as_html(report.model_copy(update={"preliminary": False}))


def test_a_document_of_an_earlier_release_still_makes_a_page(report: Report) -> None:
    late = ("preliminary", "uncertainty", "boamps", "config_hash", "host", "site")
    old = {key: value for key, value in report.document().items() if key not in late}
    assert page.as_html(Report.model_validate(old)).startswith("<!doctype html>")


def test_names_in_captions_and_charts_are_escaped(store: Store, tmp_path: Path) -> None:
    text = page.as_html(reports_of(store).report(T0, END, "job", NOW))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
