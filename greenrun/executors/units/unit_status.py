"""Determine a run's status from its unit and its folder.

Whether anything of a run is alive is what systemd says: its folder is its user's, who may write there what they like.
What a run's own records can be wrong about is that run alone: its times, its exit code, its log.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic

from greenrun.clock import utc_now
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.executors.containers.engines import image_of
from greenrun.executors.inspection import exited, interrupted, log_in, start_of
from greenrun.executors.processes import Identity, this_boot
from greenrun.executors.progress_file import work_of
from greenrun.executors.run_folder import BARRED, CHECKPOINT, EXIT, HOW, RUN, STOP, VERSION, read_record
from greenrun.executors.units.bus import UnitState
from greenrun.executors.units.folder_guard import FolderHangs
from greenrun.executors.units.unit_properties import SLICE
from greenrun.executors.watcher import Said
from greenrun.host_shortage import unmarked

PLACED_WITHIN_S = 60.0  # after that, a unit without a folder is one whose user removed it
GIVEN_UP_AFTER_S = 60.0  # when nothing of a run is alive, and what its user did to its records hides how it ended
OF_ITS_USER = frozenset({  # why the records of a run cannot be read if its user wants so: modes, leases, sockets, links
    errno.EACCES, errno.EPERM, errno.EAGAIN, errno.ENXIO, errno.ELOOP, errno.ENAMETOOLONG,
})  # fmt: skip
CGROUPS = Path("/sys/fs/cgroup")


def status_of(folder: Path, run: Run, unit: UnitState, said: Said, age_s: Callable[[], float]) -> RunStatus:
    """Return the status of a run whose unit was like this before its folder is read now; raise OSError.

    `age_s` returns for how long its unit has been up.
    """
    may_be_fenced = not (unit.is_alive or said.has_started or run.started_at is not None)  # its user may put one there
    if may_be_fenced and read_record(str(folder), BARRED) is not None:
        return RunStatus(phase=Phase.FENCED, detail="it was fenced before it could start")
    record = read_record(str(folder), RUN)
    if record is None:
        return _without_record(folder, run, unit, said, age_s)
    if record and record.get("token") != run.token:
        if unit.is_alive or run.started_at is not None:
            return _without_record(folder, run, unit, said, age_s)
        return RunStatus(phase=Phase.FENCED, detail=f"{folder} belongs to a run of another database; move it away")
    if isinstance(version := record.get("version"), int) and version > VERSION:
        return RunStatus(phase=Phase.UNKNOWN, detail=f"{folder} was written by a newer greenrun; start that one again")
    found = _alive(folder) if unit.is_alive else _ended(folder, run, record, said)
    return replace(found, log=log_in(record), image=image_of(folder), **work_of(folder))


def _without_record(folder: Path, run: Run, unit: UnitState, said: Said, age_s: Callable[[], float]) -> RunStatus:
    """Return the status of a run without a folder: not yet, or not any more because its user removed it."""
    if unit.is_alive:
        if run.started_at is None and not said.has_started and age_s() < PLACED_WITHIN_S:
            return RunStatus(phase=Phase.ABSENT, detail="its supervisor is about to start its command")
        return RunStatus(phase=Phase.RUNNING, started_at=run.started_at or run.claimed_at)  # about then
    if run.started_at is None and not said.has_started:
        detail, shortage = unmarked(said.complaint)
        return RunStatus(phase=Phase.ABSENT, detail=detail, shortage=shortage)
    gone = f"somebody removed {folder}, and nothing of the run is alive"
    return RunStatus(phase=Phase.LOST, started_at=run.started_at or run.claimed_at, ended_at=utc_now(), detail=gone)


def _alive(folder: Path) -> RunStatus:
    started_at, _ = start_of(folder)
    if started_at is None:
        return RunStatus(phase=Phase.ABSENT, detail="its supervisor is about to start its command")
    asked = read_record(str(folder), STOP) or {}
    return RunStatus(phase=Phase.RUNNING, started_at=started_at, is_checkpointing=asked.get(HOW) == CHECKPOINT)


def _ended(folder: Path, run: Run, record: dict[str, object], said: Said) -> RunStatus:
    """Return how a run ended whose unit is gone."""
    if (found := exited(folder, run)) is not None:
        return replace(found, ended_at=min(found.ended_at or utc_now(), utc_now() + timedelta(seconds=1)))
    shim = Identity.from_record(record)
    if shim is not None and shim.boot_id != this_boot():
        return interrupted(folder)
    started_at, _ = start_of(folder)
    if started_at is None and (said.has_started or run.started_at is not None):
        started_at = run.started_at or run.claimed_at  # its user removed the record of it
    if started_at is None:  # a command is released only after its start is recorded
        return RunStatus(phase=Phase.FENCED, detail="its supervisor died before it started the command")
    damaged = " (its exit record is damaged)" if read_record(str(folder), EXIT) is not None else ""
    detail = f"its supervisor died without recording its end{damaged}, and systemd ended all of its processes"
    return RunStatus(phase=Phase.LOST, started_at=started_at, ended_at=utc_now(), detail=detail)


def is_populated(name: str, root: Path = CGROUPS) -> bool:
    """Whether the control group of a unit still has processes: those that not even KILL has ended, as in a driver."""
    with suppress(OSError):
        return "populated 1" in (root / SLICE / name / "cgroup.events").read_text(encoding="ascii").splitlines()
    return False


def is_of_its_user(exc: OSError | ExecutorError) -> bool:
    """Whether the user of a run may be why its folder cannot be read."""
    return isinstance(exc, FolderHangs) or (isinstance(exc, OSError) and exc.errno in OF_ITS_USER)


class Doubts:
    """Since when it is not known how runs ended of which nothing is alive: a user who hides that keeps no GPU by it."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}  # by token

    def settled(self, run: Run, unit: UnitState, status: RunStatus) -> RunStatus:
        """Return the status; for one that has been unknown too long, that the run is lost."""
        if unit.is_alive or status.phase is not Phase.UNKNOWN:
            self._since_s.pop(run.token, None)
            return status
        since_s = self._since_s.setdefault(run.token, monotonic())
        if monotonic() - since_s < GIVEN_UP_AFTER_S:
            return status
        del self._since_s[run.token]
        detail = f"nothing of it is alive, and how it ended is hidden: {status.detail}"
        started_at = run.started_at or run.claimed_at
        return RunStatus(phase=Phase.LOST, started_at=started_at, ended_at=utc_now(), detail=detail)
