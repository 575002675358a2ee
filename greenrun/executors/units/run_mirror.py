"""What of a run the meters and the next daemon need to know, in a folder that is the daemon's own.

A run's folder is its user's: nobody else reads it, and what it says is not to be relied on. What systemd and the store
say is kept beside it, in the form of a run's folder: `runs/JOB.NUMBER` with run.json, started.json and exit.json.
"""

from contextlib import suppress
from pathlib import Path

from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.executors.processes import this_boot
from greenrun.executors.run_folder import EXIT, RUN, STARTED, VERSION, read_record, write_record
from greenrun.procfs import start_ticks

OVER = frozenset({Phase.EXITED, Phase.LOST, Phase.INTERRUPTED})


class RunMirror:
    """The folders of all runs that this daemon and those before it have seen. Nothing depends on what fails here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: set[tuple[str, str]] = set()  # token, and which record is there

    def begin(self, run: Run, uid: int, pid: int) -> None:
        """Keep which process supervises a run."""
        if (run.token, RUN) in self._kept:
            return
        with suppress(OSError):
            folder = self._folder / run.label
            folder.mkdir(mode=0o700, exist_ok=True)
            whose = {"version": VERSION, "token": run.token, "job": run.job_id, "number": run.number, "uid": uid}
            which = {"devices": list(run.devices), "boot_id": this_boot(), "pid": pid, "start_ticks": start_ticks(pid)}
            self._write(run, RUN, {**whose, **which})

    def is_begun(self, run: Run) -> bool:
        """Whether it is known which process supervises it."""
        return (run.token, RUN) in self._kept

    def follow(self, run: Run, status: RunStatus) -> None:
        """Keep when a run started and ended."""
        if not self._is_its(run):
            return
        with suppress(OSError):
            if status.started_at is not None:
                self._write(run, STARTED, {"version": VERSION, "started_at": status.started_at.timestamp()})
            if status.phase in OVER and status.ended_at is not None:
                started_at = status.started_at and status.started_at.timestamp()
                times = {"started_at": started_at, "ended_at": status.ended_at.timestamp()}
                self._write(run, EXIT, {"version": VERSION, "token": run.token, **times})

    def _is_its(self, run: Run) -> bool:
        if (run.token, RUN) not in self._kept:
            with suppress(OSError):
                if (read_record(str(self._folder / run.label), RUN) or {}).get("token") == run.token:
                    self._kept.add((run.token, RUN))
        return (run.token, RUN) in self._kept

    def _write(self, run: Run, name: str, record: dict[str, object]) -> None:
        if (run.token, name) not in self._kept:
            write_record(str(self._folder / run.label), name, record, sync=False)
            self._kept.add((run.token, name))
            if name == EXIT:
                self._kept -= {(run.token, each) for each in (RUN, STARTED)}
