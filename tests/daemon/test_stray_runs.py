"""Runs that the database does not know are told and ended on request; those that it knows are its own."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from greenrun.core.conditions import ConditionCode, Effect
from greenrun.core.errors import JobNotFound, StoreDamaged
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.core.jobs.transitions import Intent
from greenrun.daemon.stray_runs import KnownStrays, Leftovers, require_not_emptied
from greenrun.executors.leftovers.checkpoints import CHECKPOINTS, CheckpointFolders
from greenrun.executors.leftovers.strays import StrayRuns
from greenrun.store import Store
from tests.store.examples import after, close, running, submit

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class OnDisk(StrayRuns):
    """Live runs as a test says."""

    def __init__(self, runs: list[StrayRun]) -> None:
        self.runs, self.ended = runs, list[str]()
        self.former: list[StrayRun] = []

    def find(self) -> list[StrayRun]:
        return list(self.runs)

    def begun(self, job_ids: Collection[int]) -> list[StrayRun]:
        return [run for run in [*self.runs, *self.former] if run.job_id in job_ids and run.started_at]

    def is_alive(self, stray: StrayRun) -> bool:
        return stray in self.runs

    def end(self, stray: StrayRun, by: str) -> None:
        self.ended.append(stray.label)
        self.runs.remove(stray)


def stray(label: str, token: str) -> StrayRun:
    job_id = int(label.partition(".")[0])
    return StrayRun(label=label, job_id=job_id, token=token, devices=(), folder="/x", log=None, started_at=None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "greenrun.db")


def test_a_live_run_is_a_stray_unless_the_database_has_one_with_its_token(store: Store) -> None:
    run = running(store)
    mine, others = stray(run.label, run.token), [stray(run.label, "another"), stray("99.1", "t")]
    with capture_logs() as logged:
        known = KnownStrays(OnDisk([mine, *others]), store)
    assert list(known.current()) == others
    assert [line["end_it_with"] for line in logged] == [
        f"greenrun stray-runs --end {run.label}", "greenrun stray-runs --end 99.1"
    ]  # fmt: skip


def test_strays_are_a_condition_until_the_last_has_ended(store: Store) -> None:
    disk = OnDisk([stray("5.1", "t"), stray("6.1", "u")])
    with capture_logs():
        known = KnownStrays(disk, store)
        (condition,) = known.check(NOW)
        assert (condition.code, condition.effect) == (ConditionCode.STRAY_RUNS, Effect.WARNING)
        assert "5.1, 6.1" in condition.text
        with pytest.raises(JobNotFound):
            known.end("7.1", "ada")
        assert known.end("5.1", "ada").token == "t"
        assert disk.ended == ["5.1"]
        disk.runs.clear()
        assert known.check(NOW) == []


def test_new_ids_lie_above_those_of_all_folders(store: Store, tmp_path: Path) -> None:
    for name in ("runs/41.1", "checkpoints/77-0123456789ab"):
        (tmp_path / name).mkdir(parents=True)
    with capture_logs():
        Leftovers(tmp_path, CheckpointFolders(tmp_path / CHECKPOINTS), store, KnownStrays(OnDisk([]), store))
    assert submit(store).id == 78


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_queued_job_that_ran_without_the_database_s_knowledge_is_held_once(
    store: Store, tmp_path: Path, is_alive: bool
) -> None:
    """An older copy of a database says of jobs that have begun since that they are queued."""
    known, unknown, former = running(store), submit(store), submit(store)
    later, before = (unknown.submitted_at + timedelta(seconds=each) for each in (5, -5))
    disk = OnDisk([])
    disk.former = [
        replace(stray(f"{unknown.id}.1", "t"), started_at=later),
        replace(stray(f"{former.id}.1", "of an earlier database"), started_at=before),
        replace(stray(known.label, known.token), started_at=later),
    ]
    if is_alive:
        disk.runs = disk.former[:1]
    with capture_logs() as logged:
        leftovers = Leftovers(tmp_path, CheckpointFolders(tmp_path / CHECKPOINTS), store, KnownStrays(disk, store))
        leftovers.hold_jobs_that_ran(NOW)
        jobs = store.jobs.unfinished()
        assert {job.id for job in jobs.values() if job.held} == {unknown.id}
        assert f"its run {unknown.id}.1 began" in str(jobs[unknown.id].reason)
        assert sum(line["event"].startswith("held") for line in logged) == 1
        store.jobs.intend(Intent.RELEASE, [unknown.id], actor="ada", now=NOW)
        leftovers.hold_jobs_that_ran(NOW)
        assert [(job.state, job.held) for job in store.jobs.unfinished().values() if job.id != known.job_id] == [
            (State.QUEUED, False)
        ] * 2


def test_a_job_that_is_queued_again_while_a_later_run_of_it_lives_is_held(store: Store, tmp_path: Path) -> None:
    """Its first run has failed, and its second one began after the database was copied."""
    first = running(store)
    disk = OnDisk([replace(stray(f"{first.job_id}.2", "t"), started_at=after(60))])
    with capture_logs():
        leftovers = Leftovers(tmp_path, CheckpointFolders(tmp_path / CHECKPOINTS), store, KnownStrays(disk, store))
        leftovers.hold_jobs_of_strays(NOW)
        assert not store.jobs.job(first.job_id).held
        close(store, first, outcome=Outcome.FAILED, job_state=State.QUEUED)
        leftovers.hold_jobs_of_strays(NOW)
    assert store.jobs.job(first.job_id).held


@pytest.mark.parametrize(
    ("content", "has_run", "is_refused"),
    [(b"", True, True), (b"", False, False), (None, True, False), (b"x", True, False)],
)
def test_an_emptied_database_is_refused_where_jobs_have_run(
    tmp_path: Path, content: bytes | None, has_run: bool, is_refused: bool
) -> None:
    """One that is missing was moved away; one that is empty without runs was being made as the power went."""
    if content is not None:
        (tmp_path / "greenrun.db").write_bytes(content)
    if has_run:
        (tmp_path / "runs" / "1.1").mkdir(parents=True)
    if is_refused:
        with pytest.raises(StoreDamaged, match="put a backup in its place, or move the empty file away"):
            require_not_emptied(tmp_path)
    else:
        require_not_emptied(tmp_path)
