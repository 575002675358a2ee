"""The first page says what runs, what waits and how clean the grid is, to each as much as they may see."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from greenrun.core.carbon.intensity import Kind, Series
from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.jobs.access import AccessRules, Sharing
from greenrun.core.planning.model import Plan
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.web.schedule_chart import JobWindow, bars_of
from tests.api.fakes import ADA, BOB, HOUR, NOW, forecast, placed, stored
from tests.slots import slots_of
from tests.web.pages import STRANGER, PageWorld, busy, text_of


def test_one_look_answers_what_runs_what_waits_and_how_clean_the_grid_is() -> None:
    answer = busy().get("/")
    text = text_of(answer.text)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for told in (
        "1 bert",
        "302 W",
        "123 g",
        "2 gpt",
        "93 g/kWh",
        "41 % below now",
        "3 vit",
        "200 g/kWh",
        "Mar 02 14:00",
    ):
        assert told in text, told


def test_a_stranger_is_told_no_more_than_metrics_tell() -> None:
    """Of running jobs what is listed; of those that wait how many and why, but neither names nor windows."""
    answer = busy().get("/", who=STRANGER)
    text = text_of(answer.text)
    for told in ("job 1", "123 g", "cleanest window", "greenrun web"):
        assert told in text.replace("1 bert", "job 1"), told
    assert not re.search("gpt|vit|93 g/kWh", text)
    bars = busy().get("/page/timeline", who=STRANGER).json()["bars"]
    assert [bar["kind"] for bar in bars] == ["running"]


def test_a_stranger_is_told_of_no_job_where_jobs_are_private() -> None:
    world = busy(access=AccessRules(others=Sharing.PRIVATE))
    assert "bert" not in world.get("/", who=STRANGER).text
    assert world.get("/page/timeline", who=STRANGER).json()["bars"] == []


@pytest.mark.parametrize(
    ("others", "named"), [(Sharing.PRIVATE, False), (Sharing.LISTED, True), (Sharing.OPEN, True)], ids=str
)
def test_others_are_told_as_much_as_the_site_shows(others: Sharing, named: bool) -> None:
    world = busy(access=AccessRules(others=others))
    text = text_of(world.get("/", who=BOB).text)
    bars = world.get("/page/timeline", who=BOB).json()["bars"]
    assert ("bert" in text, "gpt" in text) == (named, named)
    assert ("123 g" in text, "400 g" in text) == ((others is Sharing.OPEN,) * 2)
    assert [bar["kind"] for bar in bars] == ["running", "planned"] if named else ["planned"]
    assert [bar["job"] for bar in bars if bar["kind"] == "planned"] == [2 if named else None]


def test_buttons_are_shown_to_those_who_may_press_them() -> None:
    world = busy()
    assert sorted(re.findall(r'data-act="([a-z-]+)" data-job="(\d)"', world.get("/").text)) == [
        ("cancel", "1"), ("cancel", "2"), ("cancel", "3"), ("hold", "2"), ("release", "3"), ("start-now", "2"),
        ("start-now", "3"),
    ]  # fmt: skip
    for who in (BOB, STRANGER):
        assert "data-act" not in world.get("/", who=who).text


def test_names_are_shown_as_they_are_and_never_as_tags() -> None:
    world = PageWorld()
    world.store.keep(stored(1, name="<script>alert(1)</script>"))
    text = world.get("/").text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_an_idle_daemon_without_sources_says_what_to_do() -> None:
    text = text_of(PageWorld(zone=None).get("/").text)
    for told in ("Nothing runs now", "greenrun submit", "No job that you may see waits", "greenrun init", "unknown"):
        assert told in text, told


def test_what_is_wrong_is_told_with_what_to_do() -> None:
    world = PageWorld()
    world.scheduler.wrong = [
        Condition(
            code=ConditionCode.DISK_FULL, effect=Effect.NOT_READY, text="the disk is full", remedy="make room",
            since=NOW,
        )
    ]  # fmt: skip
    text = text_of(world.get("/").text)
    assert "Not ready : the disk is full" in text
    assert "What to do: make room" in text


def test_the_queue_shows_a_few_of_many_and_where_the_rest_are() -> None:
    world = PageWorld()
    world.store.keep(*(stored(number) for number in range(1, 101)))
    world.scheduler.latest = Plan(made_at=NOW, placements=tuple(placed(number) for number in range(1, 101)))
    answer = world.get("/")
    assert answer.text.count('<tr data-fragment="queued-') == 25
    assert "100 jobs wait in all" in answer.text
    assert 'href="/jobs?state=queued"' in answer.text


def test_planned_jobs_are_on_gpus_that_are_free_by_then() -> None:
    world = busy()
    soon = placed(2, start=NOW + timedelta(minutes=5), end=NOW + HOUR)
    world.scheduler.latest = replace(world.scheduler.latest, placements=(soon,))
    data = world.get("/page/timeline").json()
    assert (data["lanes"], [bar["lane"] for bar in data["bars"]]) == (["GPU 0"], ["GPU 0", "GPU 0"])
    assert data["steps"][0] == ["2026-03-02T12:00:00Z", "2026-03-02T12:30:00Z", 200.0]
    assert (data["level"], data["now"], data["until"]) == (
        "fresh forecast", "2026-03-02T12:00:00Z", "2026-03-03T12:00:00Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("half_hours", "until", "is_short"),
    [(1, "2026-03-02T12:30:00Z", True), (6, "2026-03-02T15:00:00Z", False), (200, "2026-03-04T12:00:00Z", False)],
)
def test_the_chart_ends_where_forecast_and_plan_do_and_after_two_days_at_most(
    half_hours: int, until: str, is_short: bool
) -> None:
    world = PageWorld()
    world.store.saved = forecast([200.0] * half_hours)
    data = world.get("/page/timeline").json()
    assert (data["until"], data["is_short"]) == (until, is_short)
    assert data["from"] < data["now"] < data["until"]


def test_the_chart_reaches_to_the_end_of_a_plan_that_is_longer_than_the_forecast() -> None:
    world = busy()
    world.store.saved = forecast([200.0])
    late = placed(2, start=NOW + 20 * HOUR, end=NOW + 30 * HOUR)
    world.scheduler.latest = replace(world.scheduler.latest, placements=(late,))
    assert world.get("/page/timeline").json()["until"] == "2026-03-03T18:00:00Z"


@pytest.mark.parametrize(("half_hours", "window"), [(8, "4h"), (7, "2h"), (3, "1h"), (1, "30m")])
def test_the_cleanest_window_is_one_that_the_forecast_has_room_for(half_hours: int, window: str) -> None:
    world = PageWorld()
    world.store.saved = forecast([200.0] * half_hours)
    text = text_of(world.get("/").text)
    assert f"Cleanest {window} in the next day 200 g/kWh" in text
    assert ("the forecast is too short for 4 h" in text) == (window != "4h")


@pytest.mark.parametrize("begun_s", [0, 20, 59])
def test_a_forecast_that_begins_within_this_minute_says_how_clean_the_grid_is(begun_s: int) -> None:
    """Just after the start a replayed one begins with the daemon, and not with a minute."""
    world = PageWorld()
    whole = forecast([280.0] * 10)
    begin, step = NOW + timedelta(seconds=begun_s), timedelta(minutes=30)
    slots = slots_of([begin + place * step for place in range(10)], [280.0] * 10, step, Kind.FORECAST)
    world.store.saved = replace(whole, series=Series.of(whole.series.id, slots))
    world.now = begin + timedelta(milliseconds=500)
    text = text_of(world.get("/").text)
    assert "280 g/kWh fresh forecast" in text
    assert "Cleanest 4h in the next day 280 g/kWh" in text


def test_the_month_has_a_card_of_its_own() -> None:
    world = busy()
    assert 'data-fetch="/page/month"' in world.get("/", who=ADA).text


def test_reserved_gpus_are_on_their_lanes_and_strangers_see_none() -> None:
    world = busy()
    wanted = Reservation(devices=(), start=NOW + HOUR, end=NOW + 2 * HOUR, user="ada", reason="a demo")
    world.scheduler.reserve(wanted, names=["0"], count=None, now=NOW, origin=None)
    bars = world.get("/page/timeline").json()["bars"]
    told = [(bar["lane"], bar["start"], bar["text"]) for bar in bars if bar["kind"] == "reserved"]
    assert told == [("GPU 0", "2026-03-02T13:00:00Z", "1 GPU, for ada: a demo")]
    assert "reserved" not in {bar["kind"] for bar in world.get("/page/timeline", who=STRANGER).json()["bars"]}


def test_what_is_planned_is_shown_where_nothing_else_is_then() -> None:
    def window(kind: str, begins_h: int, ends_h: int, gpus: int = 1, lanes: Sequence[str] | None = None) -> JobWindow:
        start, end = NOW + begins_h * HOUR, NOW + ends_h * HOUR
        return JobWindow(label=kind, kind=kind, job=1, gpus=gpus, start=start, end=end, text="", lanes=lanes)

    windows = [
        window("reserved", 1, 2, lanes=["GPU 0"]), window("planned", 0, 1), window("planned", 1, 3),
        window("planned", 2, 3), window("planned", 4, 5, gpus=2), window("planned", 4, 5),
    ]  # fmt: skip
    lanes = [bar.lane for bar in bars_of(windows, ["GPU 0", "GPU 1"])]
    assert lanes == ["GPU 0", "GPU 0", "GPU 1", "GPU 0", "GPU 0", "GPU 1", "GPU 0"]
