"""A command is run for its output and surely ends, whatever it does."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from greenrun.core.errors import MeterError
from greenrun.limited_process import MARK
from greenrun.meters.external.command import output_of
from tests.patience import HANGS_S, at_some_pace, until, watching

pytestmark = pytest.mark.system
LIMIT_S = 5.0


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_gone(pid: int) -> None:
    until(lambda: not is_alive(pid), "it is gone", LIMIT_S)


def test_it_returns_what_is_written_to_standard_output_alone() -> None:
    assert output_of(shell("echo 12; echo trouble >&2"), LIMIT_S) == b"12\n"


def test_it_goes_through_no_shell() -> None:
    assert output_of(("/bin/echo", "$HOME; ls"), LIMIT_S) == b"$HOME; ls\n"


def test_it_gets_no_input_and_none_of_the_daemons_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "1")
    lines = output_of(shell("cat; /usr/bin/env"), LIMIT_S).decode().splitlines()
    assert {line.partition("=")[0] for line in lines} - {"_", "PWD", "SHLVL", "OLDPWD", MARK} == {"PATH", "LANG"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "ended with exit code 1"),
        ("kill -9 $$", "ended with exit code -9"),
        ("sleep 60", "did not end within 0.3 s and was killed"),
        ("trap '' TERM; while :; do sleep 60; done", "did not end within 0.3 s"),
        ("exec >&-; sleep 60", "did not end within 0.3 s"),
        ("exec yes", "wrote more than 64 KiB"),
    ],
)
def test_one_that_fails_hangs_or_floods_is_ended_and_told_of(script: str, said: str) -> None:
    with watching() as watch, pytest.raises(MeterError, match=said):
        output_of(shell(script), 0.3)
    assert watch.seconds < LIMIT_S


def test_one_that_does_not_exist_is_told_of() -> None:
    with pytest.raises(MeterError, match="cannot be started"):
        output_of(("/no/such/command",), LIMIT_S)


class LatePoll:
    """Tells of a process's end, and not of what it wrote at the very same time."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def register(self, number: int, _: int) -> None:
        self._numbers.append(number)

    def unregister(self, number: int) -> None:
        self._numbers.remove(number)

    def poll(self, _: float) -> list[tuple[int, int]]:
        ended = self._numbers[-1]
        assert select.select([ended], [], [], LIMIT_S)[0]
        return [(ended, select.POLLIN)]


def test_what_it_wrote_just_before_its_end_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a number would be a number too."""
    monkeypatch.setattr(select, "poll", LatePoll)
    assert output_of(shell("echo 12"), LIMIT_S) == b"12\n"


def test_a_kernel_that_cannot_tell_of_its_end_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> int:
        raise OSError("Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(MeterError, match="cannot be watched"):
        output_of(shell("sleep 60"), LIMIT_S)


def killed_once_written(script: tuple[str, ...], limit_s: float, pid: Path) -> None:
    """Let a command be killed after a time that was enough for it to say what it left behind."""
    with pytest.raises(MeterError, match="was killed"):
        output_of(script, limit_s)
    assert pid.exists()
    assert pid.read_text()


@pytest.mark.parametrize("leader", ["", "; sleep 60"], ids=["its leader ends", "its leader hangs"])
def test_what_it_leaves_behind_is_killed_and_does_not_hold_up_its_answer(tmp_path: Path, leader: str) -> None:
    """The child has the output open, so that it would never come to an end."""
    script = shell(f"sleep 60 & echo $! >{tmp_path}/pid; echo 7{leader}")
    pid = tmp_path / "pid"
    with watching() as watch:
        if leader:
            at_some_pace(lambda pace: killed_once_written(script, 0.5 * pace, pid))
        else:
            assert output_of(script, HANGS_S) == b"7\n"
    assert watch.seconds < (HANGS_S if leader else LIMIT_S)
    until_gone(int(pid.read_text()))


def test_it_ends_with_the_process_that_asked_however_that_ends(tmp_path: Path) -> None:
    """A sampler that is replaced leaves no command behind."""
    script = f"echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 60"
    asking = f"from greenrun.meters.external.command import output_of; output_of(('/bin/sh', '-c', {script!r}), 60)"
    process = subprocess.Popen([sys.executable, "-c", asking], cwd=Path(__file__).parents[3])
    until((tmp_path / "pid").exists, "it runs")
    process.kill()
    process.wait()
    until_gone(int((tmp_path / "pid").read_text()))


def test_nothing_stays_open(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    output_of(shell("echo 1"), LIMIT_S)
    before = descriptors()
    for script in ("echo 1", "exit 1", "sleep 60"):
        try:
            output_of(shell(script), 0.1)
        except MeterError:
            continue
    assert descriptors() == before
