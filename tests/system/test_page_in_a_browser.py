"""In a real browser the page of a real daemon shows by itself what goes on, and does what its user asks.

Whatever a page does in these tests: no error in its console, no request to elsewhere, no breach of its policy.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.browser import a_browser
from tests.patience import HANGS_S
from tests.system.harness import Daemon, free_port, replayed, short_folder, write_trace

SCREENS = [("light", 360), ("dark", 1440)]
PAGES = ("/", "/jobs", "/jobs/1", "/jobs/2", "/jobs/3", "/grid", "/devices", "/reports", "/jobs/999999")
AGAIN = ("/", "/jobs/2", "/reports")  # what there is of colours and parts is on these
HANGS_MS = HANGS_S * 1000
DIRTY_THEN_CLEAN = [300] * 6 + [60] * 12 + [280] * 200  # of half hours
GRAVE = {"serious", "critical"}
WATCH = "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI))"

pytestmark = [pytest.mark.system, pytest.mark.slow]
expect.set_options(timeout=HANGS_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Opened once for all pages."""
    with a_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon whose grid is dirty for three hours and clean then, with a job that runs and one that has ended."""
    with short_folder() as folder:
        budgets = {"budget": {"project": {"default": {"gpu_hours": 900}}}}
        config = {**replayed(write_trace(folder, DIRTY_THEN_CLEAN), speed=1), **budgets}
        with Daemon(folder, config) as running:
            running.wait_for(running.submit("--now", "--gpus", "0", "--name", "done", "--", "echo", "all is well"))
            job = running.submit("--now", "--gpus", "1", "--name", "runs", "--", "sh", "-c", "echo begun; sleep 100000")
            running.wait_for(job, "running")
            yield running


@dataclass
class Window:
    """A window of the browser, and what went wrong in it."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Open a page of the daemon, and wait until its charts are drawn."""
        self.page.goto(f"{self.address}{path}")
        for figure in self.page.locator("figure[data-source]").all():
            expect(figure).to_have_attribute("data-drawn", re.compile(r"\d+"))
        return self.page


def watched(context: BrowserContext, daemon: Daemon) -> Window:
    """A window that notes errors and requests that leave the daemon."""
    context.set_default_timeout(HANGS_MS)
    context.add_init_script(WATCH)
    window = Window(context.new_page(), f"http://{daemon.metrics_address}")
    window.page.on("console", lambda said: said.type in ("error", "warning") and window.wrong.append(said.text))
    window.page.on("pageerror", lambda error: window.wrong.append(str(error)))
    own = (window.address + "/", "data:", "blob:")
    window.page.on("request", lambda sent: sent.url.startswith(own) or window.wrong.append(f"asks {sent.url}"))
    return window


@pytest.fixture
def stranger(browser: Browser, daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[Window]:
    """The window of somebody who is not signed in."""
    scheme, width = getattr(request, "param", SCREENS[1])
    with browser.new_context(viewport=ViewportSize(width=width, height=900), color_scheme=scheme) as context:
        window = watched(context, daemon)
        yield window
        assert window.wrong == []


@pytest.fixture
def owner(stranger: Window, daemon: Daemon) -> Window:
    """The window of the user who runs the tests, signed in as `greenrun web` does."""
    told = daemon.cli("web", "--print").out
    found = re.search(r"http://\S+/sign-in\?ticket=\S+", told)
    assert found, told
    stranger.page.goto(found[0])
    return stranger


def grave(page: Page) -> list[str]:
    """Return what axe-core calls serious or critical on a page, with the elements that have it."""
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in Axe().run(page).response["violations"]
        if rule["impact"] in GRAVE
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(("stranger", "paths"), [(SCREENS[0], PAGES), (SCREENS[1], AGAIN)], indirect=["stranger"])
def test_nothing_on_any_page_is_a_serious_barrier_or_wider_than_the_screen(
    owner: Window, daemon: Daemon, paths: tuple[str, ...]
) -> None:
    daemon.submit("--name", "waits", "--gpus", "1", "--duration", "2h", "--max-delay", "12h", "--", "true")
    for path in paths:
        page = owner.open(path)
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        assert grave(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        owner.wrong[:] = [told for told in owner.wrong if "404" not in told]  # that page answers so


def test_a_stranger_sees_that_jobs_wait_but_no_button(stranger: Window) -> None:
    page = stranger.open("/")
    expect(page.locator("main")).to_contain_text("greenrun web")
    assert page.locator("button[data-act]").count() == 0


def test_a_job_that_is_submitted_appears_and_a_changed_plan_is_shown_without_loading_the_page(
    owner: Window, daemon: Daemon
) -> None:
    page = owner.open("/")
    page.evaluate("globalThis.isSamePage = true")
    drawn = int(page.locator("#timeline").get_attribute("data-drawn") or 0)
    job = daemon.submit("--name", "appears", "--gpus", "1", "--duration", "2h", "--max-delay", "12h", "--", "true")
    row = page.locator(f"[data-fragment='queued-{job}']")
    expect(row).to_contain_text("appears")
    expect(row).to_contain_text("60 g/kWh")
    expect(page.locator("#timeline")).not_to_have_attribute("data-drawn", str(drawn))
    planned = row.locator("time").first.get_attribute("datetime")
    assert daemon.cli("edit", job, "--start-after", "8h", "--max-delay", "14h").code == 0
    expect(row.locator("time").first).not_to_have_attribute("datetime", planned or "")
    assert page.evaluate("globalThis.isSamePage") is True


def test_its_owner_holds_and_cancels_a_job_by_buttons(owner: Window, daemon: Daemon) -> None:
    job = daemon.submit("--name", "unwanted", "--gpus", "1", "--duration", "2h", "--max-delay", "12h", "--", "true")
    page = owner.open("/")
    page.on("dialog", lambda dialog: dialog.accept())
    row = page.locator(f"[data-fragment='queued-{job}']")
    row.get_by_role("button", name="Hold").click()
    row.get_by_role("button", name="Release").wait_for()
    assert daemon.client.job(job)["held"] is True
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_count(0)
    assert daemon.client.job(job)["state"] == "cancelled"


def test_the_page_of_a_job_shows_its_log_and_what_it_was_decided_among(owner: Window, daemon: Daemon) -> None:
    expect(owner.open("/jobs/2").locator("pre.log")).to_contain_text("begun")
    job = daemon.submit("--name", "considered", "--gpus", "1", "--duration", "2h", "--max-delay", "12h", "--", "true")
    page = owner.open(f"/jobs/{job}")
    for told in ("start now", "as planned", "at the latest"):
        expect(page.locator("main")).to_contain_text(told)


def test_a_page_says_that_the_daemon_is_away_and_goes_on_when_it_is_back(browser: Browser) -> None:
    """It is told in words what to do, and nothing needs to be loaded again."""
    with (
        short_folder() as folder,
        Daemon(folder, {"api": {"metrics": f"127.0.0.1:{free_port()}"}}) as running,
        browser.new_context() as context,
    ):
        page = watched(context, running).open("/")
        assert running.terminate() == 0
        expect(page.locator("#trouble")).to_contain_text("does not answer")
        running.start()
        expect(page.locator("#trouble")).to_be_hidden()
        job = running.submit("--now", "--gpus", "0", "--name", "later", "--", "sleep", "100000")
        expect(page.locator(f"[data-fragment='running-{job}']")).to_contain_text("later")
