"""`plan` and `forecast` show what is to come, unchanged as JSON and drawn otherwise."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import at, planned
from tests.fake_api import FakeApi


def a_forecast(**own: Any) -> dict[str, Any]:
    slots = [
        {"start": at(hours=hour), "end": at(hours=hour + 1), "g_per_kwh": value, "kind": "forecast"}
        for hour, value in enumerate([200.0, 50.0, 100.0])
    ]
    base = {"zone": "GB", "provider": "uk", "issued_at": at(), "rung": "fresh", "slots": slots}
    return {**base, **own}


def a_plan(**own: Any) -> dict[str, Any]:
    reason = {"code": "cleanest_window", "text": "waits for the cleanest free window"}
    first = planned(job=12, gpus=2, late=False, reason=reason)
    second = planned(job=13, gpus=1, late=True, g_per_kwh=None, expected_g=None, reason=reason)
    base = {"made_at": at(), "expected_g": 590.0, "start_at_once_g": 1000.0, "placements": [first, second]}
    return {**base, "waiting": [{"job": 14, "reason": {"code": "held", "text": "held by ada"}}], **own}


def test_a_forecast_is_drawn_with_its_cleanest_hour(api: FakeApi, run: Run) -> None:
    api.get("/v1/forecast", a_forecast())
    lines = run("forecast", "--hours", "12h", "--zone", "GB").out.splitlines()
    assert api.asked[0].query == {"zone": ["GB"], "hours": ["12.0"]}
    assert lines[0].startswith("GB: forecast by uk, issued ")
    assert [line.split()[2] for line in lines[1:]] == ["200", "50", "100"]
    assert [line.endswith("◀ cleanest") for line in lines[1:]] == [False, True, False]


def test_a_forecast_as_json_is_the_api_s_own(api: FakeApi, run: Run) -> None:
    answer = a_forecast()
    api.get("/v1/forecast", answer)
    assert json.loads(run("forecast", "--json").out) == answer


def test_no_forecast_is_said_with_what_follows(api: FakeApi, run: Run) -> None:
    api.get("/v1/forecast", {"zone": "GB", "provider": None, "rung": "none", "slots": []})
    assert run("forecast").out == "there is no forecast for GB now: jobs start as soon as GPUs are free\n"


def test_without_a_zone_it_is_said_how_to_get_a_forecast(api: FakeApi, run: Run) -> None:
    api.get("/v1/forecast", {"zone": None, "provider": None, "rung": "none", "slots": []})
    assert run("forecast").out.startswith("no zone is set, so there is no forecast: set [grid] zone;")


def test_a_stale_forecast_says_so(api: FakeApi, run: Run) -> None:
    api.get("/v1/forecast", a_forecast(rung="stale"))
    assert "It is stale" in run("forecast").out


def test_a_forecast_says_how_rough_it_is_and_why(api: FakeApi, run: Run) -> None:
    api.get("/v1/forecast", a_forecast(rung="stale", age_s=5 * 3600, why="uk has not answered since"))
    assert run("forecast").out.splitlines()[1] == "It is stale, 5h old: uk has not answered since."
    api.get("/v1/forecast", a_forecast(rung="climatology", issued_at=None, why="no source answers"))
    assert run("forecast").out.splitlines()[1] == "It is estimated: no source answers."


def test_a_forecast_drawn_large_marks_its_cleanest_hours(api: FakeApi, run: Run) -> None:
    values = [300.0] * 6 + [100.0] * 6
    slots = [
        {"start": at(hours=hour), "end": at(hours=hour + 1), "g_per_kwh": value, "kind": "forecast"}
        for hour, value in enumerate(values)
    ]
    api.get("/v1/forecast", a_forecast(slots=slots))
    lines = run("forecast", "--plot").out.splitlines()
    assert lines[0].startswith("GB: forecast by uk")
    assert lines[1].startswith("300 ┤")
    assert lines[-1].startswith("▲ the cleanest 4 hours: ")
    assert lines[-1].endswith(", 100 g/kWh")


LEAD = {"from_h": 0, "to_h": 6, "issues": 40, "hours": 240, "mean_absolute_error_g_per_kwh": 12.34}
LEAD |= {"bias_g_per_kwh": -2.5, "rank_correlation": 0.913, "captured_ratio": None}


def a_quality(**own: Any) -> dict[str, Any]:
    day = {**LEAD, "to_h": 24, "captured_ratio": 0.804, "missing": {}}
    leads = [{**LEAD, "missing": {"captured_ratio": "a window needs more"}}, day]
    series = {"zone": "GB", "provider": "uk", "signal": "average", "accounting": None, "basis": "direct"}
    return {"zone": "GB", "judged_at": at(), "series": [{**series, "leads": leads}], **own}


def test_the_quality_of_forecasts_is_a_table_with_what_is_missing(api: FakeApi, run: Run) -> None:
    answer = a_quality()
    api.get("/v1/forecast/quality", answer)
    lines = run("forecast", "--quality", "--zone", "GB").out.splitlines()
    assert api.asked[0].query == {"zone": ["GB"]}
    assert lines[0].startswith("GB: forecasts by uk (average, direct) of the last 8 weeks, judged at ")
    assert [line.split() for line in lines[1:4]] == [
        ["AHEAD", "FORECASTS", "HOURS", "ERROR", "BIAS", "ORDER", "CAPTURED"],
        ["0-6", "h", "40", "240", "12.3", "-2.5", "0.91", "-"],
        ["0-24", "h", "40", "240", "12.3", "-2.5", "0.91", "80", "%"],
    ]
    assert lines[4] == "no captured at 0-6 h: a window needs more"
    assert json.loads(run("forecast", "--quality", "--json").out) == answer


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"zone": None, "judged_at": None}, "no zone is set"),
        ({"judged_at": None}, "have not been yet: ask again"),
        ({}, "no forecast of GB is kept"),
    ],
)
def test_no_quality_is_said_with_why(parts: dict[str, Any], said: str, api: FakeApi, run: Run) -> None:
    api.get("/v1/forecast/quality", a_quality(series=[], **parts))
    assert said in run("forecast", "--quality").out


def test_what_was_and_what_is_to_come_are_not_asked_for_at_once(run: Run) -> None:
    assert run("forecast", "--quality", "--plot").code == 2


def test_a_forecast_is_drawn_as_a_page(api: FakeApi, run: Run, tmp_path: Path) -> None:
    api.get("/v1/forecast", a_forecast(zone="<GB>"))
    page = tmp_path / "day.html"
    assert run("forecast", "--plot", str(page)).out == f"written: {page}\n"
    text = page.read_text(encoding="utf-8")
    assert text.count('<figure class="chart"') == 1
    assert "&lt;GB&gt;: forecast by uk, issued " in text
    assert json.loads(run("forecast", "--plot", str(page), "--json").out)["zone"] == "<GB>"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--plot", "day.png"), "only .html is drawn"),
        (("--plot", "no/such/day.html"), "is not a folder"),
        (("day.html",), "would be the page that --plot draws"),
    ],
)
def test_a_page_that_cannot_be_drawn_is_refused_before_anything_is_asked(
    words: tuple[str, ...], said: str, api: FakeApi, run: Run
) -> None:
    done = run("forecast", *words)
    assert (done.code, api.asked) == (2, [])
    assert said in done.err


@pytest.mark.parametrize("hours", ["x", "0", "-3", "nan"])
def test_hours_that_are_none_are_usage(run: Run, hours: str) -> None:
    assert run("forecast", f"--hours={hours}").code == 2


def test_a_plan_is_drawn_and_told(api: FakeApi, run: Run) -> None:
    api.get("/v1/plan", a_plan())
    api.get("/v1/forecast", a_forecast())
    out = run("plan").out
    assert " g/kWh  " in out
    assert "    12  " in out
    assert "waits for the cleanest free window\n" in out
    assert " late " in out
    assert "unknown  unknown  waits" in out
    assert "expected 590 g CO2e; first come, first served 1 kg CO2e (41 % below that)\n" in out
    assert out.endswith("job 14 waits without a place in the plan: held by ada\n")


@pytest.mark.parametrize(
    ("earliest_g", "told"),
    [
        (800.0, "; at the earliest start on the same GPUs, as reports compare, 800 g CO2e (26 % below that)"),
        (1000.0, ""),
        (None, ""),
    ],
)
def test_the_baseline_of_reports_is_told_where_it_is_another(
    api: FakeApi, run: Run, earliest_g: float | None, told: str
) -> None:
    api.get("/v1/plan", a_plan(earliest_start_g=earliest_g))
    api.get("/v1/forecast", a_forecast())
    assert f"first come, first served 1 kg CO2e (41 % below that){told}\n" in run("plan").out


def test_jobs_that_wait_for_the_same_are_told_together(api: FakeApi, run: Run) -> None:
    turn = {"code": "array_full", "text": "waits for its turn: at most 2 jobs of its array may run at once"}
    held = {"code": "held", "text": "held by ada"}
    waiting = [{"job": job, "reason": held if job == 14 else turn} for job in (11, 12, 13, 14, 17)]
    api.get("/v1/plan", a_plan(placements=[], waiting=waiting))
    assert run("plan").out.splitlines() == [
        f"jobs 11-13, 17 wait without a place in the plan: {turn['text']}",
        "job 14 waits without a place in the plan: held by ada",
    ]


def test_a_plan_without_a_forecast_is_drawn_without_its_strip(api: FakeApi, run: Run) -> None:
    api.get("/v1/plan", a_plan(expected_g=None, start_at_once_g=None, waiting=[]))
    api.get("/v1/forecast", {"zone": "GB", "provider": None, "rung": "none", "slots": []})
    out = run("plan").out
    assert " g/kWh  " not in out.split("JOB")[0]
    assert "expected CO2e is unknown: no forecast covers all of job 13\n" in out


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"gap_ratio": 0.00312, "bound_g": 588.0},
            "this is within 0.4 % of the best possible: within these limits no ",
        ),
        (
            {"gap_ratio": 0.0, "bound_g": 590.0},
            "this is the best possible: within these limits no plan is expected to ",
        ),
        ({"gap_ratio": None, "bound_g": None}, "not known; no plan was found in which job 13 keeps every limit\n"),
    ],
)
def test_a_plan_says_how_near_it_is_to_the_best(parts: dict[str, Any], said: str, api: FakeApi, run: Run) -> None:
    api.get("/v1/plan", a_plan(**parts))
    api.get("/v1/forecast", a_forecast())
    assert said in run("plan").out


def test_the_pieces_of_a_suspended_job_are_told_and_drawn(api: FakeApi, run: Run) -> None:
    reason = {"code": "cleanest_window", "text": "waits"}
    spans = [{"start": at(hours=2), "end": at(hours=3)}, {"start": at(hours=6), "end": at(hours=8)}]
    api.get("/v1/plan", a_plan(placements=[planned(job=12, gpus=2, late=False, reason=reason, pieces=spans)]))
    api.get("/v1/forecast", a_forecast())
    out = run("plan").out
    assert re.search(r"^    12   *█+·+█+$", out, re.MULTILINE)
    assert re.search(r"^job 12 runs [0-9: -]+, [0-9: -]+, and is suspended in between$", out, re.MULTILINE)


def test_a_plan_says_which_jobs_were_put_off_and_how_often(api: FakeApi, run: Run) -> None:
    reason = {"code": "cleanest_window", "text": "waits"}
    rows = [planned(job=job, gpus=1, reason=reason, put_offs=times) for job, times in ((11, 1), (12, 0), (13, 4))]
    api.get("/v1/plan", a_plan(placements=rows))
    api.get("/v1/forecast", a_forecast())
    assert "put off since they were first planned: job 13 (4 times), job 11 (1 time)\n" in run("plan").out


def test_a_plan_says_which_jobs_no_forecast_covers(api: FakeApi, run: Run) -> None:
    api.get("/v1/plan", a_plan())
    api.get("/v1/forecast", a_forecast())  # three hours, of which the job that runs from 2 to 8 gets one
    assert "estimated from the same hours of past days" in (out := run("plan").out)
    assert re.search(r"job 12 \(8[34] % of its time\)$", out, re.MULTILINE)
    api.get("/v1/forecast", {**a_forecast(), "rung": "static", "slots": []})
    assert "estimated by a yearly mean, for there is no forecast: job 12 (100 % of its time)\n" in run("plan").out


def test_a_plan_as_json_is_the_api_s_own_and_an_empty_one_a_sentence(api: FakeApi, run: Run) -> None:
    answer = a_plan(placements=[], waiting=[])
    api.get("/v1/plan", answer)
    assert json.loads(run("plan", "--json").out) == answer
    assert run("plan").out == "nothing waits to be started\n"
