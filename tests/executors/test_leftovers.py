"""What runs leave behind belongs to whose it is by token: checkpoints, and what is alive."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.jobs.job import Job, Run, State
from greenrun.executors.leftovers.checkpoints import CheckpointFolders, folder_name
from greenrun.executors.leftovers.strays import StrayRuns, last_job_id
from greenrun.executors.local import LocalExecutor
from greenrun.executors.processes import Identity
from greenrun.executors.run_folder import read_record
from greenrun.store import Store
from tests.executors.bench import NOW, Bench
from tests.patience import until
from tests.store import examples

LATER = datetime(2026, 6, 1, tzinfo=UTC)
OLD_S = NOW.timestamp()


@pytest.fixture
def folders(tmp_path: Path) -> CheckpointFolders:
    return CheckpointFolders(tmp_path / "checkpoints")


def job_and_run(number: int = 1, **changes: object) -> tuple[Run, Job]:
    job = Job(id=7, spec=examples.spec(), user="ada", uid=1, state=State.STARTING, submitted_at=NOW)
    run = Run(id=1, job_id=7, number=number, token="t", devices=(), claimed_at=NOW)
    return run, replace(job, **changes)  # type: ignore[arg-type]


def test_all_runs_of_a_job_share_a_folder(folders: CheckpointFolders) -> None:
    assert folders.make(*job_and_run(1)) == folders.make(*job_and_run(2))


@pytest.mark.parametrize(
    "other", [{"submitted_at": NOW + timedelta(microseconds=1)}, {"uid": 2}, {"id": 8}], ids=lambda row: next(iter(row))
)
def test_jobs_of_other_databases_with_the_same_id_have_others(folders: CheckpointFolders, other: object) -> None:
    assert folders.make(*job_and_run()) != folders.make(*job_and_run(**other))  # type: ignore[arg-type]


def test_a_job_of_an_earlier_release_keeps_what_it_saved_and_a_new_one_does_not_get_it(
    folders: CheckpointFolders, tmp_path: Path
) -> None:
    former = tmp_path / "checkpoints" / "7"
    former.mkdir(parents=True)
    (former / "state").touch()
    new = folders.make(*job_and_run(1, submitted_at=LATER))
    assert list(new.iterdir()) == []
    assert [path.name for path in folders.make(*job_and_run(2)).iterdir()] == ["state"]


def aged(folder: Path, at_s: float = OLD_S) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state").touch()
    for path in (folder / "state", folder):
        os.utime(path, (at_s, at_s))
    return folder


@pytest.mark.parametrize(
    ("finished_at", "is_kept"), [(None, True), (LATER, True), (LATER - timedelta(microseconds=1), False)]
)
def test_checkpoints_go_some_time_after_their_job_has_ended(
    folders: CheckpointFolders, tmp_path: Path, finished_at: datetime | None, is_kept: bool
) -> None:
    _, job = job_and_run(finished_at=finished_at)
    mine = aged(tmp_path / "checkpoints" / folder_name(job))
    assert folders.prune({7: job}.get, LATER) == ([] if is_kept else [mine.name])
    assert mine.exists() == is_kept


def test_checkpoints_of_unknown_jobs_go_once_nothing_in_them_changes_and_nothing_else_goes(
    folders: CheckpointFolders, tmp_path: Path
) -> None:
    _, job = job_and_run()
    there = {name: aged(tmp_path / "checkpoints" / name) for name in ("9", "7-0123456789ab", "11", "mine", "12-x")}
    outside = aged(tmp_path / "outside")
    (tmp_path / "checkpoints" / "13").symlink_to(outside)
    (there["9"] / "new").touch()
    os.utime(there["9"], (OLD_S, OLD_S))
    assert folders.prune({7: job}.get, LATER, keep={11}) == ["7-0123456789ab"]
    assert folders.prune({7: job}.get, LATER) == ["11"]
    assert (outside / "state").exists()
    assert folders.last_id() == 13


def test_the_last_id_is_the_highest_that_a_run_s_folder_is_named_by(tmp_path: Path) -> None:
    assert last_job_id(tmp_path / "none") == 0
    for name in ("1.1", "12.3", ".tmp-99-1", "x.1", "٣.1", "9" * 30):
        (tmp_path / name).mkdir()
    assert last_job_id(tmp_path) == 12


def test_ids_go_on_above_those_that_are_taken_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "greenrun.db"
    with Store(path) as store:
        assert [store.jobs.skip_ids(12), store.jobs.skip_ids(12), store.jobs.skip_ids(3)] == [True, False, False]
        assert examples.submit(store).id == 13
    with Store(path) as store:
        assert store.jobs.skip_ids(20)
        assert examples.submit(store).id == 21


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    executor = LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks")
    yield Bench(executor, tmp_path)
    executor.close()


def test_a_run_is_found_while_it_lives_and_ended_on_request(bench: Bench, tmp_path: Path) -> None:
    strays = StrayRuns(tmp_path / "runs")
    run = bench.running("sleep", "1000", devices=("GPU-a",))
    (found,) = strays.find()
    assert (found.label, found.job_id, found.token, found.devices) == (run.label, run.job_id, run.token, ("GPU-a",))
    assert found.started_at is not None
    strays.end(found, "ada")
    until(lambda: not strays.is_alive(found), "it ends")
    assert strays.find() == []
    assert "ada" in bench.executor.poll(run).detail


def test_what_a_dead_supervisor_left_is_found_and_killed(bench: Bench, tmp_path: Path) -> None:
    strays = StrayRuns(tmp_path / "runs")
    run = bench.running("sh", "-c", "sleep 1000 & exec sleep 1000")
    (found,) = strays.find()
    record = read_record(str(tmp_path / "runs" / run.label), "run.json") or {}
    shim = Identity.from_record(record)
    assert shim is not None
    os.kill(shim.pid, 9)
    until(lambda: not shim.is_alive(), "its supervisor is dead")
    assert strays.is_alive(found)
    strays.end(found, "ada")
    until(lambda: not strays.is_alive(found), "all of it ends")
