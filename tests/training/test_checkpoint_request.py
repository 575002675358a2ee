"""The request to checkpoint is a flag: set by the signal that the job asked for, and by nothing else."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenrun import training
from greenrun.training import checkpoint_request
from tests.patience import HANGS_S, until

IN_A_RUN = {"GREENRUN_CHECKPOINT_DIR": "/nowhere"}


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No request yet, and afterwards the handlers as they were."""
    for name in list(os.environ):
        if name.startswith("GREENRUN_CHECKPOINT"):
            monkeypatch.delenv(name)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    monkeypatch.setattr(checkpoint_request, "_catcher", checkpoint_request._Catcher())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The checkpoint folder of the run that this process is."""
    monkeypatch.setenv("GREENRUN_CHECKPOINT_DIR", str(tmp_path))
    return tmp_path


def sends(number: int) -> None:
    """Send this process a signal; Python runs its handler before the call returns."""
    signal.raise_signal(number)


def test_the_signal_sets_the_flag_and_the_handler_is_put_back(run: Path) -> None:
    got: list[int] = []
    mine = lambda number, frame: got.append(number)  # noqa: E731
    signal.signal(signal.SIGUSR1, mine)
    with training.checkpointing() as ck:
        before = ck.requested
        sends(signal.SIGUSR1)
        assert (before, ck.requested, got) == (False, True, [])
    assert signal.getsignal(signal.SIGUSR1) is mine
    assert ck.requested  # greenrun still waits for it


@pytest.mark.parametrize("name", ["USR2", "SIGUSR2", "usr2"])
def test_the_signal_is_the_one_that_the_job_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GREENRUN_CHECKPOINT_SIGNAL", name)
    before = signal.getsignal(signal.SIGUSR1)
    with training.checkpointing() as ck:
        assert signal.getsignal(signal.SIGUSR1) is before
        sends(signal.SIGUSR2)
        assert ck.requested


def test_outside_greenrun_nothing_is_caught_nor_made_nor_ever_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    with training.checkpointing() as ck:
        assert [signal.getsignal(number) for number in signal.valid_signals()] == before
        assert not ck.requested
    assert list(tmp_path.iterdir()) == []


def test_in_contexts_within_contexts_all_see_the_request_and_the_last_puts_the_handler_back(run: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with training.checkpointing() as outer:
        with training.checkpointing() as inner:
            sends(signal.SIGUSR1)
            sends(signal.SIGUSR1)
        assert (outer.requested, inner.requested) == (True, True)
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_context_that_an_error_leaves_puts_the_handler_back_and_hides_no_error(run: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(KeyError, match="mine"), training.checkpointing():
        raise KeyError("mine")
    assert signal.getsignal(signal.SIGUSR1) is before


def in_a_thread(work: Callable[[], object]) -> list[object]:
    """What a function returns or raises in another thread."""
    told: list[object] = []

    def tell() -> None:
        try:
            told.append(work())
        except RuntimeError as error:
            told.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    return told


def enter_and_leave() -> bool:
    """Enter a context and tell the flag."""
    with training.checkpointing() as ck:
        return ck.requested


def test_another_thread_may_enter_within_the_main_one_and_else_is_told_what_to_do(run: Path) -> None:
    (error,) = in_a_thread(enter_and_leave)
    assert isinstance(error, RuntimeError)
    assert "enter it in the main thread first" in str(error)
    with training.checkpointing():
        assert in_a_thread(enter_and_leave) == [False]
        sends(signal.SIGUSR1)
        assert in_a_thread(enter_and_leave) == [True]


def test_outside_greenrun_any_thread_may_enter() -> None:
    assert in_a_thread(enter_and_leave) == [False]


def test_the_handler_that_the_last_thread_could_not_put_back_is_put_back_next_time(run: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    context = training.checkpointing()
    context.__enter__()
    in_a_thread(lambda: context.__exit__(None, None, None))
    assert signal.getsignal(signal.SIGUSR1) is not before
    with training.checkpointing():
        pass
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize(("text", "code"), [("", 85), ("7", 7), ("x", 85), ("125", 125)])
def test_it_ends_with_the_code_that_the_job_agreed_on(monkeypatch: pytest.MonkeyPatch, text: str, code: int) -> None:
    monkeypatch.setenv("GREENRUN_CHECKPOINT_EXIT_CODE", text)
    with pytest.raises(SystemExit) as ended, training.checkpointing() as ck:
        ck.exit()
    assert (ended.value.code, ck.exit_code) == (code, code)


def test_the_folder_is_the_jobs_and_elsewhere_one_of_ones_own(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training.checkpoint_dir() == run
    monkeypatch.delenv("GREENRUN_CHECKPOINT_DIR")
    monkeypatch.chdir(run)
    assert training.checkpoint_dir() == Path("checkpoints")
    assert training.checkpoint_dir("deep/down") == Path("deep/down")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "deep"]


def test_a_copy_of_the_file_alone_catches_a_signal_from_outside(tmp_path: Path) -> None:
    (tmp_path / "copied.py").write_bytes(Path(checkpoint_request.__file__).read_bytes())
    code = (
        "import copied, os\n"
        "with copied.checkpointing() as ck:\n"
        "    print('caught', flush=True)\n"
        "    while not ck.requested: os.sched_yield()\n"
        "    ck.exit()\n"
    )
    env = {**os.environ, **IN_A_RUN, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "caught\n"
        program.send_signal(signal.SIGUSR1)
        until(lambda: program.poll() is not None, "the program ends", HANGS_S)
    assert program.returncode == 85
