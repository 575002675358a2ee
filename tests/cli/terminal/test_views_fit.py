"""Plans, cards, explanations and reports fit the terminal, and no time of theirs is cut."""

from typing import Any

import pytest

from greenrun.cli.terminal.width import cell_width
from tests.cli.conftest import Run
from tests.cli.examples import at, job, planned, run_of
from tests.fake_api import FakeApi

LONG = "cleaner hours go to jobs, queued or expected, that gain more from them or come first; this window has 147 g/kWh"


def placements() -> list[dict[str, Any]]:
    reason = {"code": "x", "text": f"{LONG}, 53 % below now"}
    spans = [(2, 8), (26, 30), (40, 70)]
    return [
        {"job": 100 + n, "gpus": 4, "late": n == 1, "reason": reason, **planned(start=at(hours=a), end=at(hours=b))}
        for n, (a, b) in enumerate(spans)
    ]


def forecast() -> dict[str, Any]:
    hours = [(at(hours=n), at(hours=n + 1), 90.0 + n) for n in range(80)]
    slots = [{"start": start, "end": end, "g_per_kwh": grams, "kind": "forecast"} for start, end, grams in hours]
    told = {"rung": "stale", "age_s": 90, "issued_at": at(days=-2), "why": LONG}
    return {"zone": "DE", "provider": "trace", "slots": slots, **told}


@pytest.fixture
def daemon(api: FakeApi) -> FakeApi:
    """A daemon with a plan, and a job that has much to tell."""
    waiting = [{"job": 7, "reason": {"code": "held", "text": "held by ada; `greenrun release 7` lets it go"}}]
    sums = {"expected_g": 900.0, "start_at_once_g": 1000.0, "gap_ratio": 0.1, "bound_g": 800.0}
    api.get("/v1/plan", {"placements": placements(), "waiting": waiting, **sums})
    api.get("/v1/forecast", forecast())
    api.get("/v1/devices", [])
    runs = [run_of(log="/home/ada/state/greenrun/runs/12.1/log", devices=[f"GPU-{n:032}" for n in range(4)])]
    api.get("/v1/jobs/12", job(name="漢字" * 20, runs=runs, reason={"code": "x", "text": LONG}))
    api.get(
        "/v1/jobs/12/explain", {"job": 12, "sentences": [LONG, f"{LONG} until 2031-01-05 20:30:00Z."], "reason": None}
    )
    return api


@pytest.mark.parametrize("width", [160, 120, 80, 60])
@pytest.mark.parametrize("words", [("plan",), ("show", "12"), ("explain", "12"), ("forecast",), ("forecast", "--plot")])
def test_no_line_is_wider_than_the_terminal(
    daemon: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    ran = run(*words)
    assert ran.code == 0
    assert [line for line in ran.out.splitlines() if cell_width(line) > width] == []


@pytest.mark.parametrize("width", [160, 120, 80, 60])
def test_each_place_of_a_plan_is_told_whole(
    daemon: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("plan").out
    rows = {
        number: next(line for line in out.splitlines() if line.startswith(f"{number}  ")) for number in (100, 101, 102)
    }
    assert " late" in rows[101]
    for number, (_, end) in zip(rows, ((2, 8), (26, 30), (40, 70)), strict=True):
        assert at(hours=end)[11:13] in rows[number] or at(hours=end, minutes=-1)[11:13] in rows[number]
    assert ("WHEN (UTC)" in out, "147 g/kWh" in out) == (True, width >= 120)


def test_a_number_stays_with_its_unit() -> None:
    from greenrun.cli.terminal.width import wrapped

    assert wrapped("this window has 147 g/kWh, 53 % below now", 19) == [
        "this window has",
        "147 g/kWh, 53 %",
        "below now",
    ]
