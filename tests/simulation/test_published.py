"""Figures that others have published, or that an independent judge arrives at, come out of the simulation as well."""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.cli.app import main
from greenrun.simulation.case import Case, JobOverrides
from greenrun.simulation.compare import Comparison, compare
from greenrun.simulation.files import COLUMNS, read_case
from greenrun.simulation.policies import Arrival, policies_of
from tests.conftest import SHARED, require
from tests.patience import HANGS_S
from tests.sampling import EFFORT

pytestmark = pytest.mark.slow

PAI_START = "2022-10-19T16:00Z"
YEAR_START = "2020-01-01T00:00Z"
JOBS = (20, 40, 80)[EFFORT]  # of a year, with GPUs enough

# Wiesner et al. 2021, "Let's Wait Awhile", scenario II, without forecast error: saving in per cent, in one piece and
# interruptible.
WAIT_AWHILE = {
    ("DE", "next_workday"): (5.9, 8.0),
    ("GB", "next_workday"): (6.7, 9.2),
    ("FR", "next_workday"): (4.9, 6.3),
    ("DE", "semi_weekly"): (14.1, 18.5),
    ("GB", "semi_weekly"): (14.9, 20.1),
    ("FR", "semi_weekly"): (11.2, 13.9),
}

# On five-minute slots with perfect intensity: each job its own best window, saving in per cent and jobs late.
OWN_BEST_WINDOW = {
    ("AU-SA", 28): (22.6, 214),
    ("AU-SA", 40): (32.6, 68),
    ("US-CAL-CISO", 28): (11.6, 327),
    ("US-CAL-CISO", 40): (20.0, 179),
    ("DE", 28): (8.4, 137),
    ("DE", 40): (10.6, 34),
}


def data(name: str) -> Path:
    return require(SHARED / "data" / name)


def read(intensity: str, jobs: str, start: str, gpus: int | None, **more: Any) -> Case:
    files = {"intensity": data(f"intensity/{intensity}.csv"), "jobs": data(f"jobs/{jobs}.csv")}
    return read_case(**files, start=datetime.fromisoformat(start), gpus=gpus, horizon=timedelta(hours=240), **more)


def year(zone: str, limits: str, *, interruptible: bool = False) -> Case:
    overrides = JobOverrides(interruptible=interruptible)
    return read(f"{zone}_2020_30min", f"ml_project_2020_{limits}", YEAR_START, None, overrides=overrides)


def saving_percent(found: Comparison, policy: str) -> float:
    ratio = found.saving_ratio(policy)
    assert ratio is not None
    return 100 * ratio


def in_five_minutes(job: Arrival, start_s: float) -> Arrival:
    """The job on a five-minute grid, as the table has it: it comes with the slot it came in and fills its last one."""
    submitted_s = start_s + (job.submitted_s - start_s) // 300 * 300
    return replace(job, submitted_s=submitted_s, duration_s=-(-job.duration_s // 300) * 300)


@pytest.mark.parametrize(("zone", "gpus"), OWN_BEST_WINDOW)
def test_each_job_s_own_best_window_costs_what_was_measured(zone: str, gpus: int) -> None:
    exact = read(f"{zone}_2022", "pai_1k", PAI_START, gpus)
    case = replace(exact, jobs=tuple(in_five_minutes(job, exact.start.timestamp()) for job in exact.jobs))
    found = compare(case, policies_of(["own-best-window"], []))
    percent, late = OWN_BEST_WINDOW[zone, gpus]
    assert saving_percent(found, "own-best-window") == pytest.approx(percent, abs=0.06)
    assert found.figures["own-best-window"].late == late


@pytest.mark.parametrize(("zone", "limits"), WAIT_AWHILE)
def test_let_s_wait_awhile_saves_what_was_published(zone: str, limits: str) -> None:
    whole, divided = WAIT_AWHILE[zone, limits]
    found = compare(year(zone, limits), policies_of(["own-best-window"], []))
    assert saving_percent(found, "own-best-window") == pytest.approx(whole, abs=0.1)
    least = compare(year(zone, limits, interruptible=True), policies_of(["start-at-once"], [])).bound_saving_ratio()
    assert least is not None
    assert 100 * least == pytest.approx(divided, abs=0.1)


@pytest.mark.parametrize("interruptible", [False, True], ids=["one piece", "interruptible"])
@pytest.mark.parametrize("zone", ["DE", "GB", "FR"])
def test_with_gpus_enough_greenrun_saves_what_can_be_saved(zone: str, interruptible: bool) -> None:
    case = year(zone, "semi_weekly", interruptible=interruptible)
    found = compare(replace(case, jobs=case.jobs[:JOBS]), policies_of(["greenrun"], []))
    best = found.bound_saving_ratio()
    assert best is not None
    assert found.figures["greenrun"].late == 0
    assert saving_percent(found, "greenrun") == pytest.approx(100 * best, abs=0.1)


# the independent judge


def judged(*options: str) -> dict[str, Any]:
    """What `score_schedule.py` says."""
    tool = require(SHARED / "tools" / "score_schedule.py")
    done = subprocess.run(
        [sys.executable, str(tool), *options], capture_output=True, text=True, timeout=HANGS_S, check=True
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def cut(source: Path, folder: Path, rows: int, change: dict[str, str]) -> Path:
    """The first rows of a jobs file, some columns changed."""
    with source.open(encoding="utf-8") as file:
        kept = [row | change for row, _ in zip(csv.DictReader(file), range(rows), strict=False)]
    path = folder / "jobs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(kept)
    return path


def simulated(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> dict[str, Any]:
    assert main(["simulate", *words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize(
    ("zone", "gpus", "rows", "change"),
    [
        ("AU-SA_2022", "6", 80, {}),
        ("DE_2022", "inf", 120, {}),
        ("US-CAL-CISO_2022", "6", 30, {"interruptible": "True", "max_delay_s": "43200"}),
    ],
)
def test_an_independent_judge_agrees_with_every_figure(
    zone: str, gpus: str, rows: int, change: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = cut(data("jobs/pai_1k.csv"), tmp_path, rows, change)
    words = [
        "--intensity",
        str(data(f"intensity/{zone}.csv")),
        "--jobs",
        str(jobs),
        "--gpus",
        gpus,
        "--start",
        PAI_START,
    ]
    told = simulated(capsys, [*words, "--schedule-out", str(tmp_path / "out.csv")])
    verdict = judged(*words, "--schedule", str(tmp_path / "out.csv"))
    own = told["policies"]["greenrun"]
    assert (verdict["wrong"], verdict["over_capacity"]) == ([], False)
    assert (verdict["late"], verdict["peak_gpus"]) == (own["late"], own["peak_gpus"])
    assert verdict["schedule_g"] == pytest.approx(own["emissions_g"], abs=0.01)
    assert verdict["start_at_once_g"] == pytest.approx(told["start_at_once_g"], abs=0.01)
    assert verdict["start_at_once_late"] == told["policies"]["start-at-once"]["late"]
