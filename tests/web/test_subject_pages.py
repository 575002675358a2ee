"""The pages of jobs, the grid, devices and reports, in each state, to each as much as they may see."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from greenrun.core.carbon.intensity import Kind
from greenrun.core.energy.gpu_parts import slots_of
from greenrun.core.energy.ledger import Entry, Priced, Total
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.errors import StoreError
from greenrun.core.jobs.access import AccessRules, Sharing
from greenrun.core.jobs.availability import Absence, GpuState
from greenrun.core.jobs.job import Event, Run, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import Plan
from greenrun.web.rendering import visible
from tests.api.fakes import BOB, GPU, HOUR, NOW, forecast, judged, placed, stored
from tests.web.pages import STRANGER, PageWorld, busy, text_of

PATHS = ("/jobs", "/jobs/2", "/grid", "/devices")


def test_the_list_of_jobs_is_newest_first_and_takes_filters() -> None:
    world = busy()
    assert re.findall(r'<a href="/jobs/(\d)">', world.get("/jobs").text) == ["3", "2", "1"]
    assert re.findall(r'<a href="/jobs/(\d)">', world.get("/jobs?state=running").text) == ["1"]
    assert re.findall(r'<a href="/jobs/(\d)">', world.get("/jobs?user=bob").text) == []
    assert "show all" in world.get("/jobs?user=bob").text
    assert "No job has been submitted" in PageWorld().get("/jobs").text


def test_the_list_of_jobs_goes_on_page_by_page() -> None:
    world = PageWorld()
    world.store.keep(*(stored(number, State.FAILED) for number in range(1, 121)))
    seen = []
    link: str | None = "/jobs?state=failed"
    while link:
        text = world.get(link).text
        seen += [int(number) for number in re.findall(r'<a href="/jobs/(\d+)">', text)]
        found = re.search(r'href="([^"]+)" rel="next"', text)
        link = found[1].replace("&amp;", "&") if found else None
    assert seen == list(range(120, 0, -1))


@pytest.mark.parametrize("query", ["page=0", "page=41", "page=x", "user=" + "u" * 201])
def test_what_cannot_be_asked_is_refused_by_a_page(query: str) -> None:
    answer = PageWorld().get(f"/jobs?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert "content-security-policy" in answer.headers


def test_a_waiting_job_is_told_in_words_with_its_alternatives() -> None:
    world = busy()
    text = text_of(world.get("/jobs/2").text)
    for told in (
        "Job 2 (gpt) of ada is queued.",
        "start now Mar 02 12:00 UTC none",
        "as planned",
        "2h 93 g/kWh 400 g",
        "at the latest",
    ):
        assert told in text, told
    assert re.findall(r'data-act="([a-z-]+)"', world.get("/jobs/2").text) == ["hold", "start-now", "cancel"]


def test_the_alternatives_are_of_the_forecast_that_is_in_use() -> None:
    """From three hours on the grid is much cleaner: the cleanest start is then, and its grams are in proportion."""
    world = PageWorld()
    world.store.keep(stored(2))
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(2, intensity_g_per_kwh=100.0),))
    world.store.saved = forecast([200.0] * 6 + [50.0] * 60)
    text = text_of(world.get("/jobs/2").text)
    found = re.search(r"cleanest that the forecast has, if GPUs were free .*? (\S+) 50 g/kWh 200 g", text)
    assert found
    assert found[1] == "3h"


def ran(world: PageWorld) -> PageWorld:
    """With an hour of job 1 in the books, and its start among the events."""
    half = timedelta(minutes=30)
    for place in range(2):
        start = NOW - HOUR + place * half
        part = Slice(
            device=GPU.id, component=Component.GPU, run_id=7, start=start, end=start + half, energy_j=360_000.0,
            quality=Quality.MEASURED,
        )  # fmt: skip
        priced = Priced(intensity_g_per_kwh=100.0 + 50 * place, emissions_g=10.0, kind=Kind.FORECAST)
        world.store.booked.append(Entry(id=place + 1, slice=part, job_id=1, pue=1.0, booked=priced))
    world.store.log.append(
        Event(id=1, at=NOW - HOUR, actor="scheduler", kind="started", job_id=1, run_id=7, detail={"number": 1})
    )
    return world


def test_a_running_job_shows_what_it_drew_and_how_clean_the_grid_was() -> None:
    world = ran(busy())
    chart = world.get("/jobs/1/power").json()
    assert [row["name"] for row in chart["series"]] == ["power", "carbon intensity"]
    assert chart["series"][0]["steps"][0] == ["2026-03-02T11:00:00Z", "2026-03-02T11:30:00Z", 200.0]
    assert [step[2] for step in chart["series"][1]["steps"]] == [100.0, 150.0]
    text = world.get("/jobs/1").text
    assert 'data-source="/jobs/1/power"' in text
    assert "started" in text_of(text)
    assert 'data-refresh="/jobs/1/state"' in text


def test_a_job_of_another_user_is_shown_as_far_as_the_site_shows_it() -> None:
    for others, status in ((Sharing.PRIVATE, 404), (Sharing.LISTED, 200), (Sharing.OPEN, 200)):
        world = ran(busy(access=AccessRules(others=others)))
        answer = world.get("/jobs/1", who=BOB)
        assert answer.status_code == status
        assert ("200 W" in answer.text) == (others is Sharing.OPEN)
        assert "data-act" not in answer.text
        assert "data-log" not in answer.text


def test_a_stranger_is_shown_no_job_whether_there_is_one_or_not() -> None:
    world = busy()
    there, gone = (world.get(path, who=STRANGER) for path in ("/jobs/1", "/jobs/99"))
    assert (there.status_code, gone.status_code) == (403, 403)
    assert "greenrun web" in there.text
    assert text_of(there.text) == text_of(gone.text)
    for path in ("/jobs/1/state", "/jobs/1/power", "/reports/file?format=html"):
        assert world.get(path, who=STRANGER).status_code == 403
    listed = world.get("/jobs", who=STRANGER).text
    assert not re.search("gpt|vit|bert", listed)


def test_a_job_that_is_not_there_is_a_page_that_leads_on() -> None:
    answer = busy().get("/jobs/99")
    assert answer.status_code == 404
    assert "there is no job 99" in answer.text
    assert 'href="/jobs"' in answer.text


@pytest.mark.parametrize("path", ["/", *PATHS])
def test_a_fault_is_told_by_a_page_without_its_details(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    for handler in ("now_page", "jobs_page", "job_page", "grid_page", "devices_page"):
        monkeypatch.setattr(f"greenrun.web.pages.{handler}.page", fails)
    answer = busy().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "fault of its own" in answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/jobs/99", "/jobs?page=0", "/reports?by=nothing"])
def test_a_refusal_names_who_is_signed_in(path: str) -> None:
    known, stranger = busy().get(path), busy().get(path, who=STRANGER)
    assert known.status_code >= 400
    assert "not signed in" not in known.text
    assert "not signed in" in stranger.text


def test_the_grid_page_tells_zones_and_how_good_forecasts_were() -> None:
    world = busy()
    world.scheduler.quality.latest = [judged()]
    text = text_of(world.get("/grid").text)
    for told in ("GB 200 g/kWh", "50 g/kWh", "fresh forecast", "12 g/kWh", "80 %"):
        assert told in text, told
    (series,) = world.get("/grid/intensity").json()["series"]
    assert series["name"] == "GB, fresh forecast"
    empty = text_of(PageWorld(zone=None).get("/grid").text)
    assert "No zone is set" in empty
    assert "greenrun init" in empty


def test_the_devices_page_tells_who_has_each_and_what_it_draws() -> None:
    world = busy()
    text = text_of(world.get("/devices").text)
    for told in ("GPU 0 Emulated GPU", "302 W", "55.5 W", "job 1", "CPU 0"):
        assert told in text, told
    hidden = busy(access=AccessRules(others=Sharing.PRIVATE))
    assert "/jobs/1" not in hidden.get("/devices", who=STRANGER).text
    world.scheduler.elsewhere = {GPU.id: "mallory"}
    assert "mallory" not in world.get("/devices", who=STRANGER).text


@pytest.mark.parametrize("is_lost", [False, True])
def test_the_devices_page_says_that_a_board_is_given_out_in_parts(
    monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    world = PageWorld()
    monkeypatch.setattr(world.scheduler, "devices", lambda: slots_of(GPU, 2))
    lost = Absence(name="GPU 0", code=ReasonCode.GPUS_LOST, text="lost: it has to be reset")
    world.scheduler.of_gpu = GpuState(absences=(lost,) if is_lost else ())
    text = text_of(world.get("/devices").text)
    assert text.count("given out in parts") == 1
    assert text.count("may get jobs") == (0 if is_lost else 2)
    assert text.count("it has to be reset") == (3 if is_lost else 0)


@pytest.mark.parametrize("path", PATHS)
def test_pages_say_what_is_wrong_when_the_store_cannot_be_read(path: str) -> None:
    """It is told by a page with a way on, never by a trace."""
    world = busy()
    world.store.fault = StoreError("The database is busy: try again.")
    answer = world.get(path)
    if answer.status_code != 200:  # the grid and the devices need no jobs
        assert answer.status_code == 503
        assert "The database is busy" in answer.text
        assert "greenrun doctor" in answer.text


def test_totals_of_a_job_are_unknown_where_a_part_is() -> None:
    world = busy()
    run = Run(id=8, job_id=1, number=2, token="u", devices=(GPU.id,), claimed_at=NOW, started_at=NOW)
    world.store.job_runs[1] = [replace(world.store.job_runs[1][0], number=1), run]
    world.store.totals[8] = Total()
    row = re.search(r'<tr><th scope="row"><a href="/jobs/1">.*?</tr>', world.get("/jobs").text, re.S)
    assert row
    assert "unknown" in row[0]


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u200b", "\x1b", "\x9b", "\u2028", "\U000e0041"])
def test_a_name_that_is_not_seen_as_it_is_turns_nothing_around(sign: str) -> None:
    """A job without a name is called by its command, which may hold anything: nothing shown acts on it."""
    world = busy(access=AccessRules(others=Sharing.OPEN))
    named = f"/bin/a{sign}b<i>"
    world.store.keep(stored(1, State.RUNNING, name=named), stored(2, name=named), stored(3, name=named))
    escaped = sign.encode("unicode_escape").decode()
    for path in ("/", "/jobs", "/jobs/1", "/jobs/2/state"):
        html = world.get(path).text
        assert sign not in html, path
        assert f"a{escaped}b&lt;i&gt;" in html, path
    assert {bar["label"] for bar in world.get("/page/timeline").json()["bars"]} >= {f"1 /bin/a{escaped}b<i>"}


def test_scripts_and_emoji_are_shown_as_they_were_written() -> None:
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f52c", "na\u00efve\u00a0x"):
        assert visible(name) == name
