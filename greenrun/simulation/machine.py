"""The GPUs of a simulation: runs that take exactly as long as they must, and no meter, because power is stated."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from greenrun.core.energy.model import Device, GpuUse, Reading
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import Job, Run
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus

_NOTHING = timedelta(0)


@dataclass(slots=True)
class _Process:
    """A run that was started: its job, when it ends and how. `overhead` is what continuing takes of its beginning."""

    job: Job
    started_at: datetime
    ends_at: datetime
    overhead: timedelta
    exit_code: int = 0
    ended_by: EndedBy = EndedBy.ITSELF


class Machine:
    """Executor and meter of one simulated host; `now` is moved by the loop alone.

    `pieces` holds, for each job, the intervals over which it has run, in order; `ended_early` tells that a run was just
    ended before its time, which an executor would wake the engine for.
    """

    def __init__(self, gpus: int, now: datetime) -> None:
        self.now = now
        self.ended_early = False
        self.pieces: dict[int, list[tuple[datetime, datetime]]] = {}
        self._processes: dict[str, _Process] = {}
        self._done: dict[int, timedelta] = {}
        self._devices = tuple(
            Device(id=f"GPU-{index}", index=index, model="simulated GPU", source="simulation", emulated=True)
            for index in range(gpus)
        )

    # executor

    def room(self, gpus: int = 0) -> AbstractContextManager[None]:
        """Lack nothing."""
        return nullcontext()

    def start(self, run: Run, job: Job) -> None:
        """Let the run go on with what is left of its job; continuing costs the job's restart cost."""
        done = self._done.get(job.id, _NOTHING)
        overhead = job.spec.restart_cost if done else _NOTHING
        length = job.spec.duration - done + overhead
        process = _Process(job=job, started_at=self.now, ends_at=self.now + length, overhead=overhead)
        self._processes[run.token] = process
        self.pieces.setdefault(job.id, []).append((process.started_at, process.ends_at))

    def poll(self, run: Run) -> RunStatus:
        """Tell whether the run goes on, or when and how it ended; one that has ended is reported once."""
        process = self._processes.get(run.token)
        if process is None:
            return RunStatus(phase=Phase.ABSENT)
        if self.now < process.ends_at:
            return RunStatus(phase=Phase.RUNNING, started_at=process.started_at)
        del self._processes[run.token]
        return RunStatus(
            phase=Phase.EXITED, started_at=process.started_at, ended_at=process.ends_at,
            exit_code=process.exit_code, ended_by=process.ended_by,
        )  # fmt: skip

    def fence(self, run: Run) -> bool:
        """Tell that a run can never start; one that was started cannot be fenced."""
        return run.token not in self._processes

    def stop(self, run: Run, by: str) -> None:
        """End the run at once."""
        self._end(run, 143, EndedBy.STOP)

    def checkpoint(self, run: Run, by: str) -> None:
        """Let the run save its work and end at once."""
        process = self._end(run, None, EndedBy.CHECKPOINT)
        if process is not None:
            ran = process.ends_at - process.started_at
            done = self._done.get(process.job.id, _NOTHING)
            self._done[process.job.id] = done + max(_NOTHING, ran - process.overhead)

    def held_elsewhere(self, devices: Sequence[str]) -> Mapping[str, str]:
        """Return nothing: nobody else uses these GPUs."""
        return {}

    def owners(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        """Return nothing: nobody else uses these GPUs."""
        return {}

    def _end(self, run: Run, exit_code: int | None, ended_by: EndedBy) -> _Process | None:
        process = self._processes.get(run.token)
        if process is None or process.ends_at <= self.now:
            return None
        process.ends_at, process.ended_by, self.ended_early = self.now, ended_by, True
        process.exit_code = process.job.spec.checkpoint_exit_code if exit_code is None else exit_code
        self.pieces[process.job.id][-1] = (process.started_at, self.now)
        return process

    # meter

    def devices(self) -> Sequence[Device]:
        """Return the simulated GPUs."""
        return self._devices

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return nothing: energy is the job's stated power over the time it ran."""
        return ()

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """Return nothing: nobody else uses these GPUs."""
        return {}


def instant(epoch_s: float) -> datetime:
    """Return epoch seconds as an instant, to the microsecond."""
    return datetime.fromtimestamp(epoch_s, UTC)
