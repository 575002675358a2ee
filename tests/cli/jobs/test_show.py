"""`show` and `explain` tell what the API says, unchanged as JSON and readable otherwise."""

import json
import time
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import at, job, planned, run_of
from tests.fake_api import FakeApi, problem


def anomaly(name: str, *, until: str | None) -> dict[str, str | None]:
    """An anomaly of a run."""
    return {"anomaly": name, "since": at(minutes=-20), "until": until, "text": f"it is {name}"}


def test_a_card_tells_the_work_of_a_run_what_it_took_and_what_was_unusual(api: FakeApi, run: Run) -> None:
    said = {"work": 1_250_000.0, "work_unit": "samples", "work_per_kwh": 625_000.0, "energy_per_work_j": 5.76}
    busy = {"gpu_utilization": 0.93, "gpu_utilization_coverage": 0.5}
    only = {"work": 10.5, "work_unit": "units", "work_per_kwh": None, "energy_per_work_j": None}
    runs = [run_of(1, **said, **busy, anomalies=[anomaly("gpu_idle", until=at(minutes=-5))]), run_of(2, **only)]
    api.get("/v1/jobs/12", job(state="running", runs=runs, stop_on=["gpu_idle", "stuck"]))
    api.get("/v1/devices", [])
    out = run("show", "12").out
    assert "  gpus busy:  93 % of the time, known for 50 % of it\n" in out
    assert "  work:       1,250,000 samples (625,000 per kWh, 5.76 J each)\n" in out
    assert "  work:       10.5 units\n" in out
    assert ("  anomaly:    gpu_idle " in out, ": it is gpu_idle\n" in out) == (True, True)
    assert "  stopped on: gpu_idle, stuck\n" in out


def test_show_prints_the_api_s_json_unchanged(api: FakeApi, run: Run) -> None:
    answer = job(runs=[run_of()])
    api.get("/v1/jobs/12", answer)
    assert json.loads(run("show", "12", "--json").out) == answer


def test_a_card_tells_all_and_says_what_is_emulated(api: FakeApi, run: Run) -> None:
    runs = [
        run_of(1, outcome="failed", exit_code=3, emissions_settled_g=190.0, avoided_g=-4.0, log="/state/runs/12.1/log"),
        run_of(2, ended_at=None, outcome=None, exit_code=None, energy_j=None, emissions_g=None, devices=["GPU-2"]),
    ]
    limits = {"time_limit_s": 7200, "finish_by": at(days=2), "max_delay_s": 3600, "start_after": at(hours=1)}
    api.get(
        "/v1/jobs/12", job(state="running", runs=runs, labels={"a": "1"}, priority=7, git_commit="c" * 40, **limits)
    )
    api.get("/v1/devices", [{"id": "GPU-1", "emulated": True}, {"id": "GPU-2", "emulated": False}])
    out = run("show", "12").out
    for expected in (
        "job 12  train  (running)",
        "  command:    python train.py",
        "  folder:     /home/ada (at commit cccccccccccc)",
        "  labels:     a=1",
        "  priority:   7",
        "  duration:   6h (as given)",
        "stopped after 2h, must end by ",
        "run 12.1  failed, exit code 3",
        "  devices:    GPU-1 (emulated)\n",
        "  energy:     2 kWh (measured)",
        "  emissions:  186 g CO2e booked; 190 g CO2e settled with measured intensity; "
        "4 g more than at the earliest start on the same GPUs",
        "  log:        /state/runs/12.1/log",
        "run 12.2  running\n",
        "  devices:    GPU-2\n",
        "  energy:     unknown: nothing is booked yet",
        "  emissions:  unknown, because its energy is unknown; not settled yet",
    ):
        assert expected in out


def test_a_card_tells_what_a_job_cost_and_of_what_that_is_not_known(api: FakeApi, run: Run) -> None:
    priced = {"cost": 1.23456, "currency": "EUR", "cost_missing_kwh": 0.0}
    api.get("/v1/devices", [])
    for changes, line in (({}, "1.23 EUR\n"), ({"cost_missing_kwh": 2.5}, "1.23 EUR, 2.5 kWh has no known price\n")):
        api.get("/v1/jobs/12", job(**(priced | changes)))
        assert f"  cost:       {line}" in run("show", "12").out
    api.get("/v1/jobs/12", job(**(priced | {"cost": None})))
    assert "cost" not in run("show", "12").out


def test_a_waiting_job_shows_its_plan(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12", job(planned=planned(g_per_kwh=None, expected_g=None, start_now_g_per_kwh=None)))
    out = run("show", "12").out
    assert "  why:        waits for the cleanest free window\n" in out
    assert "(emissions unknown: no forecast)\n" in out


def test_explain_prints_the_sentences(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/12/explain", {"job": 12, "sentences": ["Job 12 waits.", "It may."], "reason": None})
    assert run("explain", "12").out == "Job 12 waits.\nIt may.\n"
    assert json.loads(run("explain", "12", "--json").out)["job"] == 12


@pytest.mark.parametrize("verb", ["show", "explain"])
def test_a_job_that_is_not_there_is_exit_code_3(api: FakeApi, run: Run, verb: str) -> None:
    for path in ("/v1/jobs/99", "/v1/jobs/99/explain"):
        api.get(path, problem(404, "job not found", "There is no job 99."), 404)
    ran = run(verb, "99")
    assert (ran.code, ran.out, ran.err) == (3, "", "error: There is no job 99.\n")


def test_a_card_tells_what_its_duration_and_power_were_learned_from(api: FakeApi, run: Run) -> None:
    note = "learned from 12 finished jobs named train (quantile 0.8; median 3h05m, 2h to 4h)"
    api.get("/v1/jobs/12", job(duration_source="learned", duration_note=note, power_w=412.3, power_note="learned too"))
    out = run("show", "12").out
    assert f"  duration:   6h, {note}\n  power:      412 W, learned too\n" in out


def test_the_times_of_an_explanation_are_local_and_their_zones_said_once(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    sentences = ["It waits until 2031-03-29 20:30:00Z.", "It must end by 2031-03-30 20:30:15Z."]
    api.get("/v1/jobs/12/explain", {"job": 12, "sentences": sentences, "reason": None})
    lines = run("explain", "12").out.splitlines()
    assert lines[:2] == ["It waits until 2031-03-29 21:30.", "It must end by 2031-03-30 22:30:15."]
    assert lines[2].startswith("Times are in CE")
    assert {"CET", "CEST"} <= set(lines[2].removeprefix("Times are in ").removesuffix(".").split("/"))
    assert json.loads(run("explain", "12", "--json").out)["sentences"] == sentences


@pytest.mark.parametrize(
    ("told", "length"), [({"duration_s": 12.0}, "(12s)"), ({"duration_s": None}, "(59m)"), ({}, "(59m)")]
)
def test_a_run_took_as_long_as_was_measured_however_the_clock_was_set_meanwhile(
    api: FakeApi, run: Run, told: dict[str, Any], length: str
) -> None:
    api.get("/v1/jobs/12", job(state="succeeded", planned=None, runs=[run_of(**told)]))
    api.get("/v1/devices", [])
    (line,) = [line for line in run("show", "12").out.splitlines() if line.startswith("  when:")]
    assert line.endswith(length)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"runs": [run_of(outcome="checkpointed")]}, "(suspended)"),
        ({"held": True, "planned": None}, "(held)"),
        ({}, "(queued)"),
    ],
)
def test_a_card_has_the_state_that_the_list_has(api: FakeApi, run: Run, changes: dict[str, Any], said: str) -> None:
    api.get("/v1/jobs/12", job(**changes))
    api.get("/v1/devices", [])
    assert run("show", "12").out.splitlines()[0].endswith(said)
