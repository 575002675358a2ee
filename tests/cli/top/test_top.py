"""`top` shows what the daemon does, in any size, live on a terminal and once elsewhere."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from greenrun.cli.terminal.width import cell_width
from greenrun.cli.top.observation import Observation
from greenrun.cli.top.top_frame import frame_lines, head_text, page_lines
from greenrun.clock import utc_now
from tests.cli.conftest import Run
from tests.cli.examples import at, job, planned, run_of
from tests.fake_api import Asked, FakeApi, serving
from tests.patience import until

LIVE_RUN = {"ended_at": None, "outcome": None, "exit_code": None}


def running() -> list[dict[str, Any]]:
    return [
    job(6, name="漢字の仕事", state="running", planned=None, gpus=2, duration_s=4 * 3600,
        runs=[run_of(started_at=at(minutes=-60.5), emissions_g=47.5, devices=["GPU-0", "GPU-1"], **LIVE_RUN)]),
    job(7, name="cpu", state="running", planned=None, gpus=0, duration_s=600,
        runs=[run_of(started_at=at(minutes=-160.5), emissions_g=None, devices=[], **LIVE_RUN)]),
]  # fmt: skip


def queued() -> list[dict[str, Any]]:
    return [
        job(9, planned=planned(start=at(hours=5), end=at(hours=7))),
        job(8, name="a-long-name-" * 9, planned=planned(start=at(hours=2), end=at(hours=4))),
        job(10, held=True, planned=None, reason={"code": "held", "text": "held by ada; x"}),
    ]


def device(index: int, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"id": f"GPU-{index}", "index": index, "kind": "gpu", "emulated": True, "power_w": 350.4}
    base |= {"leased_by_job": None, "available": True, "processes": [], "unavailable": [], "model": "X"}
    return {**base, **changes}


DEVICES = [
    device(0, leased_by_job=6), device(1, leased_by_job=6), device(2, power_w=None), device(3, available=False),
    device(4, available=False, processes=[{"pid": 7}]), device(5),
]  # fmt: skip


def slots(hours: int = 30) -> list[dict[str, Any]]:
    return [
        {"start": at(hours=n - 0.5), "end": at(hours=n + 0.5), "g_per_kwh": 200.0 + 10 * n, "kind": "forecast"}
        for n in range(hours)
    ]


def forecast(**changes: Any) -> dict[str, Any]:
    return {"zone": "DE", "provider": "trace", "rung": "fresh", "slots": slots(), **changes}


def plan() -> dict[str, Any]:
    return {"placements": [{}] * 40, "waiting": [{}] * 2}


def observation(**changes: Any) -> Observation:
    base: dict[str, Any] = {"at": utc_now(), "forecast": forecast(), "plan": plan(), "running": running()}
    base |= {"queued": [queued()[1], queued()[0], queued()[2]], "devices": DEVICES, "drains": [], "troubles": []}
    return Observation(**base | changes)


def answer_all(api: FakeApi) -> None:
    """Answer all that `top` asks."""

    def jobs(asked: Asked) -> tuple[int, object]:
        return 200, queued() if asked.query["state"] == ["queued"] else running()

    api.answers["GET", "/v1/jobs"] = jobs
    api.get("/v1/forecast", forecast())
    api.get("/v1/plan", plan())
    api.get("/v1/devices", DEVICES)
    api.get("/v1/drains", [{"gpu": "GPU-5", "user": "ada", "reason": "", "since": at()}])
    api.get("/healthz", {"status": "ok", "reasons": []})


def test_elsewhere_than_on_a_terminal_all_is_printed_once(api: FakeApi, run: Run) -> None:
    answer_all(api)
    lines = run("top").out.splitlines()
    assert re.fullmatch(r"greenrun top   DE   \d\d:\d\d:\d\d UTC   2 running, 42 waiting", lines[0])
    assert lines[1].startswith("200 g/kWh now, 210 g/kWh in an hour, cleanest 4 h ")
    text = "\n".join(lines)
    for expected in (
        r"^ g/kWh  [▁-█]", r"^     6  ██", r"^     8  +██", r"^     9  +██", "^6 GPUs \\(emulated\\)$",
        " 0   350 W  job 6 ", " 2  free", " 3   350 W  not available",
        " 4   350 W  used by others", " 5   350 W  drained", r"^ 7  cpu            0         unknown .* 2h30m overdue",
        r"^ 6  漢字の仕事     2  701 W   47.5 g  (\w+ )?\d\d:\d\d +25 %, 2h59m left",
        r"^ 8  a-long-name-a-.*… .*  41 % below now$", r"^10  train .*  held  .*  held by ada$",
    ):  # fmt: skip
        assert re.search(expected, text, re.MULTILINE), (expected, text)
    assert text.index("\n 8  a-long") < text.index("\n 9  train") < text.index("\n10  train")


@pytest.mark.parametrize("width", [160, 80, 60, 40])
@pytest.mark.parametrize("height", [60, 24, 12])
def test_it_fits_any_terminal(width: int, height: int) -> None:
    many = [job(100 + n, planned=planned(start=at(hours=n))) for n in range(80)]
    lines = frame_lines(observation(queued=many), width, height, styled=False)
    assert len(lines) <= height
    assert [line for line in lines if cell_width(line) > width] == []
    assert len([line for line in lines if line.startswith("and ")]) >= 1


@pytest.mark.parametrize("width", [80, 60, 40])
def test_once_it_fits_the_terminal_too_and_its_head_breaks_between_words(width: int) -> None:
    lines = page_lines(observation(), width)
    assert [line for line in lines if cell_width(line) > width] == []
    assert "2 running, 42 waiting" in " ".join(" ".join(lines[:2]).split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forecast": forecast(slots=[], why="no zone is set")}, "no forecast: no zone is set"),
        ({"forecast": forecast(rung="stale")}, "the forecast is stale"),
        ({"forecast": forecast(rung="static")}, "the forecast is a yearly mean"),
        ({"troubles": ["the last tick is older than 60 s"]}, "daemon: the last tick is older than 60 s"),
        ({"drains": [{"gpu": None, "user": "ada", "reason": ""}]}, "the machine is drained"),
        ({"running": []}, "nothing runs"),
        ({"queued": []}, "nothing waits"),
        ({"devices": []}, "no GPUs"),
    ],
)
def test_what_is_missing_or_wrong_is_said(changes: dict[str, Any], said: str) -> None:
    lines = frame_lines(observation(**changes), 100, None, styled=False)
    assert said in " ".join(" ".join(lines).split())  # at midnight a day is told, and a line breaks elsewhere


def test_a_board_in_parts_is_free_while_nobody_has_one_of_them_and_nothing_keeps_jobs_away() -> None:
    lost = [{"code": "gpus_lost", "text": "lost"}]
    parts: dict[str, Any] = {"is_divided": True, "available": None}
    boards = [device(0, **parts), device(1, **parts, leased=True), device(2, **parts, unavailable=lost)]
    text = " ".join(" ".join(frame_lines(observation(devices=boards), 200, None, styled=False)).split())
    for told in ("350 W free", "350 W in use", "350 W not available"):
        assert told in text, text


def test_the_power_of_a_job_is_unknown_when_one_of_its_gpus_cannot_say() -> None:
    seen = observation(devices=[device(0, leased_by_job=6), device(1, leased_by_job=6, power_w=None)])
    assert (seen.power_w(running()[0]), observation().power_w(running()[0])) == (None, 700.8)
    assert head_text(None, utc_now()).startswith("greenrun top ")


def test_without_a_daemon_once_is_exit_code_5(run: Run, tmp_path: Path) -> None:
    assert run("--socket", str(tmp_path / "none"), "top", "--once").code == 5
    assert run("top", "--interval", "soon").code == 2


class Terminal:
    """A pseudo-terminal with a process, and what came out of it."""

    def __init__(self, socket: Path, *words: str) -> None:
        self.main, other = pty.openpty()
        self.resize(80, 24)
        self.modes = termios.tcgetattr(other)
        self._other = other
        code = "from greenrun.cli.__main__ import run; run()"
        environ = {**os.environ, "TERM": "xterm", "GREENRUN_SOCKET": str(socket), "PYTHONUTF8": "1"}
        environ |= {"COLUMNS": "80", "LINES": "24"}  # as a shell may have them, of before a change
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdin=other, stdout=other, stderr=other, env=environ,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.set_blocking(self.main, False)
        self.out = ""

    def resize(self, width: int, height: int) -> None:
        """Give it another size, which its process is signalled."""
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def shows(self, text: str) -> bool:
        """Whether this was drawn since the last time that something was waited for."""
        with suppress(BlockingIOError, OSError):
            self.out += os.read(self.main, 1 << 20).decode("utf-8", "replace")
        return text in self.out

    def wait_for(self, text: str) -> None:
        """Wait until this is drawn."""
        until(lambda: self.shows(text), f"{text!r} is drawn")
        self.out = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.main, keys.encode())

    def end(self) -> int:
        """Wait for the process; return its exit code; the terminal is as it was."""
        until(lambda: self.shows("") is None or self.process.poll() is not None, "the process has ended")
        assert termios.tcgetattr(self._other) == self.modes
        return self.process.returncode


@contextmanager
def terminal(socket: Path, *words: str) -> Iterator[Terminal]:
    """A terminal on which this command runs."""
    there = Terminal(socket, *words)
    try:
        yield there
    finally:
        if there.process.poll() is None:
            there.process.kill()
        there.process.wait()
        os.close(there.main)
        os.close(there._other)


@pytest.mark.system
def test_on_a_terminal_it_is_live_survives_the_daemon_and_leaves_it_clean(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with terminal(socket, "top", "--interval", "250ms") as there:
        there.wait_for("cannot reach")
        with serving(socket) as api:
            answer_all(api)
            there.wait_for("2 running, 42 waiting")
            there.resize(50, 14)
            there.wait_for("2 running, 42 …")
        there.wait_for("cannot reach")
        with serving(socket) as api:
            answer_all(api)
            there.wait_for("2 running, 42 …")
            there.type("q")
            until(lambda: there.shows("\x1b[?1049l"), "the screen is left")
            assert (there.shows("\x1b[?25h"), there.end()) == (True, 0)


@pytest.mark.system
@pytest.mark.parametrize("how", ["ctrl-c", "term"])
def test_a_list_that_is_watched_leaves_the_terminal_clean(tmp_path: Path, how: str) -> None:
    socket = tmp_path / "s"
    with serving(socket) as api:
        api.get("/v1/jobs", [job(1, name="first")])
        with terminal(socket, "list", "--all", "--watch", "0.3") as there:
            there.wait_for("first")
            api.get("/v1/jobs", [job(2, name="second")])
            there.wait_for("second")
            there.type("\x03") if how == "ctrl-c" else there.process.send_signal(signal.SIGTERM)
            until(lambda: there.shows("\x1b[?1049l"), "the screen is left")
            assert there.end() == 0
