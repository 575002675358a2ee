"""The folders that jobs keep their checkpoints in: each belongs to one job, whatever database numbered it."""

import os
import re
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from greenrun.core.jobs.job import Job, Run

CHECKPOINTS = "checkpoints"  # beside the folder of runs
TOKEN_DIGITS = 12
_NAME = re.compile(r"(\d{1,18})(?:-[0-9a-f]{12})?")


def folder_name(job: Job) -> str:
    """Return `ID-TOKEN`: the token follows from who submitted the job when, which no job of another database shares."""
    submitted = job.submitted_at.astimezone(UTC).isoformat(timespec="microseconds")
    whose = f"{job.id} {job.uid} {submitted}"
    return f"{job.id}-{sha256(whose.encode()).hexdigest()[:TOKEN_DIGITS]}"


def job_id_of(name: str) -> int | None:
    """Return the id of the job whose folder has this name; None for what is no such folder."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


class CheckpointFolders:
    """The folders of all jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job: Job) -> Path:
        """Return where a job keeps its checkpoints."""
        return self._folder / folder_name(job)

    def make(self, run: Run, job: Job) -> Path:
        """Return the folder for a run of the job, made if it is missing; raise OSError.

        Earlier releases named it by the job's id alone. A job that ran under one of them keeps what it saved there; for
        a first run, a folder with that name is another job's.
        """
        mine, former = self.path(job), self._folder / str(job.id)
        if run.number > 1 and not mine.exists() and former.is_dir():
            former.rename(mine)
        mine.mkdir(mode=0o700, parents=True, exist_ok=True)
        return mine

    def last_id(self) -> int:
        """Return the highest id of a job that has a folder; 0 without any."""
        return max((job_id_of(name) or 0 for name in self._names()), default=0)

    def prune(self, find: Callable[[int], Job | None], before: datetime, *, keep: Collection[int] = ()) -> list[str]:
        """Delete the folders of jobs that ended before `before`; return their names.

        A folder of no known job is deleted if nothing in it has changed since then. `keep` are the ids whose folders
        stay whatever is known of them.
        """
        pruned = [name for name in self.unchanged(before, keep) if is_over(name, find, before)]
        self.delete(pruned)
        return pruned

    def unchanged(self, before: datetime, keep: Collection[int] = ()) -> list[str]:
        """Return the names of the folders in which nothing has changed since then, except those of jobs in `keep`."""
        return [
            name
            for name in self._names()
            if (job_id := job_id_of(name)) is not None and job_id not in keep and self._is_unchanged(name, before)
        ]

    def delete(self, names: Collection[str]) -> None:
        """Delete these folders, as far as possible."""
        for name in names:
            with suppress(RecursionError):  # of folders in folders, by the thousand
                shutil.rmtree(self._folder / name, ignore_errors=True)

    def _is_unchanged(self, name: str, before: datetime) -> bool:
        path = self._folder / name
        return not path.is_symlink() and _is_unchanged(path, before)

    def _names(self) -> list[str]:
        with suppress(OSError):
            return [path.name for path in self._folder.iterdir()]
        return []


def is_over(name: str, find: Callable[[int], Job | None], before: datetime) -> bool:
    """Whether a folder's job has ended before then; not known, or another one, it has left nothing that is needed."""
    job_id = job_id_of(name)
    job = None if job_id is None else find(job_id)
    if job is None or name not in (folder_name(job), str(job.id)):
        return True
    return job.finished_at is not None and job.finished_at < before


def _is_unchanged(path: Path, before: datetime) -> bool:
    """Whether neither a folder nor what lies directly in it has changed since then."""
    limit_s = before.timestamp()
    try:
        if path.lstat().st_mtime >= limit_s:
            return False
        with os.scandir(path) as entries:
            return all(entry.stat(follow_symlinks=False).st_mtime < limit_s for entry in entries)
    except OSError:
        return False
