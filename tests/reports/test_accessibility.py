"""In a browser, axe-core finds nothing serious on a report's page, nothing of it is cut off, and it prints."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize

from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.html import page
from greenrun.reports.identity import Place
from greenrun.store import Store
from tests.browser import a_browser
from tests.patience import HANGS_S
from tests.reports.build import ALL_BASES, END, GPUS, NOW, PUE, T0, fill, reports_of

MONTH = timedelta(days=30)
SCREENS = [("light", 360), ("dark", 1280)]
REPORTS = ("empty", "one job", "month", "jobs")
GRAVE = {"serious", "critical"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Opened once for all pages."""
    with a_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The pages of an empty report, of one job, of a month with everything that a report can have, and of its jobs."""
    folder, paths = tmp_path_factory.mktemp("pages"), {}

    def write(name: str, store: Store, by: str, settings: ReportSettings | None = None) -> None:
        reports = Reports(store.archive, lambda: GPUS, settings) if settings else reports_of(store)
        days, now = (MONTH, NOW + MONTH) if settings else (END - T0, NOW)
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(page.as_html(reports.report(T0, T0 + days, by, now)), encoding="utf-8")

    with Store(folder / "empty.db") as store:
        write("empty", store, "project")
        fill(store, 1)
        write("one job", store, "project")
    with Store(folder / "month.db") as store:
        fill(store, 24)
        place = Place(organisation="Lab & Co", boundary="operational control")
        everything = ReportSettings(zone="GB", pue=PUE, attributions={"uk": "Data"}, bases=ALL_BASES, place=place)
        for name, by in (("month", "project"), ("jobs", "job")):
            write(name, store, by, everything)
    assert set(paths) == set(REPORTS)
    return paths


@pytest.fixture
def shown(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty window of this width and colour scheme."""
    scheme, width = getattr(request, "param", SCREENS[0])
    context = browser.new_context(viewport=ViewportSize(width=width, height=900), color_scheme=scheme)
    context.set_default_timeout(HANGS_S * 1000)
    with context:
        yield context.new_page()


def grave(opened: Page) -> list[str]:
    """Return what axe-core calls serious or critical on a page, with the elements that have it."""
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in Axe().run(opened).response["violations"]
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("shown", SCREENS, ids=lambda screen: f"{screen[0]}-{screen[1]}", indirect=True)
@pytest.mark.parametrize("name", REPORTS)
def test_nothing_on_a_report_is_a_serious_barrier_and_nothing_is_wider_than_the_screen(
    shown: Page, paths: Mapping[str, Path], name: str
) -> None:
    shown.goto(paths[name].as_uri())
    assert grave(shown) == []
    assert shown.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("shown", [("light", 1280)], ids=["1280"], indirect=True)
def test_no_column_is_cut_off_on_a_desk(shown: Page, paths: Mapping[str, Path]) -> None:
    for name in REPORTS:
        shown.goto(paths[name].as_uri())
        cut = "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
        assert (name, shown.evaluate(cut)) == (name, [])


def test_a_barrier_is_found(shown: Page) -> None:
    """Text that is hardly seen, and a picture without words: what is tried above can fail."""
    shown.set_content(
        '<!doctype html><html lang="en"><head><title>t</title></head><body><main><h1>t</h1>'
        '<p style="color:#ccc;background:#fff">pale</p><img src="data:,"></main></body></html>'
    )
    assert sorted(found.partition(":")[0] for found in grave(shown)) == ["color-contrast", "image-alt"]


def test_a_report_prints_on_a_few_sheets_of_a4(shown: Page, paths: Mapping[str, Path]) -> None:
    """Each table as wide as the sheet at most: what is wider is cut off on paper."""
    shown.emulate_media(media="print")
    shown.set_viewport_size(ViewportSize(width=688, height=1017))  # A4 without the margins, at 96 dots an inch
    shown.goto(paths["month"].as_uri())
    assert shown.evaluate("[...document.querySelectorAll('table')].filter(t => t.scrollWidth > innerWidth).length") == 0
    printed = shown.pdf(prefer_css_page_size=True, print_background=True)
    assert 2 <= printed.count(b"/Type /Page\n") <= 6
