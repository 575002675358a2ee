"""Runs the real daemon and the real command line in a folder, as a user would, and ends what they started."""

import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

from greenrun.client import ApiClient, ClientError
from tests.patience import HANGS_S, LIMIT_S, exit_code, until

GREENRUN = Path(sys.executable).with_name("greenrun")
START_LIMIT_S = 30.0
PORTS_FROM = 12_000
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)

Tables = Mapping[str, Any]
_numbers = itertools.count()


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Daemon:
    """A daemon with all its files in `folder`; leaving the block ends it and every run it left.

    `config` is laid over settings for two emulated GPUs without a grid. It may be killed and started again, and it may
    have no more than so many `descriptors`.
    """

    def __init__(
        self,
        folder: Path,
        config: Tables | None = None,
        *,
        env: Mapping[str, str] | None = None,
        descriptors: int | None = None,
    ) -> None:
        self.folder = folder
        self._program = [GREENRUN]
        if descriptors is not None:
            self._program = ["sh", "-c", f'ulimit -n {descriptors}; exec "$0" "$@"', GREENRUN]
        self.state = Path((config or {}).get("paths", {}).get("state", folder / "state"))
        self.env = {**environment(folder), **(env or {})}
        self.client = ApiClient(folder / "s", timeout_s=HANGS_S)
        self.config = write_config(folder, config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
        finally:
            self.end_runs()

    # the process

    def start(self) -> Self:
        """Start it and return once it answers and has said that it is ready."""
        process = self.spawn()
        try:
            until(self._answers, lambda: f"the daemon answers; its log is\n{self.log()}", START_LIMIT_S)
            until(lambda: self.logged("ready"), "the daemon says where its metrics are", START_LIMIT_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return self

    def spawn(self) -> "subprocess.Popen[bytes]":
        """Start it and return at once."""
        log = self.folder / "log"
        self._log_begins = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*self._program, "serve", "--config", self.config],
                env=self.env,
                cwd=self.folder,
                stdout=file,
                stderr=file,
            )
        return self._process

    @property
    def pid(self) -> int:
        """The present process's number."""
        assert self._process is not None
        return self._process.pid

    def kill9(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(HANGS_S)

    def terminate(self) -> int:
        """Ask it to end and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        return exit_code(self._process)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the daemon ended with {self._process.returncode}:\n{self.log()}"
        with suppress(ClientError):
            return bool(self.client.health()["status"] == "ok" and self.client.health()["last_tick_at"])
        return False

    def end_runs(self) -> None:
        """End every run that is still alive, as `greenrun cancel` would, and wait for it."""
        shims = [pid for folder in self.run_folders() if (pid := live_shim(folder))]
        for pid in shims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
        until(lambda: not any(live_shim(folder) for folder in self.run_folders()), "the last runs end")

    # what it says

    def log(self) -> str:
        """Return everything it has logged since its last start."""
        path = self.folder / "log"
        return path.read_bytes()[self._log_begins :].decode(errors="replace") if path.exists() else ""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the logged lines of an event since its last start, but for one that is just being written."""
        lines = [line for line in self.log().rpartition("\n")[0].splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line["event"] == event]

    @property
    def metrics_address(self) -> str:
        """`HOST:PORT` of the metrics."""
        return f"127.0.0.1:{self.logged('ready')[0]['metrics_port']}"

    # the command line

    def cli(self, *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ran:
        """Run `greenrun` with these words."""
        return run_greenrun(*words, env={**self.env, **(env or {})}, cwd=cwd or self.folder)

    def submit(self, *words: object, env: Mapping[str, str] | None = None) -> int:
        """Submit a job through the command line and return its id."""
        done = self.cli("submit", "--quiet", *words, env=env)
        assert (done.code, done.err) == (0, ""), done
        return int(done.out)

    def wait_for(self, job: int, *states: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Return a job once it is in one of these states (finished, without any)."""
        wanted = states or ("succeeded", "failed", "cancelled", "expired")
        return until(lambda: self.found(job, wanted), lambda: self._still(job, wanted), limit_s)

    def booked(self, job: int) -> dict[str, Any]:
        """Return the last run of a finished job once it is wholly booked: its last reading may come after its end."""
        ended = self.wait_for(job)["runs"][-1]
        until(lambda: self._is_booked(ended), lambda: f"all that job {job} used is booked: {self.client.job(job)}")
        return dict(self.client.job(job)["runs"][-1])

    def _is_booked(self, run: Mapping[str, Any]) -> bool:
        """Whether the books have come past a run's end: what they tell before may lack its last second."""
        with closing(sqlite3.connect(f"file:{self.state / 'greenrun.db'}?mode=ro", uri=True)) as books:
            rows = books.execute("SELECT device, at FROM device_marks").fetchall()
        shared = [device["id"] for device in self.client.devices() if device["kind"] != "gpu"]
        booked = [instant(at) for device, at in rows if device in (run["devices"] or shared)]
        return bool(booked) and min(booked) >= instant(run["ended_at"])

    def found(self, job: int, states: Sequence[str]) -> dict[str, Any] | None:
        """Return a job if it is in one of these states."""
        answer = self.client.job(job)
        return answer if answer["state"] in states else None

    def _still(self, job: int, wanted: Sequence[str]) -> str:
        return f"job {job} is {' or '.join(wanted)}: {self.client.job(job)}\n{self.log()}"

    # what it leaves on the disk

    def run_folders(self) -> list[Path]:
        """Return the folders of all runs."""
        runs = self.state / "runs"
        return sorted(path for path in runs.glob("*.*") if not path.name.startswith(".")) if runs.exists() else []

    def run_record(self, label: str, name: str) -> dict[str, Any]:
        """Return a record of the run's folder, empty when there is none yet."""
        return read_record(self.state / "runs" / label, name)


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give an empty folder that is removed afterwards, its name short: a unix socket's path may have 107 bytes only."""
    made = Path(tempfile.mkdtemp(prefix="greenrun-"))
    try:
        yield made
    finally:
        until(lambda: _is_removed(made), f"{made} can be removed: what was killed may write to it until it is gone")


def _is_removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def run_greenrun(*words: object, env: Mapping[str, str], cwd: Path) -> Ran:
    """Run the command line with exactly this environment."""
    done = subprocess.run(
        [GREENRUN, *map(str, words)],
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a user who lives in `folder` and has no settings of greenrun's in it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(folder),
        "GREENRUN_CONFIG": str(folder / "greenrun.toml"),
    }


def write_config(folder: Path, changes: Tables) -> Path:
    """Write greenrun.toml and return its path."""
    settings = {
        "paths": {"state": str(folder / "state"), "locks": str(folder / "locks")},
        "devices": {"meter": "emulated"},
        "planner": {"tick": "500ms"},
        "api": {"socket": str(folder / "s"), "metrics": "127.0.0.1:0"},
        "log": {"format": "json"},
    }
    path = folder / "greenrun.toml"
    path.write_text("\n".join(_toml(_laid_over(settings, changes))), encoding="utf-8")
    return path


def replayed(path: Path, *, at: datetime = MIDNIGHT, speed: float = 1800, horizon: str = "48h") -> Tables:
    """Return the settings for a zone GB whose intensity is a replayed file."""
    replay = {"at": at.isoformat(), "speed": speed, "horizon": horizon}
    return {
        "grid": {"zone": "GB", "provider": "trace"},
        "provider": {"trace": {"kind": "file", "path": str(path), "replay": replay}},
    }


def write_trace(folder: Path, values: Sequence[object], *, step: timedelta = timedelta(minutes=30)) -> Path:
    """Write a trace that begins at MIDNIGHT, and return its path."""
    rows = [f"{(MIDNIGHT + index * step).isoformat()},{value}" for index, value in enumerate(values)]
    path = folder / "trace.csv"
    path.write_text("\n".join(["start,g_per_kwh", *rows, ""]), encoding="utf-8")
    return path


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """Return a record of a run's folder, empty when there is none yet."""
    try:
        found = json.loads((folder / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return dict(found)


def live_shim(folder: Path) -> int | None:
    """Return the process number of a run's shim while it lives."""
    record = read_record(folder, "run")
    pid = record.get("pid")
    return pid if pid and is_alive(pid, record["start_ticks"]) else None


def kill_shim(folder: Path) -> None:
    """Kill the shim of a run, which must be alive."""
    pid = live_shim(folder)
    assert pid is not None, f"the supervisor of {folder.name} has ended"
    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int, start_ticks: int | None = None) -> bool:
    """Whether this process (of this start time) is there and has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return stat[0] not in "ZX" and start_ticks in (None, int(stat[19]))


def free_port() -> int:
    """Return a TCP port of this machine that nobody uses, nor is given who asks for any or connects somewhere.

    Each process that tests looks from another port on, so that no two of them find the same one.
    """
    given_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(PORTS_FROM, max(given_from, PORTS_FROM + 1000))
    return next(port for port in (ports[(7 * os.getpid() + n) % len(ports)] for n in _numbers) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def instant(text: str) -> datetime:
    """Read an instant of the API's JSON."""
    return datetime.fromisoformat(text)


def _laid_over(under: Tables, over: Tables) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _laid_over(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _toml(table: Tables, path: str = "") -> Iterator[str]:
    """Yield the lines of a table; JSON's scalars and lists are TOML's too."""
    if path:
        yield f"[{path}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {json.dumps(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _toml(value, f"{path}.{key}" if path else key)
