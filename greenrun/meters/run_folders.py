"""Derive from the local executor's run folders which run held which GPU when: the load of a meter without hardware.

Of a folder's files (greenrun/executors/run_folder.py describes them) it reads run.json (devices, boot, supervisor),
started.json (`started_at`, command) and exit.json (`started_at`, `ended_at`); times are epoch seconds, with seconds
since the boot beside them.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from greenrun.clock import by_this_clock
from greenrun.core.energy.gpu_parts import board_of, share_of
from greenrun.meters.host import boot_id
from greenrun.procfs import process_stat

DOUBT_LIMIT = timedelta(seconds=2)  # how long to wait for a record that is not written yet
MOST_BYTES = 1 << 20  # maximum of a record
SET = timedelta(seconds=1)  # an instant of a record that is so far off was written down by a clock that was set since
ALWAYS = datetime.min.replace(tzinfo=UTC)
FOLDER_CLOCK_STEP = timedelta(seconds=0.1)  # two changes within a step of the file system's clock look like one

Record = Mapping[str, object]


class RunSpan(NamedTuple):
    """A run's use of a device, or of that `share` of it, over `[start, end)`; `end` is None while it goes on."""

    start: datetime
    end: datetime | None
    share: float = 1.0


class Process(NamedTuple):
    """A process, identified by its pid and its start time in ticks."""

    pid: int
    start_ticks: int

    def is_alive(self, proc: Path) -> bool:
        """Whether it is running; a zombie is not."""
        try:
            stat = process_stat(self.pid, str(proc))
        except OSError:
            return True  # which cannot be told now, but it was
        return stat is not None and stat.is_alive and stat.start_ticks == self.start_ticks

    def has_children(self, proc: Path) -> bool:
        """Whether it has children; assumed while it lives if the kernel does not report them."""
        try:
            return bool((proc / f"{self.pid}/task/{self.pid}/children").read_bytes())
        except OSError:
            return self.is_alive(proc)


@dataclass(slots=True, kw_only=True)
class _Run:
    """A run that may be using its devices.

    `doubted_since` is when a missing record was first noticed, `seen_at` when it was last seen at work.
    """

    folder: Path
    devices: tuple[str, ...]
    supervisor: Process
    command: Process | None = None
    start: datetime | None = None
    doubted_since: datetime | None = None
    seen_at: datetime | None = None

    def is_at_work(self, proc: Path) -> bool:
        """Whether any of its processes is certainly alive: under its supervisor, or left behind by a killed one."""
        if self.supervisor.is_alive(proc):
            return self.supervisor.has_children(proc)
        return self.command is not None and self.command.is_alive(proc)


class NewFolders:
    """The run folders that are new since the last call; temporary ones are skipped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed_ns: int | None = None
        self._known: set[str] = set()

    def __call__(self, now: datetime) -> set[str]:
        """Return their names; none if the folder of runs does not exist yet."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns == self._listed_ns:
                return set()
            names = {path.name for path in self._folder.iterdir() if not path.name.startswith(".")}
        except OSError:
            return set()
        is_quiet = now - datetime.fromtimestamp(changed_ns / 1e9, UTC) > FOLDER_CLOCK_STEP
        self._listed_ns = changed_ns if is_quiet else None
        new, self._known = names - self._known, names
        return new


class RunFolders:
    """The load that the runs in a folder put on devices. Call it with the times of a clock, which may be set.

    What is seen comes before what a record says of the time: a run seen at work is at work, and ended after that.
    """

    def __init__(self, folder: Path, proc: Path = Path("/proc")) -> None:
        self._folder = folder
        self._proc = proc
        self._boot = boot_id()
        self._new = NewFolders(folder)
        self._live: dict[str, _Run] = {}
        self._ended: list[tuple[_Run, datetime]] = []

    def __call__(self, now: datetime) -> Mapping[str, list[RunSpan]] | None:
        """Return each device's spans that were not over at the last call; None while a run's record is pending."""
        for name in self._new(now):
            self._track(name)
        doubts = [name for name, run in list(self._live.items()) if self._look(name, run, now)]
        if doubts:
            return None
        runs = [*((run, None) for run in self._live.values()), *self._ended]
        self._ended = [(run, end) for run, end in self._ended if now < end <= now + SET]
        return _by_device(
            (run.devices, RunSpan(run.start if run.start <= now + SET else ALWAYS, end))
            for run, end in runs
            if run.start is not None
        )

    def _track(self, name: str) -> None:
        """Track a run of this boot that has devices; skip tombstones and folders that are no runs."""
        record = record_of(self._folder / name / "run.json")
        supervisor, devices = process_in(record), record.get("devices")
        if supervisor and isinstance(devices, list) and devices and record.get("boot_id") == self._boot:
            self._live[name] = _Run(folder=self._folder / name, devices=tuple(devices), supervisor=supervisor)

    def _look(self, name: str, run: _Run, now: datetime) -> bool:
        """Update a run's state to `now`; return whether it has to wait for a record.

        Live processes are looked for before the exit record, so if there is neither, the record may still be
        written.
        """
        if run.start is None:
            record = record_of(run.folder / "started.json")
            run.start, run.command = _dated(record, "started"), process_in(record)
        is_at_work = run.is_at_work(self._proc)
        ended = record_of(run.folder / "exit.json")
        if ended:
            began = _dated(ended, "started")
            run.start = began and (run.start or began)
            self._close(name, run, _ended_at(_dated(ended, "ended") or now, run.seen_at, now))
            return False
        if run.start is not None and is_at_work:
            run.doubted_since, run.seen_at = None, now
            return False
        return self._doubt(name, run, now)

    def _doubt(self, name: str, run: _Run, now: datetime) -> bool:
        run.doubted_since = min(run.doubted_since or now, now)
        if now - run.doubted_since < DOUBT_LIMIT:
            return True
        if run.start is not None or not run.supervisor.is_alive(self._proc):
            self._close(name, run, run.doubted_since)
        return False

    def _close(self, name: str, run: _Run, end: datetime) -> None:
        del self._live[name]
        if run.start is not None:
            self._ended.append((run, end))


def _ended_at(ended_at: datetime, seen_at: datetime | None, now: datetime) -> datetime:
    """Return when a run ended, as recorded if that can be: it was at work at `seen_at`, if ever, and is not now."""
    return ended_at if (seen_at or ALWAYS + SET) - SET <= ended_at <= now + SET else now


def _by_device(uses: Iterable[tuple[Sequence[str], RunSpan]]) -> dict[str, list[RunSpan]]:
    """Return the spans of each board: what holds a part of it holds a share of it."""
    spans: dict[str, list[RunSpan]] = {}
    for devices, span in uses:
        for device in devices:
            share = share_of(device)
            spans.setdefault(board_of(device), []).append(span if share == 1 else span._replace(share=share))
    return spans


def record_of(path: Path) -> Record:
    """Return a record; empty if it is missing or invalid, whatever a run put in its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        record = json.loads(os.read(descriptor, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.close(descriptor)
    return record if isinstance(record, dict) else {}


def _dated(record: Record, name: str) -> datetime | None:
    """Return an instant of a record by the present clock, which may have been set since, or not be its writer's."""
    wall_s = _number(record, f"{name}_at")
    if wall_s is None:
        return None
    return by_this_clock(datetime.fromtimestamp(wall_s, UTC), _number(record, f"{name}_s"))


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    return value if isinstance(value, int | float) else None


def process_in(record: Record) -> Process | None:
    """Return the process that a record identifies; None if it identifies none."""
    pid, start_ticks = record.get("pid"), record.get("start_ticks")
    return Process(pid, start_ticks) if isinstance(pid, int) and isinstance(start_ticks, int) else None
