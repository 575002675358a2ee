"""Figures that others have published, or that an independent judge arrives at, come out of the simulation as well."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from greenrun.cli.app import main
from greenrun.simulation.case import Case, JobOverrides
from greenrun.simulation.compare import Comparison, compare
from greenrun.simulation.files import COLUMNS, read_case
from greenrun.simulation.policies import Arrival, policies_of
from tests.conftest import SHARED, require
from tests.patience import HANGS_S
from tests.sampling import EFFORT, dice, sampled

pytestmark = pytest.mark.slow

PAI_START = "2022-10-19T16:00Z"
YEAR_START = "2020-01-01T00:00Z"
# So many jobs of a year, with GPUs enough, by whether they are interruptible, which takes far longer to plan.
JOBS = {False: (20, 40, 80)[EFFORT], True: (8, 16, 80)[EFFORT]}

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

# Sukprasert et al. 2024, "On the Limitations of Carbon-Aware Temporal and Spatial Workload Shifting in the Cloud": the
# hours that a job runs and that it may wait; saving in per cent, in one piece and interruptible, by the authors' own
# results for one job at each start hour of 2022 whose window ends inside the year.
LIMITS_OF_SHIFTING = {
    ("US-CAL-CISO", 6, 24): (30.0322, 30.7059),
    ("DE", 24, 24): (6.8848, 13.4794),
    ("FR", 24, 168): (25.3419, 31.6789),
    ("IN-MH", 6, 24): (2.5507, 2.6576),
    ("AU-SA", 1, 168): (78.0598, 78.0598),
}
# The same for one job every so many hours from midnight on, whose window ends before the year's last hour does.
FROM_MIDNIGHT = {
    ("US-CAL-CISO", 6, 24, 24): (37.5301, 37.6050),
    ("DE", 24, 24, 24): (6.8885, 13.5283),
    ("FR", 24, 168, 48): (25.4128, 31.5038),
    ("IN-MH", 6, 24, 24): (2.2222, 2.4002),
    ("AU-SA", 1, 168, 48): (70.3828, 70.3828),
}
HOURS_OF_2022 = 8760

Key = TypeVar("Key")


def some(table: Mapping[Key, object], label: str) -> list[Key]:
    """Return which rows of a table are tried: two that the seed chooses on a user's machine, all of them in CI."""
    return sampled(list(table), label, user=2, ci=len(table))


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


@pytest.mark.parametrize(("zone", "gpus"), some(OWN_BEST_WINDOW, "own best window"))
def test_each_job_s_own_best_window_costs_what_was_measured(zone: str, gpus: int) -> None:
    exact = read(f"{zone}_2022", "pai_1k", PAI_START, gpus)
    case = replace(exact, jobs=tuple(in_five_minutes(job, exact.start.timestamp()) for job in exact.jobs))
    found = compare(case, policies_of(["own-best-window"], []))
    percent, late = OWN_BEST_WINDOW[zone, gpus]
    assert saving_percent(found, "own-best-window") == pytest.approx(percent, abs=0.06)
    assert found.figures["own-best-window"].late == late


@pytest.mark.parametrize(("zone", "limits"), some(WAIT_AWHILE, "wait awhile"))
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
    found = compare(replace(case, jobs=case.jobs[: JOBS[interruptible]]), policies_of(["greenrun"], []))
    best = found.bound_saving_ratio()
    assert best is not None
    assert found.figures["greenrun"].late == 0
    assert saving_percent(found, "greenrun") == pytest.approx(100 * best, abs=0.1)


def shifted(zone: str, hours: int, delay_hours: int, starts: Sequence[int], *, interruptible: bool = False) -> Case:
    """One job of 1 kW at each of these hours of 2022, with GPUs enough and the grid foreseen."""
    case = read(f"{zone}_2022", "pai_1k", PAI_START, None)
    first_s = datetime(2022, 1, 1, tzinfo=UTC).timestamp()
    jobs = [
        Arrival(
            submitted_s=first_s + 3600.0 * start,
            duration_s=3600.0 * hours,
            gpus=1,
            power_w=1000.0,
            max_delay_s=3600.0 * delay_hours,
            interruptible=interruptible,
        )
        for start in starts
    ]
    return replace(case, jobs=tuple(jobs), start=datetime.fromtimestamp(jobs[0].submitted_s, UTC))


def assert_saves(case: tuple[str, int, int], starts: Sequence[int], whole: float, divided: float) -> None:
    found = compare(shifted(*case, starts), policies_of(["own-best-window"], []))
    assert saving_percent(found, "own-best-window") == pytest.approx(whole, abs=6e-5)
    least = compare(shifted(*case, starts, interruptible=True), policies_of(["start-at-once"], []))
    best = least.bound_saving_ratio()
    assert best is not None
    assert 100 * best == pytest.approx(divided, abs=6e-5)


@pytest.mark.parametrize(("zone", "hours", "delay"), some(LIMITS_OF_SHIFTING, "limits of shifting"))
def test_shifting_saves_as_much_as_its_limits_were_published(zone: str, hours: int, delay: int) -> None:
    starts = range(HOURS_OF_2022 - hours - delay + 1)
    assert_saves((zone, hours, delay), starts, *LIMITS_OF_SHIFTING[zone, hours, delay])


@pytest.mark.parametrize(("zone", "hours", "delay", "every"), some(FROM_MIDNIGHT, "from midnight"))
def test_shifting_from_midnight_saves_as_much(zone: str, hours: int, delay: int, every: int) -> None:
    starts = range(0, HOURS_OF_2022 - hours - delay, every)
    assert_saves((zone, hours, delay), starts, *FROM_MIDNIGHT[zone, hours, delay, every])
    count = (10, 20, len(starts))[EFFORT]  # in a row: the planner is asked at each hour between the first and the last
    first = dice(f"shifted {zone}").randrange(len(starts) - count + 1)
    found = compare(
        shifted(zone, hours, delay, starts[first : first + count]), policies_of(["greenrun", "own-best-window"], [])
    )
    assert saving_percent(found, "greenrun") == pytest.approx(saving_percent(found, "own-best-window"), abs=1e-6)


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
        ("AU-SA_2022", "6", (40, 80, 200)[EFFORT], {}),
        ("DE_2022", "inf", (120, 120, 500)[EFFORT], {}),
        ("US-CAL-CISO_2022", "6", (15, 30, 60)[EFFORT], {"interruptible": "True", "max_delay_s": "43200"}),
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
