"""Whatever becomes of a run's folder or of the machine, a run is not taken for ended, nor started twice."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from greenrun.clock import utc_now
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.runs.status import Phase
from greenrun.executors.run_folder import IN_PLACE, write_record
from greenrun.procfs import process_name
from tests.executors.bench import Bench, folder, record
from tests.patience import until

pytestmark = pytest.mark.system


def test_a_run_of_another_boot_was_interrupted(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true")
    ended = bench.end(run)
    (folder(tmp_path, run) / "exit.json").unlink()
    changed = {**record(tmp_path, run), "boot_id": "another"}
    (folder(tmp_path, run) / "run.json").write_text(json.dumps(changed))
    until(lambda: bench.executor.poll(run).phase is not Phase.UNKNOWN)  # until the shim has let go of the lock
    status = bench.executor.poll(run)
    assert (status.phase, status.started_at) == (Phase.INTERRUPTED, ended.started_at)
    assert status.ended_at is not None


def test_what_a_run_left_in_its_folder_neither_hides_that_it_was_interrupted_nor_puts_its_end_ahead_of_now(
    bench: Bench, tmp_path: Path
) -> None:
    left = 'cd "$(dirname "$GREENRUN_PROGRESS")"; ln -s nowhere dangling; touch -d 2100-01-01 "$GREENRUN_PROGRESS"'
    run = bench.start("sh", "-c", left)
    bench.end(run)
    (folder(tmp_path, run) / "exit.json").unlink()
    changed = {**record(tmp_path, run), "boot_id": "another"}
    (folder(tmp_path, run) / "run.json").write_text(json.dumps(changed))
    until(lambda: bench.executor.poll(run).phase is not Phase.UNKNOWN)
    status = bench.executor.poll(run)
    assert status.phase is Phase.INTERRUPTED
    assert status.ended_at is not None
    assert status.ended_at <= utc_now()


@pytest.mark.parametrize("made", ["mkfifo exit.json", "ln -s /dev/zero exit.json", "mkfifo stop.json"])
def test_what_a_run_puts_in_the_place_of_a_record_is_neither_waited_for_nor_believed(bench: Bench, made: str) -> None:
    run = bench.running("sh", "-c", f'cd "$(dirname "$GREENRUN_PROGRESS")"; {made}; touch made; sleep 60')
    until(lambda: (bench.executor._folder(run) / "made").exists())
    assert bench.executor.poll(run).phase is Phase.RUNNING


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"token": "other", "exit_code": 0}', "\x00" * 4096])
def test_a_damaged_exit_record_is_never_an_exit_code(bench: Bench, tmp_path: Path, content: str) -> None:
    run = bench.start("true")
    bench.end(run)
    (folder(tmp_path, run) / "exit.json").write_text(content)
    status = bench.end(run)
    assert (status.phase, status.exit_code) == (Phase.LOST, None)
    assert "its exit record is damaged" in status.detail


@pytest.mark.parametrize(
    "changed",
    [
        {"exit_code": 10**30}, {"exit_code": True}, {"ended_at": 10**400, "ended_s": 10**400}, {"ended_at": 1e300},
        {"exit_code": float("nan")},
    ],
)  # fmt: skip
def test_an_exit_record_with_numbers_that_nobody_can_keep_is_none(
    bench: Bench, tmp_path: Path, changed: dict[str, object]
) -> None:
    run = bench.start("true")
    bench.end(run)
    end = json.loads((folder(tmp_path, run) / "exit.json").read_text())
    (folder(tmp_path, run) / "exit.json").write_text(json.dumps({**end, **changed}))
    status = bench.end(run)
    assert (status.phase, status.exit_code) == (Phase.LOST, None)


def test_what_a_run_wrote_into_its_records_can_be_kept_and_shown(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true")
    bench.end(run)
    place = folder(tmp_path, run)
    wrong = {"detail": "\ud800" + "x" * 100_000, "changed": ["\udfff"], "signal": 10**30, "left": -(10**30),
             "started_s": 10**400, "started_at": -1e300}  # fmt: skip
    (place / "exit.json").write_text(json.dumps({**json.loads((place / "exit.json").read_text()), **wrong}))
    (place / "run.json").write_text(json.dumps({**record(tmp_path, run), "log": "/\ud800"}))
    status = bench.end(run)
    assert (status.phase, status.exit_code, status.signal, status.left) == (Phase.EXITED, 0, None, 0)
    assert (status.log, status.started_at) == (None, None)
    for text in (status.detail, status.changed):
        assert text.encode()
        assert len(text) < 5000


@pytest.mark.parametrize("made", ["mkfifo stop.json.new", "ln -s /dev/zero stop.json.new", "mkdir stop.json.new"])
def test_what_a_run_puts_where_a_record_is_to_be_written_is_not_waited_for(
    bench: Bench, tmp_path: Path, made: str
) -> None:
    run = bench.running("sh", "-c", f'cd "$(dirname "$GREENRUN_PROGRESS")"; {made}; touch made; sleep 60')
    place = folder(tmp_path, run)
    until(lambda: (place / "made").exists())
    with pytest.raises(OSError, match=r"stop\.json\.new"):
        write_record(str(place), "stop.json", {"by": "test"}, sync=False)


def test_a_run_whose_folder_says_nothing_is_lost_only_when_nobody_holds_its_lock(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    pid = int(str(record(tmp_path, run)["pid"]))
    (folder(tmp_path, run) / "run.json").write_text("")
    with pytest.raises(ExecutorError, match="damaged"):
        bench.executor.fence(run)
    os.kill(pid, signal.SIGKILL)
    assert bench.end(run).phase is Phase.LOST


def test_a_vanished_runs_folder_is_unknown_and_nothing_is_started(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("true")
    runs = tmp_path / "state" / "runs"
    away = runs.rename(tmp_path / "away")
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
    runs.mkdir()
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
    for act in (lambda: bench.executor.start(run, job), lambda: bench.executor.fence(run)):
        with pytest.raises(ExecutorError, match="runs"):
            act()
    runs.rmdir()
    away.rename(runs)
    assert bench.executor.poll(run).phase is Phase.ABSENT


def test_a_confirmed_run_whose_folder_was_removed_is_never_absent(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    confirmed = replace(run, started_at=bench.executor.poll(run).started_at)
    shim = int(str(record(tmp_path, run)["pid"]))
    hidden = folder(tmp_path, run).rename(tmp_path / "hidden")
    assert bench.executor.poll(confirmed).phase is Phase.UNKNOWN
    os.kill(shim, signal.SIGTERM)
    assert bench.end(confirmed).phase is Phase.LOST
    assert hidden.exists()


def test_a_run_whose_folder_was_removed_before_its_start_was_seen_is_alive_and_not_started_again(
    bench: Bench, tmp_path: Path
) -> None:
    run, job = bench.make("sleep", "60")
    bench.executor.start(run, job)
    until(lambda: bench.executor.poll(run).phase is Phase.RUNNING)
    shim = int(str(record(tmp_path, run)["pid"]))
    folder(tmp_path, run).rename(tmp_path / "hidden")
    assert (bench.executor.poll(run).phase, bench.executor.fence(run)) == (Phase.RUNNING, False)
    bench.executor.start(run, job)
    assert not folder(tmp_path, run).exists()
    os.kill(shim, signal.SIGTERM)
    assert bench.end(replace(run, started_at=run.claimed_at)).phase is Phase.LOST


def test_a_shim_is_found_without_its_folder_before_its_command_is_executed(bench: Bench, tmp_path: Path) -> None:
    """Then nothing of the run bears the token of its environment yet."""
    os.mkfifo(bench.workdir / "env")  # whoever reads it waits
    run = bench.start("true", env_file="env")
    until((folder(tmp_path, run) / "run.json").exists)
    shim = int(str(record(tmp_path, run)["pid"]))
    place = folder(tmp_path, run)
    until(lambda: process_name(shim) == IN_PLACE, "the shim has seen that its folder is in place")
    away = place.rename(tmp_path / "away")
    assert (bench.executor.poll(run).phase, bench.executor.fence(run)) == (Phase.RUNNING, False)
    away.rename(place)
    (bench.workdir / "env").write_text("")
    assert bench.end(run).exit_code == 0


def test_a_run_that_moved_its_own_folder_and_ended_at_once_is_lost_and_not_started_again(
    bench: Bench, tmp_path: Path
) -> None:
    run, job = bench.make("sh", "-c", 'echo once >> ran; mv "$(dirname "$GREENRUN_PROGRESS")" away')
    run = replace(run, claimed_at=utc_now())
    bench.executor.start(run, job)
    status = bench.end(run)
    assert (status.phase, status.started_at) == (Phase.LOST, run.claimed_at)
    bench.executor.start(run, job)
    assert (bench.executor.fence(run), bench.executor.poll(run).phase) == (False, Phase.LOST)
    assert bench.file("ran") == "once\n"


def test_a_run_that_ends_while_its_folder_is_moved_away_has_its_exit_code_once_it_is_back(
    bench: Bench, tmp_path: Path
) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; exit 5")
    place = folder(tmp_path, run)
    away = place.rename(tmp_path / "away")
    (bench.workdir / "go").touch()
    until((away / "exit.json").exists, "the end is recorded where the folder is")
    away.rename(place)
    assert bench.end(run).exit_code == 5


def test_a_run_whose_record_was_removed_is_not_said_to_have_a_dead_supervisor(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    (folder(tmp_path, run) / "run.json").unlink()
    status = bench.end(run)
    gone = (
        f"who supervises it cannot be told, as somebody removed or damaged {folder(tmp_path, run) / 'run.json'}, and "
    )
    assert (status.detail.startswith(gone), status.detail.endswith(" found alive and killed")) == (True, True)


def test_a_folder_of_another_database_bars_the_run_of_that_name(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("true")
    bench.executor.start(run, job)
    bench.end(run)
    other = replace(run, token="another")
    assert (bench.executor.poll(other).phase, bench.executor.fence(other)) == (Phase.FENCED, True)
    with pytest.raises(ExecutorError, match="not of this run"):
        bench.executor.start(other, job)
    assert bench.executor.poll(run).phase is Phase.EXITED


def test_a_folder_of_a_newer_greenrun_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true")
    bench.end(run)
    (folder(tmp_path, run) / "run.json").write_text(json.dumps({**record(tmp_path, run), "version": 99}))
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
