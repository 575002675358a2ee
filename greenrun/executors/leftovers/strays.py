"""Runs that are alive in this state folder and that no database knows: found, named, and ended on request.

They come about when a database is moved away, or an older copy of it is put in its place, while jobs run.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGTERM

from greenrun.core.jobs.runs.status import StrayRun
from greenrun.executors.locks import is_locked
from greenrun.executors.processes import Identity, Tree, kill_all, send, this_boot
from greenrun.executors.run_folder import HOW, LOCK, RUN, STARTED, STOP, VERSION, read_record, write_record

KILL_LIMIT_S = 2.0


class StrayRuns:
    """The runs that are alive among the folders in `runs_dir`, whoever knows of them."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir

    def find(self) -> list[StrayRun]:
        """Return all runs that are alive; raise OSError."""
        return [_stray(folder, record) for folder, record in self._live()]

    def begun(self, job_ids: Collection[int]) -> list[StrayRun]:
        """Return all runs of these jobs that began here, whether they have ended or not; raise OSError."""
        found = []
        for folder in sorted(self._runs_dir.iterdir()):
            if _job_id(folder.name) in job_ids and (record := read_record(str(folder), RUN)):
                found.append(_stray(folder, {"token": "", **record}))
        return [run for run in found if run.started_at is not None]

    def is_alive(self, stray: StrayRun) -> bool:
        """Whether anything of it is alive; assumed when that cannot be told."""
        try:
            return is_locked(Path(stray.folder) / LOCK)
        except OSError:
            return True

    def end(self, stray: StrayRun, by: str) -> None:
        """Have it stopped, as on a cancel; kill its processes where its supervisor is dead. Raise OSError."""
        folder = Path(stray.folder)
        record = read_record(str(folder), RUN) or {}
        shim = Identity.from_record(record)
        if shim is not None and shim.is_alive():
            write_record(str(folder), STOP, {"version": VERSION, "by": by, HOW: "stop"}, sync=False)
            send(shim, SIGTERM)
            return
        command = Identity.from_record(read_record(str(folder), STARTED) or {}, boot=this_boot())
        leaders = [leader for leader in (shim, command) if leader]
        kill_all(Tree(lock=folder / LOCK, token=stray.token, leaders=leaders).find, KILL_LIMIT_S)

    def _live(self) -> Iterator[tuple[Path, dict[str, object]]]:
        """Yield the folders whose lock is held, by a shim or what it left behind, with what they say whose they are."""
        for folder in sorted(self._runs_dir.iterdir()):
            if not folder.name.startswith(".") and is_locked(folder / LOCK):
                record = read_record(str(folder), RUN)
                if record and isinstance(record.get("token"), str):
                    yield folder, record


def last_job_id(runs_dir: Path) -> int:
    """Return the highest id of a job that a folder in `runs_dir` is named by; 0 without any."""
    with suppress(OSError):
        return max((_job_id(folder.name) for folder in runs_dir.iterdir()), default=0)
    return 0


def _job_id(name: str) -> int:
    """Return the id of the job whose run's folder has this name; 0 for what is no such folder."""
    text = name.partition(".")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _stray(folder: Path, record: dict[str, object]) -> StrayRun:
    started = (read_record(str(folder), STARTED) or {}).get("started_at")
    devices, log = record.get("devices"), record.get("log")
    return StrayRun(
        label=folder.name,
        job_id=job if isinstance(job := record.get("job"), int) else 0,
        token=str(record["token"]),
        devices=tuple(map(str, devices)) if isinstance(devices, list) else (),
        folder=str(folder),
        log=log if isinstance(log, str) else None,
        started_at=_instant(started),
    )


def _instant(value: object) -> datetime | None:
    if isinstance(value, int | float):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(value, UTC)
    return None
