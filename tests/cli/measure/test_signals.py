"""A signal to `greenrun measure` is one to its command, and none is lost or told twice."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.cli.measure.runs import COMMAND, NOTHING, PLUG, PRICED, Settings, answer, measured
from tests.meters.cpu.powercap import FakeZone
from tests.patience import HANGS_S, exit_code, until


def children_of(process: "subprocess.Popen[str]") -> set[str]:
    """The names of a process's children, those that ended and were not waited for included."""
    names = set()
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            names.add(child.name())
    return names


@pytest.mark.system
def test_a_signal_at_the_end_has_no_answer_of_a_meter_at_the_plug_waited_for(settings: Settings) -> None:
    config = settings(PRICED + PLUG.replace('"3s"', '"30s"'))
    process = subprocess.Popen(
        [*COMMAND, "--config", str(config), "--json", "--", "echo", "ready"],
        stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    until(lambda: "echo" not in children_of(process), "the command is over and waited for", 25)
    process.send_signal(signal.SIGTERM)  # once: another might find the interpreter on its way out, without its mask
    until(lambda: process.poll() is not None, "it ends without the answer that takes 30 s", 25)
    out, _ = process.communicate(timeout=HANGS_S)
    *gpus, plug = answer(out)["devices"]
    assert plug["energy_j"] is None
    assert all(each["energy_j"] is not None for each in gpus)
    assert process.returncode == 0


def ignoring_nothing() -> None:
    """Tests that run in the background were started to ignore what a terminal sends."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def signalled(number: int, *words: str) -> tuple[int, str, str]:
    """Start it, send it a signal once its command (or it itself) says so, and return how it ended."""
    process = subprocess.Popen(
        [*COMMAND, *NOTHING, "--json", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=dict(os.environ),
        preexec_fn=ignoring_nothing,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=HANGS_S)
    return process.returncode, out, err


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_passed_on_and_what_was_measured_is_told(number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    code, out, _ = signalled(number, "--", "sh", "-c", script)
    assert code == 7
    assert out.splitlines()[0] == "got"
    assert answer(out)["exit_code"] == 7
    assert answer(out)["duration_s"] > 0


@pytest.mark.system
def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    """The terminal sends it to the command as well as to greenrun."""
    script = (
        "n=0; trap 'n=$((n+1))' INT; echo ready; while [ $n = 0 ]; do sleep 0.1; done;"  # however late it comes
        "for i in 1 2 3 4; do sleep 0.1; done; echo got $n; exit 5"
    )
    own_terminal = (
        "import fcntl, os, sys, termios;fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [sys.executable, "-c", own_terminal, *COMMAND, *NOTHING, "--", "sh", "-c", script]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        words, stdin=end, stdout=end, stderr=end, start_new_session=True, preexec_fn=ignoring_nothing
    )
    os.close(end)
    shown = read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    shown += read_until(terminal, b"energy unknown")
    assert exit_code(process) == 5
    os.close(terminal)
    assert b"got 1" in shown


def test_a_signal_that_comes_before_the_command_is_not_lost(tmp_path: Path) -> None:
    """Meters may take seconds to open, and the terminal sends its signal to those that are there."""
    code = (
        "import os, signal\nfrom greenrun.cli.foreground import held_signals, run_command\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "with held_signals():\n    os.kill(os.getpid(), signal.SIGINT); run_command(['touch', 'ran'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "SIGINT came before 'touch' was started; nothing was run" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.system
def test_a_signal_that_it_was_started_to_ignore_ends_nothing(tmp_path: Path) -> None:
    """As with nohup, when somebody logs out."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *COMMAND, "--meter", "none", "--json", "--for", "1s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "GREENRUN_DEVICES__POWERCAP": str(tmp_path / "none")},
    )  # fmt: skip
    assert process.stderr is not None
    assert "not measured: rapl" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    assert answer(out)["duration_s"] >= 1


@pytest.mark.system
def test_one_that_is_stopped_and_goes_on_measures_to_its_end(tmp_path: Path) -> None:
    """As with Ctrl-Z and fg."""
    process = subprocess.Popen(
        [*COMMAND, "--meter", "none", "--json", "--for", "2.5s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "GREENRUN_DEVICES__POWERCAP": str(tmp_path / "none")},
    )  # fmt: skip
    assert process.stderr is not None
    assert "not measured: rapl" in process.stderr.readline()
    process.send_signal(signal.SIGSTOP)
    threading.Event().wait(1.3)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    assert answer(out)["duration_s"] > 2.4  # and no more than a busy machine adds


@pytest.mark.system
def test_what_reads_the_meters_holds_back_no_signal(cpu: FakeZone) -> None:
    """A command that it asks would otherwise be deaf to TERM."""
    look = (
        "import os, psutil\nfor each in psutil.Process(os.getppid()).children():\n    each.pid == os.getpid() or print("
    )
    look += "[line for line in open(f'/proc/{each.pid}/status') if line.startswith('SigBlk')])"
    done = measured("--meter", "none", "--", sys.executable, "-c", look)
    assert done.stdout == "['SigBlk:\\t0000000000000000\\n']\n"


def read_until(terminal: int, awaited: bytes) -> bytes:
    """Read what is shown up to some words; fail when they do not come."""
    shown = b""
    while awaited not in shown:
        assert select.select([terminal], [], [], HANGS_S)[0], shown
        shown += os.read(terminal, 4096)
    return shown


@pytest.mark.system
def test_a_command_that_a_signal_ends_is_told_too() -> None:
    code, out, _ = signalled(signal.SIGTERM, "--", "sh", "-c", "echo ready; exec sleep 30")
    assert (code, answer(out)["exit_code"]) == (143, 143)


@pytest.mark.system
@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        pytest.param(signal.SIGINT, (), 0, id="the end that was meant"),
        pytest.param(signal.SIGTERM, ("--for", f"{HANGS_S:g}s"), 143, id="too early"),
    ],
)
def test_a_while_may_be_ended_by_a_signal(number: int, words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--meter", "none", "--json", *words],  # the refusal of the CPU's meter tells that it has begun
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "GREENRUN_DEVICES__POWERCAP": str(tmp_path / "none")}, preexec_fn=ignoring_nothing,
    )  # fmt: skip
    assert process.stderr is not None
    assert "not measured: rapl" in process.stderr.readline()
    if not words:
        assert process.stderr.readline() == "measuring this machine until Ctrl-C\n"
    process.send_signal(number)
    out, told = process.communicate(timeout=HANGS_S)
    assert (process.returncode, "until Ctrl-C" in told) == (code, False)
    assert 0 < answer(out)["duration_s"] < HANGS_S
