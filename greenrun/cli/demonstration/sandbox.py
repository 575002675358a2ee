"""A real daemon in a temporary folder, both of which are removed at the end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from types import FrameType

import psutil

from greenrun.charts.terminal import Step
from greenrun.cli.command import LocalError
from greenrun.cli.demonstration.scenario import LOG, SCRIPT, SOCKET, set_up
from greenrun.client import ApiClient, ClientError
from greenrun.core.jobs.job import State

READY_LIMIT_S, CANCEL_LIMIT_S, STOP_LIMIT_S, SWEEP_LIMIT_S = 20.0, 8.0, 10.0, 3.0
LOOK_EVERY_S = 0.1
TAIL_LINES = 12
LONGEST_SOCKET = 107  # bytes that the kernel takes
_PORT = re.compile(r"metrics_port=(\d+)")
_OPEN = {State.QUEUED.value, State.STARTING.value, State.RUNNING.value}


class Sandbox:
    """The folder, the daemon that runs in it, and a client of that daemon."""

    def __init__(self) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="greenrun-demo-"))
        except OSError as exc:
            raise LocalError(f"The demo needs a temporary folder and got none ({exc}); set TMPDIR to another.") from exc
        socket = self.folder / SOCKET
        if len(os.fsencode(socket)) > LONGEST_SOCKET:
            self.folder.rmdir()
            raise LocalError(f"The path of a socket in {self.folder.parent} is too long; set TMPDIR to a shorter one.")
        self.client = ApiClient(socket)
        self.trace: Sequence[Step] = ()
        self._log = self.folder / LOG
        self._daemon: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Start the daemon and wait until it answers; raise LocalError with the end of its log when it does not."""
        try:
            self._start()
        except OSError as exc:
            raise LocalError(f"The demo's daemon could not be started: {exc}; set TMPDIR to another folder.") from exc
        if not _wait_for(lambda: self._answers() or not self.runs(), READY_LIMIT_S) or not self.runs():
            raise LocalError(f"The demo's daemon did not come up, so there is nothing to show. {self.tail()}")

    def _start(self) -> None:
        config, self.trace = set_up(self.folder)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("GREENRUN_", "NOTIFY_"))}
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "greenrun.cli", "serve", "--config", str(config)],
                cwd=self.folder, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # so that Ctrl-C reaches the demo alone, which ends the jobs first
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The daemon's process number."""
        return self._daemon.pid if self._daemon else 0

    def runs(self) -> bool:
        """Whether the daemon's process is running."""
        return self._daemon is not None and self._daemon.poll() is None

    @property
    def metrics_url(self) -> str:
        """Where the daemon serves its metrics; the log has the port, which the system chose."""
        found = _PORT.search(self._log.read_text(encoding="utf-8", errors="replace"))
        return f"http://127.0.0.1:{found[1]}/metrics" if found else "unknown"

    def tail(self) -> str:
        """Return a sentence with the last lines of the daemon's log."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        except OSError:
            lines = []
        return "Its log ends:\n" + "\n".join(f"  {line}" for line in lines) if lines else "It wrote no log."

    def close(self) -> None:
        """Cancel what is not finished, stop the daemon, and remove the folder; every wait has an end."""
        with suppress(ClientError):
            self._cancel_all()
        if self._daemon is not None:
            self._daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._daemon.wait(STOP_LIMIT_S)
            self._daemon.kill()
            self._daemon.wait(STOP_LIMIT_S)
        _sweep([sys.executable, str(self.folder / SCRIPT)])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        with suppress(ClientError):
            return self.client.health()["status"] == "ok" and self.metrics_url != "unknown"
        return False

    def _cancel_all(self) -> None:
        if not self.runs():
            return
        self.client.cancel_many(job["id"] for job in self.client.jobs(states=sorted(_OPEN)))
        _wait_for(lambda: not self.client.jobs(states=sorted(_OPEN)), CANCEL_LIMIT_S)


@contextmanager
def open_sandbox(*, keep: bool) -> Iterator[Sandbox]:
    """Yield an open sandbox; remove it at the end, also on Ctrl-C, TERM and errors; `keep` it only after success.

    During the removal Ctrl-C has no effect: it takes seconds, and half of it would be worse.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    sandbox = Sandbox()
    kept = False
    try:
        sandbox.open()
        yield sandbox
        kept = keep
    except KeyboardInterrupt:
        print("interrupted: the demo cancels its jobs, stops its daemon and removes its folder", file=sys.stderr)
        raise
    finally:
        if not kept:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            sandbox.close()


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _wait_for(condition: Callable[[], bool], limit_s: float) -> bool:
    """Poll until the condition holds; return whether it did within the limit."""
    end = monotonic() + limit_s
    while monotonic() < end:
        if condition():
            return True
        threading.Event().wait(LOOK_EVERY_S)
    return condition()


def _sweep(command: Sequence[str]) -> None:
    """Kill jobs (processes with this command) that still run: there are some only if the daemon died before them."""
    left = [process for process in psutil.process_iter() if _begins_with(process, command)]
    left += [parent for process in left if (parent := _shim_of(process))]
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=SWEEP_LIMIT_S)[1]:
        with suppress(psutil.Error):
            process.kill()


def _begins_with(process: psutil.Process, command: Sequence[str]) -> bool:
    try:
        return bool(process.cmdline()[: len(command)] == list(command))
    except psutil.Error:
        return False


def _shim_of(process: psutil.Process) -> psutil.Process | None:
    try:
        parent = process.parent()
        return parent if parent and any("shim_entry" in word for word in parent.cmdline()) else None
    except psutil.Error:
        return None
