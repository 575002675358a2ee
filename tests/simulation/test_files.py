"""Bad input is refused as a whole: every problem of every file and option at once, each with its line."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import InvalidInput
from greenrun.simulation.case import Case, JobOverrides
from greenrun.simulation.files import read_case
from greenrun.simulation.foresight import Foresight
from tests.simulation.build import HOUR, START, START_S, case, job, write_grid, write_jobs

GOOD = "0,3600,1,300,7200,False"


def read(folder: Path, *rows: str, values: int = 48, **changes: Any) -> Case:
    """Read a case of these job lines on a grid of so many hours."""
    given = {
        "intensity": write_grid(folder / "grid.csv", [100.0] * values),
        "jobs": write_jobs(folder / "jobs.csv", *rows),
        "start": START,
        "gpus": 4,
    }
    return read_case(**(given | changes))


def told(error: pytest.ExceptionInfo[InvalidInput]) -> str:
    return "\n".join(map(str, error.value.problems))


def test_a_good_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = read(tmp_path, "60.5,3600,2,300,7200,true", GOOD)
    assert found.jobs[0] == job(0, 1, gpus=2, wait=2, submitted_s=START_S + 60.5, power_w=300.0, interruptible=True)
    assert found.jobs[1].submitted_s == START_S
    assert (found.gpus, found.reach) == (4, timedelta(hours=48))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0,0,1,300,60,False", "duration_s is 0, which is not between"),
        ("0,-5,1,300,60,False", "duration_s is -5"),
        ("0,nan,1,300,60,False", "duration_s is 'nan' instead of a number"),
        ("0,inf,1,300,60,False", "duration_s is 'inf' instead of a number"),
        ("0,1_000,1,300,60,False", "duration_s is '1_000' instead of a number"),
        ("-1,60,1,300,60,False", "submitted_s is -1"),
        (",60,1,300,60,False", "submitted_s is '' instead of a number"),
        ("0,60,1.5,300,60,False", "gpus is '1.5' instead of a whole number"),
        ("0,60,0,300,60,False", "gpus is '0' instead of a whole number from 1"),
        ("0,60,1,0,60,False", "power_w is 0"),
        ("0,60,1,300,-60,False", "max_delay_s is -60"),
        ("0,60,1,300,60,maybe", "interruptible is 'maybe' instead of true or false"),
        ("0,60,1,300,60", "5 columns instead of 6"),
        ("0,60,9,300,60,False", "more GPUs than the 4 there are, up to 9"),
    ],
)
def test_a_bad_job_is_told(row: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing was simulated or written") as error:
        read(tmp_path, GOOD, row)
    assert said in told(error)
    assert "more GPUs" in said or "jobs.csv line 3" in told(error)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    grid = tmp_path / "bad.csv"
    grid.write_text("start,g_per_kwh\n2026-03-02T01:00Z,10\n2026-03-02T00:00Z,nan\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as error:
        read(tmp_path, "0,-1,x,300,60,False", "0,60,1,300,nan,False", intensity=grid, forecast=tmp_path / "none.csv")
    for said in ("line 2", "duration_s", "gpus is 'x'", "line 3", "max_delay_s", "bad.csv", "none.csv"):
        assert said in told(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("start,g_per_kwh\n", "no slots"),
        ("start,g_per_kwh\n2026-03-02T00:00Z,1\n2026-03-02T01:00Z,2\n2026-03-02T01:00Z,2\n", "is there twice"),
        ("start,g_per_kwh\n2026-03-02T02:00Z,1\n2026-03-02T01:00Z,2\n", "sort the file"),
        ("start,g_per_kwh\n2026-03-02T00:00Z,nan\n2026-03-02T01:00Z,2\n", "'nan' is not a number"),
        ("start,g_per_kwh\n2026-03-02T00:00Z,-1\n2026-03-02T01:00Z,2\n", "-1 is not between 0 and"),
        ("start,g_per_kwh\n2026-03-02T00:00Z,99999\n2026-03-02T01:00Z,2\n", "99999 is not between 0 and"),
        ("issued_at,start,g_per_kwh\n2026-03-02T00:00Z,2026-03-02T00:00Z,1\n2026-03-02T00:00Z,2026-03-02T01:00Z,1\n",
         "forecasts as they were issued"),
    ],
)  # fmt: skip
def test_a_bad_trace_is_told(text: str, said: str, tmp_path: Path) -> None:
    grid = tmp_path / "bad.csv"
    grid.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput) as error:
        read(tmp_path, GOOD, intensity=grid)
    assert said in told(error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpus": 0}, "--gpus: 0 is not a number from 1"),
        ({"start": START - timedelta(days=1)}, "--start: 2026-03-01 00:00:00Z is outside the intensities"),
        ({"start": START + timedelta(days=9)}, "--start: 2026-03-11 00:00:00Z is outside the intensities"),
        ({"values": 3}, "before the last job could, which is at 2026-03-02 04:00:00Z"),
        ({"horizon": timedelta(0)}, "--horizon: it must be longer than zero"),
    ],
)
def test_what_does_not_fit_together_is_told(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as error:
        read(tmp_path, GOOD, "3600,3600,1,300,7200,False", **changes)
    assert said in told(error)


def test_an_empty_jobs_file_or_one_without_jobs_is_refused(tmp_path: Path) -> None:
    for text, said in (("", "it is empty"), (None, "no jobs")):
        path = write_jobs(tmp_path / "empty.csv")
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidInput) as error:
            read(tmp_path, GOOD, jobs=path)
        assert said in told(error)


def test_a_hole_where_jobs_may_run_is_refused_and_one_elsewhere_is_not(tmp_path: Path) -> None:
    path = write_grid(tmp_path / "holed.csv", [100.0] * 48)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:3], *lines[4:]]), encoding="utf-8")
    with pytest.raises(InvalidInput, match="a problem was found") as error:
        read(tmp_path, GOOD, intensity=path)
    assert "hole from 2026-03-02 02:00:00Z to 2026-03-02 03:00:00Z" in told(error)
    assert read(tmp_path, GOOD, intensity=path, start=START + timedelta(hours=9)).jobs


def test_the_options_change_every_job(tmp_path: Path) -> None:
    overrides = JobOverrides(max_delay=timedelta(hours=9), interruptible=True)
    found = read(tmp_path, GOOD, overrides=overrides).jobs[0]
    assert (found.max_delay_s, found.interruptible) == (9 * HOUR, True)


def test_earlier_jobs_lie_before_the_start(tmp_path: Path) -> None:
    earlier = write_jobs(tmp_path / "earlier.csv", "-3600,60,1,300,60,False")
    assert read(tmp_path, GOOD, earlier=earlier).earlier[0].submitted_s == START_S - 3600
    with pytest.raises(InvalidInput) as error:
        read(tmp_path, GOOD, earlier=write_jobs(tmp_path / "later.csv", "10,60,1,300,60,False"))
    assert "later.csv line 2: submitted_s is 10" in told(error)


# what is seen of a forecast


def seen(found: Case, at_hour: float) -> list[float]:
    view = Foresight(found.issues, found.reach, found.start, found.latest_end)
    return [float(value) for value in view.forecast(START_S + at_hour * HOUR).values]


def test_a_perfect_forecast_reaches_from_the_slot_that_is_now_as_far_as_the_horizon() -> None:
    found = case([job()], list(range(10)), reach=timedelta(hours=3))
    assert (seen(found, 0), seen(found, 2.5)) == ([0, 1, 2], [2, 3, 4])


def test_a_plain_forecast_is_seen_a_day_ahead_and_no_further(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD, forecast=write_grid(tmp_path / "f.csv", range(48)), horizon=timedelta(hours=48))
    assert seen(found, 1) == list(range(1, 25))


def test_of_issued_forecasts_the_last_one_that_was_issued_is_seen(tmp_path: Path) -> None:
    rows = ["0,0,10", "0,1,11", "0,2,12", "2,2,22", "2,3,23"]
    path = tmp_path / "issued.csv"
    cells = [row.split(",") for row in rows]
    lines = [f"2026-03-02T0{issued}:00Z,2026-03-02T0{start}:00Z,{value}" for issued, start, value in cells]
    path.write_text("\n".join(["issued_at,start,g_per_kwh", *lines]), encoding="utf-8")
    found = read(tmp_path, GOOD, forecast=path)
    assert [seen(found, hour) for hour in (0, 1.9, 2, 9)] == [[10, 11, 12], [11, 12], [22, 23], []]


def test_a_file_of_the_electricity_maps_portal_can_be_the_grid_as_it_was(tmp_path: Path) -> None:
    header = "Datetime (UTC),Zone id,Carbon intensity gCO₂eq/kWh (direct),Carbon intensity gCO₂eq/kWh (Life cycle)"
    rows = [f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M:%S},DE,50,{100 + hour}" for hour in range(48)]
    (tmp_path / "portal.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    found = read(tmp_path, GOOD, intensity=tmp_path / "portal.csv")
    assert found.measured.values.tolist() == [100.0 + hour for hour in range(48)]
