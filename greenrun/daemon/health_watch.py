"""Look regularly at whether the daemon can do its work, beside ticks, which may be what stands still."""

import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from greenrun.clock import utc_now
from greenrun.core.conditions import Condition, ConditionCode, Effect, first_seen
from greenrun.core.energy.model import Device, gpus
from greenrun.core.jobs.availability import GpuState
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.engine.power.power_watch import PowerWatch
from greenrun.engine.start_pause import StartPause
from greenrun.store.database import NO_ROOM_BYTES

LITTLE_ROOM_BYTES = 64 << 20  # below this it is time to make room

SOON = timedelta(seconds=15)  # after a pause of starts there is another one by then, or all is well

log = structlog.get_logger("greenrun.daemon.health_watch")

Check = Callable[[datetime], Iterable[Condition]]


class HealthWatch:
    """Runs the checks in a thread of its own, and whenever somebody asks; logs what begins and what is over, once."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = list(checks)
        self._found: tuple[Condition, ...] = ()
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, every: timedelta) -> None:
        """Start to look `every` so often."""
        self._thread = threading.Thread(
            target=self._run, args=[every.total_seconds()], name="greenrun-watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; idempotent."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def found(self) -> tuple[Condition, ...]:
        """What was wrong at the last look, without looking again."""
        return self._found

    def look(self) -> tuple[Condition, ...]:
        """Return what is wrong now, each thing since when it was first seen."""
        with self._looking:
            now, before = utc_now(), self._found
            found: dict[ConditionCode, Condition] = {}  # of two that are alike the first
            for row in (row for check in self._checks for row in check(now)):
                found.setdefault(row.code, row)
            self._found = first_seen(found.values(), before)
            told = {_wording(row) for row in before}
            for row in self._found:
                if _wording(row) not in told:
                    log.warning("condition", code=row.code.value, text=row.text, remedy=row.remedy)
            for code in {row.code for row in before} - found.keys():
                log.info("condition over", code=code.value)
            return self._found

    def _run(self, every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                self.look()
            except Exception as exc:
                log.error("failed, will be tried again", call="watch", exc_info=exc)


def lost_gpus(
    devices: Callable[[], Sequence[Device]], state_of: Callable[[Device], GpuState], now: datetime
) -> list[Condition]:
    """Say which GPUs their driver has lost."""
    found = [
        f"{absence.name} is {absence.text}"
        for device in gpus(devices())
        for absence in state_of(device).absences
        if absence.code is ReasonCode.GPUS_LOST
    ]
    if not found:
        return []
    return [
        Condition(
            code=ConditionCode.GPU_LOST, effect=Effect.WARNING, since=now,
            text=f"{'; '.join(found)}: nothing is started there, and jobs that need more GPUs wait",
            remedy="see what nvidia-smi or amd-smi and the kernel's log say, and reset the GPU or restart the machine; "
            "greenrun uses it again by itself once it is back",
        )
    ]  # fmt: skip


def _wording(row: Condition) -> tuple[ConditionCode, Effect, str]:
    """What makes a condition news; how many bytes are left changes with each look."""
    return row.code, row.effect, re.sub(r"\d+(?= [KMG]iB)", "…", row.text)


def full_disk(state: Path, now: datetime) -> list[Condition]:
    """Say that the state folder's file system has no room, or no inodes, left for this user, or little room."""
    try:
        found = os.statvfs(state)
    except OSError:
        return []  # it is gone: other checks tell what that means
    free = found.f_bavail * found.f_frsize
    has_inodes = found.f_favail > 0 or not found.f_files  # some file systems count none
    if free >= LITTLE_ROOM_BYTES and has_inodes:
        return []
    is_full = free < NO_ROOM_BYTES or not has_inodes
    left = f"{free >> 10} KiB are" if has_inodes else "no inode is"
    what = "submissions cannot be stored, and nothing is started" if is_full else "without any, nothing can be stored"
    return [
        Condition(
            code=ConditionCode.DISK_FULL, effect=Effect.FAILING if is_full else Effect.WARNING, since=now,
            text=f"{left} left on the file system of {state}: {what}",
            remedy="free some space there; greenrun goes on by itself",
        )
    ]  # fmt: skip


def paused_starts(pause: StartPause, now: datetime) -> list[Condition]:
    """Say that nothing is started for now, because this machine lacks something."""
    until = pause.until  # once: a tick may end the pause meanwhile
    if until is None or now > until + SOON:
        return []
    return [
        Condition(
            code=ConditionCode.STARTS_PAUSED, effect=Effect.NOT_READY, since=pause.since or now,
            text=f"no job is started for now, because this machine is short of {pause.what}",
            remedy="make room; greenrun tries again by itself, and no job has lost an attempt",
        )
    ]  # fmt: skip


def power_above_cap(power: PowerWatch, now: datetime) -> list[Condition]:
    """Say that more is drawn than the site's power cap."""
    since = power.state.above_since  # once: a tick may change it meanwhile
    if since is None:
        return []
    return [
        Condition(
            code=ConditionCode.POWER_ABOVE_CAP, effect=Effect.WARNING, since=since,
            text=f"{power.text}: no job with GPUs is started until it is less, and what runs goes on",
            remedy="see what draws more than it was expected to (greenrun top), suspend or cancel a job, "
            "or state with --power what such jobs draw",
        )
    ]  # fmt: skip


class FolderCheck:
    """Whether the folder of runs is still the one it was: what is known of live runs is in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = _place(folder)

    def __call__(self, now: datetime) -> list[Condition]:
        """Return what is wrong."""
        if _place(self._folder) == self._place:
            return []
        return [
            Condition(
                code=ConditionCode.RUNS_FOLDER_LOST, effect=Effect.FAILING, since=now,
                text=f"{self._folder} is not the folder it was: runs cannot be looked at, and none is started",
                remedy="put the folder back, and greenrun goes on; jobs that run go on meanwhile",
            )
        ]  # fmt: skip


def _place(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
