"""The parts of `greenrun demo`: a made-up grid, settings, the account of what waiting was worth, two views."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from greenrun.charts.terminal import Step
from greenrun.cli.demonstration.baseline import account, starts_at_once, total
from greenrun.cli.demonstration.lines import changes
from greenrun.cli.demonstration.scenario import DEMO_JOBS, GPUS, SEED, SPEED, START, set_up
from greenrun.cli.demonstration.screen import frame
from greenrun.cli.demonstration.summary import print_report
from greenrun.cli.demonstration.trace import CLEAN_G_PER_KWH, FOSSIL_G_PER_KWH, Replay, replay_of, synthetic_trace
from greenrun.cli.demonstration.view import View
from greenrun.config import load_config

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    """An instant of the wall clock as the API writes it."""
    return (NOW + timedelta(seconds=seconds)).isoformat()


def job(number: int, name: str, state: str, **more: Any) -> dict[str, Any]:
    """A job as the API tells it."""
    stated = {"gpus": 1, "duration_s": 4.0, "finish_by": None, "max_delay_s": None, "planned": None, "runs": []}
    known = {"id": number, "name": name, "state": state, "user": "ada", "command": ["true"], "workdir": "/"}
    return {**known, **stated, "submitted_at": at(0), "reason": {"code": "due", "text": "its time has come"}, **more}


def run(start: float, end: float | None, **more: Any) -> dict[str, Any]:
    """A run as the API tells it."""
    amounts = {"energy_j": 3600.0, "emissions_g": 0.1, "emissions_settled_g": 0.1}
    ended = None if end is None else at(end)
    return {"started_at": at(start), "ended_at": ended, "devices": ["E-0"], "exit_code": 0, **amounts, **more}


def entry(start: float, end: float, energy_j: float | None) -> dict[str, Any]:
    """A slice of the ledger as the API tells it."""
    quality = "unknown" if energy_j is None else "measured"
    span = {"start": at(start), "end": at(end)}
    return {"device": "E-0", "component": "gpu", "run": 1, "energy_j": energy_j, "quality": quality, "pue": 1.0, **span}


# the grid


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    assert synthetic_trace(MIDNIGHT, 3, 5) == synthetic_trace(MIDNIGHT, 3, 5)
    assert synthetic_trace(MIDNIGHT, 3, 5) != synthetic_trace(MIDNIGHT, 3, 6)


def test_a_trace_is_half_hourly_without_holes() -> None:
    trace = synthetic_trace(MIDNIGHT, 2, 1)
    assert [step.start for step in trace] == [MIDNIGHT + index * timedelta(minutes=30) for index in range(96)]
    assert [step.end for step in trace[:-1]] == [step.start for step in trace[1:]]


@pytest.mark.parametrize("seed", range(20))
def test_every_value_lies_between_wind_alone_and_gas_alone(seed: int) -> None:
    values = [step.g_per_kwh for step in synthetic_trace(MIDNIGHT, 60, seed)]
    assert min(values) > CLEAN_G_PER_KWH
    assert max(values) < FOSSIL_G_PER_KWH


@pytest.mark.parametrize("seed", range(20))
def test_every_day_has_a_solar_dip_at_midday_and_a_peak_in_the_evening(seed: int) -> None:
    trace = synthetic_trace(MIDNIGHT, 30, seed)
    days = [[step.g_per_kwh for step in trace[day * 48 : day * 48 + 48]] for day in range(30)]
    for values in days:
        assert sum(values[24:28]) / 4 < 0.75 * sum(values[36:42]) / 6


def test_the_wind_changes_from_one_half_hour_to_the_next_but_not_by_leaps() -> None:
    nights = [step.g_per_kwh for step in synthetic_trace(MIDNIGHT, 1, 3)[:10]]
    assert len(set(nights)) == 10
    assert max(abs(after - before) for before, after in pairwise(nights)) < 60


def test_a_forecast_is_found_in_the_trace_and_tells_the_time_there() -> None:
    trace = synthetic_trace(MIDNIGHT, 2, 7)
    step = timedelta(minutes=30) / SPEED
    seen = [Step(NOW + index * step, NOW + index * step + step, trace[3 + index].g_per_kwh) for index in range(5)]
    replay = replay_of(trace, seen, SPEED)
    assert replay is not None
    assert replay.time_there(NOW) == MIDNIGHT + timedelta(minutes=90)
    assert replay.on_the_wall()[3:8] == seen


def test_a_forecast_from_elsewhere_is_not_taken_for_the_trace() -> None:
    assert replay_of(synthetic_trace(MIDNIGHT, 2, 7), [Step(NOW, NOW + timedelta(seconds=1), 9999)], SPEED) is None
    assert replay_of(synthetic_trace(MIDNIGHT, 2, 7), [], SPEED) is None


# the scene


def test_the_settings_are_valid_and_label_the_grid_synthetic(tmp_path: Path) -> None:
    path, trace = set_up(tmp_path)
    config = load_config(path)
    provider = config.provider["synthetic"]
    assert (provider.label, config.grid.zone, config.devices.meter) == ("synthetic", "SYNTHETIC", ("emulated",))
    assert config.paths.state == tmp_path / "state"
    assert trace[0].start == START


def test_the_eight_jobs_differ_in_length_gpus_and_limits() -> None:
    assert len({demo_job.name for demo_job in DEMO_JOBS}) == 8
    assert {demo_job.gpus for demo_job in DEMO_JOBS} == {1, 2}
    assert all(2 <= demo_job.seconds <= 8 and demo_job.gpus <= GPUS for demo_job in DEMO_JOBS)
    said = " ".join(demo_job.limits_text for demo_job in DEMO_JOBS)
    assert all(option in said for option in ("--now", "--max-delay", "--finish-by", "--min-saving", "--run-below"))
    assert any(not demo_job.limits_text for demo_job in DEMO_JOBS)


def test_the_present_is_dirty_and_the_dip_is_near() -> None:
    day = [step.g_per_kwh for step in synthetic_trace(START, 2, SEED)[:44]]
    assert min(day) < 0.2 * day[0]


# the account

GRID = [
    Step(NOW, NOW + timedelta(seconds=10), 300.0),
    Step(NOW + timedelta(seconds=10), NOW + timedelta(seconds=99), 100.0),
]


def test_a_job_that_waited_is_compared_with_its_own_power_at_the_earlier_start() -> None:
    waited = job(1, "a", "succeeded", runs=[run(20, 24)])
    (line,) = account([waited], {1: [entry(20, 24, 3600.0)]}, GRID, 1)
    assert line.at_once_g == pytest.approx(0.3)  # 1 Wh at 300 g/kWh
    assert line.saved_g == pytest.approx(0.2)
    assert line.saved_ratio == pytest.approx(2 / 3)
    assert (line.waited_s, line.is_late) == (20.0, False)


def test_at_once_means_in_order_of_submission_when_gpus_are_free() -> None:
    jobs = [
        job(1, "a", "succeeded", gpus=2, runs=[run(40, 44)]),
        job(2, "b", "succeeded", runs=[run(20, 23)], submitted_at=at(1)),
        job(3, "c", "succeeded", gpus=2, runs=[run(30, 35)], submitted_at=at(2)),
    ]
    starts = starts_at_once(jobs, 2)
    assert {number: (start - NOW).total_seconds() for number, start in starts.items()} == {1: 0.0, 2: 4.0, 3: 7.0}


def test_what_is_unknown_stays_unknown_in_the_sum() -> None:
    jobs = [job(1, "a", "succeeded", runs=[run(20, 24)]), job(2, "b", "cancelled")]
    lines = account(jobs, {1: [entry(20, 24, None)]}, GRID, 2)
    assert (lines[0].at_once_g, lines[0].saved_ratio) == (None, None)
    assert (lines[1].energy_j, lines[1].waited_s, lines[1].at_once_g) == (None, None, None)
    assert (total(lines).energy_j, total(lines).saved_g) == (None, None)


@pytest.mark.parametrize(
    ("limits", "late"),
    [({"max_delay_s": 18.0}, True), ({"max_delay_s": 20.0}, False), ({"finish_by": at(22)}, True), ({}, False)],
)
def test_a_job_is_late_when_it_broke_a_limit_of_its_own(limits: dict[str, Any], late: bool) -> None:
    (line,) = account([job(1, "a", "succeeded", runs=[run(20, 24)], **limits)], {}, GRID, 1)
    assert line.is_late is late


def test_the_report_fits_80_columns_and_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(1, "nightly-eval", "succeeded", runs=[run(20, 24)]), job(2, "b", "succeeded", runs=[run(0, 4)])]
    print_report(account(jobs, {1: [entry(20, 24, 3600.0)], 2: [entry(0, 4, 1200.0)]}, GRID, 2))
    table, summary = capsys.readouterr().out.split("\n\n")
    assert [" ".join(line.split()) for line in table.splitlines()[1:]] == [
        "1 nightly-eval succeeded 20.0 s 1.000 Wh 0.100 g 0.300 g 0.200 g 67 %",
        "2 b succeeded 0.0 s 1.000 Wh 0.100 g 0.100 g 0.000 g 0 %",
        "total 0 late 2.000 Wh 0.200 g 0.400 g 0.200 g 50 %",
    ]
    assert summary.startswith("2 jobs, 0 late: 0.2 g CO2e, 50 % less than first come, first served (0.4 g),\n")
    assert max(map(len, [*table.splitlines(), *summary.splitlines()])) <= 80


# the views


def view(*jobs: dict[str, Any], now_s: float = 5) -> View:
    """A view of these jobs on the demo's own grid."""
    replay = Replay(trace=synthetic_trace(START, 2, SEED), began=NOW, speed=SPEED)
    return View(
        now=NOW + timedelta(seconds=now_s), began=NOW, jobs=jobs, steps=replay.on_the_wall(),
        gpus=["E-0", "E-1", "E-2", "E-3"], replay=replay, page_url="http://127.0.0.1:1/sign-in?ticket=t",
        why={1: {"code": "due", "text": "its planned window has come"}},
    )  # fmt: skip


def test_each_change_is_one_line_in_the_grids_own_time() -> None:
    planned = {"start": at(10), "end": at(14), "g_per_kwh": 150.0, "start_now_g_per_kwh": 300.0}
    waits = job(1, "hotfix", "queued", planned=planned)
    runs = job(1, "hotfix", "running", runs=[run(10, None, energy_j=None, emissions_g=None)])
    done = job(1, "hotfix", "succeeded", runs=[run(10, 14)])
    told = [
        *changes(view(waits), waits, None),
        *changes(view(runs), runs, "queued"),
        *changes(view(runs), runs, "running"),
    ]
    assert [*told, *changes(view(done), done, "running"), *changes(view(done), done, "succeeded")] == [
        "Mon 18:30  submitted  job 1 hotfix: --gpus 1 --duration 4s --now; "
        "planned for Mon 22:30 (150 g/kWh, 50 % below now)",
        "Mon 22:30  started    job 1 hotfix on emulated GPU 0: its planned window has come",
        "Tue 00:06  ended      job 1 hotfix: succeeded, 1 Wh, 0.1 g CO2e: its time has come",
    ]


def test_a_start_is_told_once_also_where_its_run_is_seen_before_its_state() -> None:
    runs = job(1, "hotfix", "running", runs=[run(10, None, energy_j=None, emissions_g=None)])
    seen = [
        changes(view(row), row, last) for row, last in ((runs | {"state": "starting"}, "queued"), (runs, "starting"))
    ]
    assert [line.split()[2] for lines in seen for line in lines] == ["started"]


def test_a_job_that_ran_between_two_looks_is_told_whole() -> None:
    done = job(1, "hotfix", "succeeded", runs=[run(1, 3)])
    assert [line.split()[2] for line in changes(view(done), done, None)] == ["submitted", "started", "ended"]


@pytest.mark.parametrize(("width", "height"), [(76, 23), (80, 24), (120, 40), (200, 60)])
def test_the_drawing_fits_the_terminal_and_says_what_is_not_real(width: int, height: int) -> None:
    planned = {"start": at(45), "end": at(53), "g_per_kwh": 40.0, "start_now_g_per_kwh": 280.0}
    jobs = [job(1, "hotfix", "running", runs=[run(1, None)]), job(2, "quick-look", "succeeded", runs=[run(1, 3)])]
    jobs += [job(number, "nightly-eval", "queued", planned=planned) for number in range(3, 8)]
    jobs += [job(8, "sweep-b", "failed", reason={"code": "exit_code", "text": "its command ended with exit code 3"})]
    console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(frame(view(*jobs), width, height))
    lines = captured.get().splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "SYNTHETIC grid, EMULATED GPUs" in lines[0]
    assert sum(line.startswith(" GPU ") for line in lines) == 4
    assert [line for line in lines if line.startswith("8  sweep-b       failed")]
