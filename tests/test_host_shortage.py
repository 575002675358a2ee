"""What is lacking is told from other errors of the system, in this process and through what a supervisor writes."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenrun import procfs
from greenrun.core.errors import HostShort
from greenrun.executors.local import LocalExecutor
from greenrun.host_shortage import STARTS_TAKE, hold_room, lacking, let_go, marked, unmarked
from tests.executors.bench import Bench

SHORT = [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT]


@pytest.mark.parametrize("number", SHORT)
def test_a_shortage_is_known_by_its_number_also_from_a_message(number: int) -> None:
    error = OSError(number, os.strerror(number))
    assert unmarked(marked(error, "it failed")) == ("it failed", lacking(error))
    assert lacking(error)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "x"), PermissionError(errno.EACCES, "x"), OSError("x")]
)
def test_other_errors_are_none(error: OSError) -> None:
    assert (lacking(error), unmarked(marked(error, "x")), unmarked("x")) == ("", ("x", ""), ("x", ""))


@pytest.fixture
def no_descriptors() -> Iterator[None]:
    """Let this process open no further file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_descriptors_there_is_no_room_and_nothing_is_taken_for_ended(
    tmp_path: Path, no_descriptors: None
) -> None:
    with pytest.raises(OSError, match="Too many open files"):
        hold_room(str(tmp_path))
    with pytest.raises(OSError, match="Too many open files"):
        procfs.process_stat(os.getpid())


def open_now() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_what_is_held_for_a_start_grows_with_its_gpus_and_is_let_go_of_once(tmp_path: Path) -> None:
    before = open_now()
    held = [hold_room(str(tmp_path), gpus) for gpus in (0, 3)]
    assert len(held[1]) - len(held[0]) == 3
    for each in (*held, *held):
        let_go(each)
    assert open_now() == before


def test_an_executor_makes_room_for_a_start_once_and_holds_it_until_the_start(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    idle: list[int] = []

    def close_idle() -> int:
        closed = len(idle)
        let_go(idle)
        return closed

    executor = LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks", free_descriptors=close_idle)
    bench = Bench(executor, tmp_path)
    run, job = bench.make("true")
    idle += [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    request.getfixturevalue("no_descriptors")
    with executor.room(2):
        assert idle == []
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(20 - STARTS_TAKE - 2)]
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        executor.start(run, job)
    let_go(others)
    bench.end(run)


def test_an_executor_without_descriptors_says_what_is_lacking(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bench = Bench(LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks"), tmp_path)
    run, job = bench.make("true")
    request.getfixturevalue("no_descriptors")
    with pytest.raises(HostShort, match="open files"), bench.executor.room():
        raise AssertionError
    with pytest.raises(HostShort) as caught:
        bench.executor.start(run, job)
    assert "open files" in caught.value.what


def test_an_executor_whose_folder_is_gone_blames_no_job(tmp_path: Path) -> None:
    executor = LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks")
    (tmp_path / "runs").rename(tmp_path / "moved")
    with pytest.raises(HostShort, match="folder of runs"), executor.room():
        raise AssertionError
