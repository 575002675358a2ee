"""How long a run took, and when, follows from seconds that nobody can set, also where its shim had another clock."""

from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.executors.run_folder import write_record
from tests.executors.bench import Bench, folder, record

pytestmark = pytest.mark.system

HOURS = timedelta(hours=5)
NEAR = timedelta(seconds=1)  # both clocks are read within a tenth of a second


def rewritten(tmp_path: Path, run: Run, name: str, *, off: timedelta | None, without: tuple[str, ...] = ()) -> None:
    """Write a record as a shim would have whose clock is `off`, or that knew less."""
    fields = {key: value for key, value in record(tmp_path, run, name).items() if key not in without}
    for key in [key for key in fields if off and key.endswith("_at")]:
        fields[key] = float(str(fields[key])) + off.total_seconds() if off else fields[key]
    write_record(str(folder(tmp_path, run)), name, fields, sync=False)


def is_near(one: RunStatus, other: RunStatus) -> bool:
    pairs = ((one.started_at, other.started_at), (one.ended_at, other.ended_at))
    return all(mine is not None and own is not None and abs(mine - own) < NEAR for mine, own in pairs)


def test_a_run_took_as_long_as_its_supervisor_counted(bench: Bench, tmp_path: Path) -> None:
    status = bench.end(bench.start("sleep", "0.1"))
    assert status.ran is not None
    assert status.ran >= timedelta(seconds=0.1)
    assert status.length == status.ran


@pytest.mark.parametrize("off", [HOURS, -HOURS, -timedelta(days=300)])
def test_a_run_whose_supervisor_had_another_clock_is_dated_by_this_one(
    bench: Bench, tmp_path: Path, off: timedelta
) -> None:
    run = bench.start("true")
    true = bench.end(run)
    rewritten(tmp_path, run, "exit.json", off=off)
    status = bench.executor.poll(run)
    assert is_near(status, true)
    assert status.length == true.length


def test_a_live_run_whose_supervisor_had_another_clock_is_dated_by_this_one(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done")
    true = bench.executor.poll(run).started_at
    rewritten(tmp_path, run, "started.json", off=-HOURS)
    status = bench.executor.poll(run)
    assert (status.phase, true is not None) == (Phase.RUNNING, True)
    assert status.started_at is not None
    assert abs(status.started_at - true) < NEAR
    (bench.workdir / "go").touch()
    bench.end(run)


def test_a_run_of_an_older_supervisor_is_adopted_and_dated_as_it_says(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 7")
    true = bench.executor.poll(run).started_at
    rewritten(tmp_path, run, "started.json", off=None, without=("started_s",))
    assert (bench.executor.poll(run).phase, bench.executor.poll(run).started_at) == (Phase.RUNNING, true)
    (bench.workdir / "go").touch()
    ended = bench.end(run)
    rewritten(tmp_path, run, "exit.json", off=None, without=("started_s", "ended_s"))
    status = bench.executor.poll(run)
    assert (status.exit_code, status.started_at, status.ended_at) == (7, ended.started_at, ended.ended_at)
    assert ended.started_at is not None
    assert (status.ran, status.length) == (None, ended.ended_at - ended.started_at)


def test_seconds_of_another_boot_date_nothing(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true")
    true = bench.end(run)
    fields = {**record(tmp_path, run), "boot_id": "another"}
    write_record(str(folder(tmp_path, run)), "run.json", fields, sync=False)
    rewritten(tmp_path, run, "exit.json", off=-HOURS)
    status = bench.executor.poll(run)
    assert true.started_at is not None
    assert (status.started_at, status.length) == (true.started_at - HOURS, true.length)


@pytest.mark.parametrize("value", ["soon", None, True, float("inf"), float("nan")])
def test_what_a_run_wrote_in_the_place_of_seconds_dates_nothing(bench: Bench, tmp_path: Path, value: object) -> None:
    run = bench.start("true")
    true = bench.end(run)
    fields = {**record(tmp_path, run, "exit.json"), "ended_s": value}
    write_record(str(folder(tmp_path, run)), "exit.json", fields, sync=False)
    status = bench.executor.poll(run)
    assert (status.phase, status.ended_at, status.ran) == (Phase.EXITED, true.ended_at, None)
