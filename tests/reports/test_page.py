"""Everybody can read the page: heads of rows and columns, words for the charts, no colour of too little contrast."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from greenrun.reports import page
from greenrun.reports.movement import moved
from greenrun.reports.pagestyle import STYLE
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 15)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> dict[str, Any]:
    made: dict[str, Any] = reports_of(store).report(T0, END, "project", NOW)
    return made


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


def test_tables_have_heads_for_rows_and_columns_and_a_caption(report: dict[str, Any]) -> None:
    elements = Elements(page.as_html(report))
    assert {attrs.get("scope") for attrs in elements.of("th")} == {"row", "col"}
    assert len(elements.of("caption")) == len(elements.of("table")) >= 5


def test_charts_say_in_words_what_they_draw(report: dict[str, Any]) -> None:
    said = [attrs["aria-label"] or "" for attrs in Elements(page.as_html(report)).of("svg")]
    assert [text.partition(".")[0] for text in said] == [
        "Energy of each day, held by runs and by none",
        "Emissions of each day, of runs and of none",
        "Emissions by project",
    ]
    assert all("2026-10-28" in text for text in said[:2])
    assert "project 0: " in said[2]


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_bars_stand_out_as_wcag_asks(theme: int) -> None:
    colours = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    told = colours[theme]
    for text, behind in (("ink", "back"), ("muted", "back"), ("muted", "soft"), ("ink", "soft"), ("warn", "warnback")):
        assert contrast(told[text], told[behind]) >= 4.5, (text, behind)
    for bar in ("own", "free"):
        assert contrast(told[bar], told["back"]) >= 3, bar


def test_what_moved_is_a_section_where_a_report_is_compared(report: dict[str, Any]) -> None:
    old = {**report, "total": {**report["total"], "emissions_location_g": 5.0, "flags": []}}
    compared = {**report, "compared_with": "2026-11-01T07:30:00Z", "moved": moved(old, report)}
    text = page.as_html(compared)
    assert "Compared with the report of 2026-11-01 07:30 UTC: 2 figures changed, of which 1 are below" in text
    assert "total: emissions" in text
    assert "<td>+" in text
    assert "What moved" not in page.as_html(report)
    assert "0 figures changed." in page.as_html({**compared, "moved": []})


def test_a_preliminary_report_says_so_first(report: dict[str, Any]) -> None:
    assert "This report is preliminary" in page.as_html({**report, "preliminary": True})
    assert "This report is preliminary" not in page.as_html({**report, "preliminary": False})


def test_a_document_of_an_earlier_release_still_makes_a_page(report: dict[str, Any]) -> None:
    old = {key: value for key, value in report.items() if key not in ("preliminary", "uncertainty", "boamps")}
    assert page.as_html(old).startswith("<!doctype html>")


def test_names_in_captions_and_charts_are_escaped(store: Store, tmp_path: Path) -> None:
    text = page.as_html(reports_of(store).report(T0, END, "job", NOW))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
