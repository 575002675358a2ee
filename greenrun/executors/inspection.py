"""Determine a run's status from its folder and this machine's processes, and kill what outlived its shim."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGCONT
from typing import TypeGuard

from greenrun.clock import by_this_clock, utc_now
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus
from greenrun.executors.containers.engines import image_of
from greenrun.executors.locks import is_locked
from greenrun.executors.processes import Identity, Tree, kill_all, send, this_boot
from greenrun.executors.progress_file import work_of
from greenrun.executors.run_folder import (
    BARRED,
    CHECKPOINT,
    EXIT,
    HOW,
    KILLED,
    LOCK,
    MEMBERS,
    RUN,
    STARTED,
    STOP,
    VERSION,
    read_record,
    write_record,
)
from greenrun.executors.watcher import Said
from greenrun.host_shortage import LACKING, unmarked

KILL_LIMIT_S = 2.0
MOST_CHARACTERS = 4096  # of a text in a record
MOST_NUMBER = 10_000_000_000  # in a record: seconds of three centuries
PLACED_WITHIN = timedelta(seconds=5)  # of its claim; processes are not looked through for a run that is just starting


def status_of(folder: Path, run: Run, follow: Callable[[Identity], None], said: Said) -> RunStatus:
    """Return the status of a run; raise OSError if it cannot be determined.

    `follow` is called with the shim while it lives; `said` is what the shim has said so far.
    """
    if not _exists(folder):
        found = _without_folder(folder, run, said)
        if not _exists(folder):
            return found  # else it was put in place just now, and that is why something of the run is alive
    if read_record(str(folder), BARRED) is not None:
        return RunStatus(phase=Phase.FENCED, detail="it was fenced before it could start")
    record = read_record(str(folder), RUN) or {}
    if record and record.get("token") != run.token:
        if run.started_at is not None:
            return _without_folder(folder, run, said)
        # The name is taken for good, so this run's shim can never get it: as final as a fence.
        return RunStatus(phase=Phase.FENCED, detail=f"{folder} belongs to a run of another database; move it away")
    if isinstance(version := record.get("version"), int) and version > VERSION:
        return RunStatus(phase=Phase.UNKNOWN, detail=f"{folder} was written by a newer greenrun; start that one again")
    found = exited(folder, run) or _unended(folder, run, Identity.from_record(record), follow)
    return replace(found, log=log_in(record), image=image_of(folder), **work_of(folder))


def own_record(folder: Path, run: Run) -> dict[str, object] | None:
    """Return run.json if the folder is this run's, else None; raise OSError if that cannot be determined."""
    record = read_record(str(folder), RUN)
    if record is not None and "token" not in record:
        raise OSError(f"{folder / RUN} is damaged")
    return record if record and record["token"] == run.token else None


def _exists(folder: Path) -> bool:
    try:
        folder.lstat()
    except FileNotFoundError:
        return False
    return True


def _without_folder(folder: Path, run: Run, said: Said) -> RunStatus:
    if run.started_at is None:
        is_placed = said.has_started or abs(utc_now() - run.claimed_at) > PLACED_WITHIN
        if is_placed and has_begun(folder, run):
            return RunStatus(phase=Phase.RUNNING, started_at=run.claimed_at)  # about then: the record of it is gone
        if not said.has_started:
            detail, shortage = unmarked(said.complaint)
            return RunStatus(phase=Phase.ABSENT, detail=detail, shortage=shortage)
    elif has_begun(folder, run):
        return RunStatus(phase=Phase.UNKNOWN, detail=f"it is alive, but somebody removed {folder}")
    gone = f"somebody removed {folder}, and nothing of the run is alive"
    return RunStatus(phase=Phase.LOST, started_at=run.started_at or run.claimed_at, ended_at=utc_now(), detail=gone)


def has_begun(folder: Path, run: Run) -> bool:
    """Whether something of a run without a folder is alive: somebody removed the folder, then. Raise OSError.

    Not so of a shim that has not put the folder in place yet.
    """
    return bool(Tree(lock=folder / LOCK, token=run.token).find())


def exited(folder: Path, run: Run) -> RunStatus | None:
    """Return the status in the exit record; None if there is none, or it is not valid."""
    record = read_record(str(folder), EXIT)
    if not record or record.get("token") != run.token:
        return None
    code, (started_at, ended_at) = _whole(record.get("exit_code")), _dated(folder, record, "started", "ended")
    if code is None or ended_at is None or record.get("ended_by") not in list(EndedBy):
        return None
    return RunStatus(
        phase=Phase.EXITED,
        started_at=started_at,
        ended_at=ended_at,
        ran=_ran(record),
        exit_code=code,
        signal=_whole(record.get("signal")),
        left=_whole(record.get("left")) or 0,
        ended_by=EndedBy(str(record["ended_by"])),
        detail=_text(record.get("detail")),
        changed=_text(record.get("changed")),
        oom_kills=max(0, _whole(record.get("oom_kills")) or 0),
        is_own_limit=record.get("is_own_limit") is True,
        shortage=LACKING.get(number, "") if isinstance(number := record.get("errno"), int) else "",
    )


def _unended(folder: Path, run: Run, shim: Identity | None, follow: Callable[[Identity], None]) -> RunStatus:
    if shim is not None and shim.boot_id != this_boot():
        return interrupted(folder)
    if shim is not None and shim.is_alive():
        follow(shim)
        if shim.is_stopped():  # nobody else would see to limits, requests and output
            send(shim, SIGCONT)
        started_at, _ = start_of(folder)
        if started_at is None:
            return RunStatus(phase=Phase.ABSENT, detail="its supervisor is about to start its command")
        asked = read_record(str(folder), STOP) or {}
        return RunStatus(phase=Phase.RUNNING, started_at=started_at, is_checkpointing=asked.get(HOW) == CHECKPOINT)
    return exited(folder, run) or _orphaned(folder, run, shim)  # it may have recorded its end and exited just now


def interrupted(folder: Path) -> RunStatus:
    """Return the status of a run of another boot; raise OSError."""
    if is_locked(folder / LOCK):
        return RunStatus(phase=Phase.UNKNOWN, detail=f"{folder} is of another boot, yet somebody holds its lock")
    started_at, _ = start_of(folder)
    last_sign = max(
        (path.lstat().st_mtime for path in folder.iterdir()), default=None
    )  # the run may have left symlinks
    ended_at = _instant(last_sign)
    detail = "the machine restarted; it ended at its last sign of life or later"
    ended_at = ended_at and min(ended_at, utc_now())  # ... or a file dated in the future
    return RunStatus(phase=Phase.INTERRUPTED, started_at=started_at, ended_at=ended_at, detail=detail)


def _orphaned(folder: Path, run: Run, shim: Identity | None) -> RunStatus:
    """Kill what a dead shim left behind; return LOST only once neither process nor lock is left."""
    started_at, _ = start_of(folder)
    killed, is_gone = kill_all(_tree(folder, run, shim).find, KILL_LIMIT_S)
    killed, was_ended = _killed(folder, killed)
    if not is_gone or is_locked(folder / LOCK):
        return RunStatus(
            phase=Phase.UNKNOWN, started_at=started_at, detail="its supervisor died and its tree is not gone yet"
        )
    if started_at is None and shim is not None:  # a command is released only after its start is recorded
        return RunStatus(phase=Phase.FENCED, detail="its supervisor died before it started the command")
    damaged = " (its exit record is damaged)" if read_record(str(folder), EXIT) is not None else ""
    ended = f"{_processes(killed)} found alive and killed" if killed else "none of its processes was found alive"
    how = "its supervisor died without recording its end"
    if was_ended:
        how = "its supervisor was stopped (SIGSTOP) past its grace, so greenrun killed it"
    elif shim is None:
        how = f"who supervises it cannot be told, as somebody removed or damaged {folder / RUN}"
    detail = f"{how}{damaged}, and {ended}"
    return RunStatus(phase=Phase.LOST, started_at=started_at, ended_at=utc_now(), detail=detail)


def _tree(folder: Path, run: Run, shim: Identity | None) -> Tree:
    started, members = (read_record(str(folder), name) or {} for name in (STARTED, MEMBERS))
    known = [shim, Identity.from_record(started, boot=this_boot()), *_identities(members.get("leaders"))]
    leaders, seen = [leader for leader in known if leader], _identities(members.get("processes"))
    return Tree(lock=folder / LOCK, token=run.token, leaders=leaders, seen=seen)


def _identities(pairs: object) -> list[Identity]:
    """Return the processes that pairs of pid and start time identify; what is no such pair is left out."""
    records = [dict(zip(("pid", "start_ticks"), pair, strict=False)) for pair in _lists(pairs)]
    return [found for record in records if (found := Identity.from_record(record, boot=this_boot()))]


def _lists(value: object) -> list[list[object]]:
    return [item for item in value if isinstance(item, list)] if isinstance(value, list) else []


def _killed(folder: Path, just_now: int) -> tuple[int, bool]:
    """Return how many processes of the run were killed so far, and whether its shim was.

    That is kept, in case the last ones take longer.
    """
    record = read_record(str(folder), KILLED) or {}
    killed = just_now + (_whole(record.get("processes")) or 0)
    if just_now:
        with suppress(OSError):
            write_record(str(folder), KILLED, {**record, "version": VERSION, "processes": killed}, sync=False)
    return killed, "supervisor" in record


def _processes(count: int) -> str:
    return "1 of its processes was" if count == 1 else f"{count} of its processes were"


def start_of(folder: Path) -> tuple[datetime | None, Identity | None]:
    """Return when a run's command was started, and which process it is, by its record; raise OSError."""
    record = read_record(str(folder), STARTED) or {}
    (started_at,) = _dated(folder, record, "started")
    return started_at, Identity.from_record(record, boot=this_boot())


def _dated(folder: Path, record: Mapping[str, object], *names: str) -> list[datetime | None]:
    """Return instants of a record by the present clock, which may have been set since, or not be the shim's."""
    walls = [_instant(record.get(f"{name}_at")) for name in names]
    own = read_record(str(folder), RUN) or {}
    if own.get("boot_id") != this_boot():
        return walls
    steady_s = [_seconds(record.get(f"{name}_s")) for name in names]
    return [wall and by_this_clock(wall, each_s) for wall, each_s in zip(walls, steady_s, strict=True)]


def _ran(record: Mapping[str, object]) -> timedelta | None:
    """Return how long a run ran; None where its shim did not note that."""
    started_s, ended_s = (_seconds(record.get(f"{name}_s")) for name in ("started", "ended"))
    return None if started_s is None or ended_s is None else timedelta(seconds=max(0.0, ended_s - started_s))


def log_in(record: Mapping[str, object]) -> str | None:
    """Return the path of the log that a run's record names; None for what can be no path."""
    log = record.get("log")
    return log if isinstance(log, str) and log == _text(log) and "\0" not in log else None


def _text(value: object) -> str:
    """Return a text that can be stored and shown, whatever a record holds in its place."""
    return str(value or "")[:MOST_CHARACTERS].encode(errors="replace").decode()


def _seconds(value: object) -> float | None:
    return float(value) if _is_number(value) else None


def _whole(value: object) -> int | None:
    return value if _is_number(value) and isinstance(value, int) else None


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether this is a number that can be computed with and stored: a record may hold one of a thousand digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MOST_NUMBER <= value <= MOST_NUMBER


def _instant(value: object) -> datetime | None:
    if _is_number(value):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(value, UTC)
    return None
