"""Everybody can read the page: heads of rows and columns, words for the charts, no colour of too little contrast."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from greenrun.charts import browser
from greenrun.core.accounting.market_based import Contracts
from greenrun.core.formatting import instant_text, mass_text
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.html import page, report_charts, report_tables
from greenrun.reports.identity import Place
from greenrun.reports.model import Report
from greenrun.reports.movement import compared
from greenrun.store import Store
from tests.reports.build import ALL_BASES, END, GPUS, MIDDLE, NOW, PPA, T0, fill, reports_of

STYLE = Path(page.__file__).parents[1] / "templates" / "report.css"


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


def test_sentences_of_a_paragraph_are_apart(report: Report) -> None:
    text = page.as_html(report)
    paragraphs = re.findall(r"<p[^>]*>(.*?)</p>", text[text.index("<main>") :], flags=re.DOTALL)
    assert any("Why runs are left out" in words for words in paragraphs)
    assert [words for words in paragraphs if re.search(r"[a-z0-9)]\.[A-Z]", words)] == []


def test_charts_say_in_words_what_they_draw(report: Report) -> None:
    said = [attrs["aria-label"] or "" for attrs in Elements(page.as_html(report)).of("figure")]
    assert [text.partition(".")[0] for text in said] == [
        "Energy of each day, of runs and unallocated",
        "Emissions of each day, of runs and unallocated",
        "Energy and carbon intensity by the hour of the day (UTC)",
    ]
    assert all("2026-10-28" in text for text in said[:2])
    assert "23:00: " in said[2]


def test_what_is_drawn_of_a_day_is_what_runs_held_and_the_rest_of_it(report: Report) -> None:
    days = {f"{day.day:%m-%d}": day for day in report.days}
    bars = report_charts.energy_bars(report.days)
    assert [bar.label for bar in bars] == list(days)
    for bar in bars:
        held, free = bar.parts
        assert held == pytest.approx(days[bar.label].attributed_energy_kwh)
        assert held + free == pytest.approx(days[bar.label].it_energy_kwh)


def test_headings_go_down_a_level_at_a_time_below_one_title(report: Report) -> None:
    levels = [int(tag[1]) for tag, _ in Elements(page.as_html(report)).found if re.fullmatch(r"h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_everything_is_in_one_main_and_what_scrolls_can_be_reached_by_keyboard(report: Report) -> None:
    elements = Elements(page.as_html(report))
    assert len(elements.of("main")) == len(elements.of("header")) == 1
    scrolling = [attrs for attrs in elements.of("div") if attrs.get("class") == "wide"]
    assert len(scrolling) == len(elements.of("table"))
    assert all(attrs["tabindex"] == "0" and attrs["role"] == "region" and attrs["aria-label"] for attrs in scrolling)


def test_a_chart_is_no_picture_to_assistive_technology_since_it_has_buttons(report: Report) -> None:
    assert all("role" not in attrs for attrs in Elements(page.as_html(report)).of("figure"))


def cards(text: str) -> dict[str, str]:
    """The figures of the first screen by their names."""
    return dict(re.findall(r"<p>([^<]*)</p><strong>([^<]*)</strong>", text))


def test_the_first_screen_has_both_methods_of_scope_2_energy_what_was_avoided_and_coverage(store: Store) -> None:
    reports = Reports(store.archive, lambda: GPUS, ReportSettings(zone="GB", bases=ALL_BASES))
    made = reports.report(T0, T0 + timedelta(days=2), "project", NOW)
    shown = cards(page.as_html(made))
    assert list(shown)[:5] == [
        "Scope 2, location-based",
        "Scope 2, market-based",
        "Energy of the facility",
        "Avoided (not in Scope 2)",
        "Period in the books",
    ]
    assert shown["Scope 2, location-based"] == f"{mass_text(made.total.emissions_location_g)} CO2e"
    assert shown["Scope 2, market-based"] == f"{mass_text(made.total.emissions_market_g)} CO2e"


def test_without_contracts_market_based_is_unknown_with_the_reason_and_no_zero(report: Report) -> None:
    text = page.as_html(report)
    assert cards(text)["Scope 2, market-based"] == "unknown"
    assert report.missing["emissions_market_g"] in text


def test_a_contract_is_shown_with_its_share_its_factor_and_its_instrument(store: Store) -> None:
    ppa = replace(PPA, instrument="PPA with certificates")
    bases = replace(ALL_BASES, contracts=lambda: Contracts(rows=[ppa], residual_g_per_kwh=500.0))
    made = Reports(store.archive, lambda: GPUS, ReportSettings(bases=bases)).report(T0, MIDDLE, "project", NOW)
    lines = report_tables.scope_2_lines(made)
    assert [line[0] for line in lines] == ["Location-based", "Market-based", "of it: PPA", "of it: residual mix"]
    assert (lines[2][1], lines[2][4], lines[3][4]) == ("PPA with certificates", "5 g/kWh", "500 g/kWh")


def test_what_is_outside_scope_2_is_apart_and_named_by_its_category(store: Store) -> None:
    made = Reports(store.archive, lambda: GPUS, ReportSettings(bases=ALL_BASES)).report(T0, END, "project", NOW)
    names = [line[0] for line in report_tables.other_lines(made)]
    assert "Embodied emissions of GPUs (Scope 3, category 1 or 2)" in names
    assert "Transmission and distribution losses (Scope 3, category 3)" in names
    bare = report_tables.other_lines(reports_of(store).report(T0, END, "project", NOW))
    assert [line[1] for line in bare] == ["unknown", "unknown"]
    assert all(line[2].startswith("not known: ") for line in bare)


def test_who_reports_by_which_approach_is_stated_or_said_to_be_missing(store: Store) -> None:
    place = Place(organisation="Lab & Co", boundary="operational control")
    made = Reports(store.archive, tuple, ReportSettings(place=place)).report(T0, END, "project", NOW)
    text = page.as_html(made)
    assert "Energy and emissions of Lab &amp; Co" in text
    assert "operational control" in text
    assert "not stated: [reports] boundary" in page.as_html(reports_of(store).report(T0, END, "project", NOW))


def test_a_job_has_its_user_its_outcome_and_its_date(store: Store) -> None:
    made = reports_of(store).report(T0, END, "job", NOW)
    shown = report_tables.groups(made)
    assert shown.heads[:4] == ("job", "user", "outcome", "started")
    first, row = shown.lines[0], made.job_rows[0]
    assert first[1:4] == (row.user, row.outcome, instant_text(row.started_at))
    assert {len(line) for line in (*shown.lines, *shown.foot)} == {len(shown.heads)}


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
