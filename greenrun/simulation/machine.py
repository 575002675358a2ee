"""The GPUs of a simulation: runs that take exactly as long as they must and draw exactly what is stated."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum

from greenrun.core.energy.model import Device, GpuUse, Quality, Reading
from greenrun.core.energy.power_limit import LEAST_SHARE, LimitAnswer, LimitChange, LimitReading
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import Job, Run
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus

_NOTHING = timedelta(0)


@dataclass(slots=True, kw_only=True)
class _Process:
    """A run that was started: its job, how much of its work is left at `since` (at full power), and how it ends.

    `overhead` is the part of its `whole` work that only makes up for an interruption. `devices_w` is what each of its
    GPUs draws now, and `slowdown` by how much longer its work takes meanwhile.
    """

    job: Job
    started_at: datetime
    since: datetime
    whole: timedelta
    left: timedelta
    overhead: timedelta
    devices_w: dict[str, float]
    slowdown: float = 0.0
    metered_until: datetime
    ended_at: datetime | None = None
    exit_code: int = 0
    ended_by: EndedBy = EndedBy.ITSELF

    @property
    def ends_at(self) -> datetime:
        """When it has ended, or will if nothing changes."""
        if self.ended_at is not None:
            return self.ended_at
        return self.since + (self.left * (1 + self.slowdown) if self.slowdown else self.left)

    @property
    def power_w(self) -> float:
        """What it draws now."""
        return fsum(self.devices_w.values())

    def advance(self, now: datetime) -> None:
        """Do the work of the time up to now."""
        done = now - self.since
        self.left -= done / (1 + self.slowdown) if self.slowdown else done
        self.since = now


@dataclass(frozen=True, slots=True)
class _Lowered:
    """A power limit that was set, and what the limit was before."""

    limit_w: float
    found_w: float


class Machine:
    """Executor, meter and GPU driver of one simulated host; `now` is moved by the loop alone.

    `pieces` holds, for each job, the intervals over which it has run, in order, and `powers_w` what it drew in each;
    `ended_early` tells that a run was just ended before its time, which an executor would wake the engine for. Its
    meter tells nothing unless `is_metered`. A GPU's default power limit is what the job on it draws at full power.
    """

    def __init__(self, devices: Sequence[Device], now: datetime, *, is_metered: bool = False) -> None:
        self.now = now
        self.ended_early = False
        self.pieces: dict[int, list[tuple[datetime, datetime]]] = {}
        self.powers_w: dict[int, list[float]] = {}
        self._processes: dict[str, _Process] = {}
        self._on: dict[str, _Process] = {}  # the last process on each device
        self._done: dict[int, timedelta] = {}
        self._devices = tuple(devices)
        self._is_metered = is_metered
        self._energy_j = dict.fromkeys((device.id for device in devices), 0.0)
        self._lowered: dict[str, _Lowered] = {}

    @property
    def next_end(self) -> datetime | None:
        """When the next run ends of those that go on."""
        return min((row.ends_at for row in self._processes.values() if row.ends_at > self.now), default=None)

    # executor

    def room(self, gpus: int = 0) -> AbstractContextManager[None]:
        """Lack nothing."""
        return nullcontext()

    def start(self, run: Run, job: Job) -> None:
        """Let the run go on with what is left of its job; continuing costs the job's restart cost."""
        done = self._done.get(job.id, _NOTHING)
        overhead = job.spec.restart_cost if done else _NOTHING
        length = job.spec.duration - done + overhead
        process = _Process(
            job=job, started_at=self.now, since=self.now, whole=length, left=length, overhead=overhead,
            devices_w=dict.fromkeys(run.devices, _full_w(job)), metered_until=self.now,
        )  # fmt: skip
        self._processes[run.token] = process
        self._on |= dict.fromkeys(run.devices, process)
        self.pieces.setdefault(job.id, []).append((self.now, process.ends_at))
        self.powers_w.setdefault(job.id, []).append(process.power_w)

    def poll(self, run: Run) -> RunStatus:
        """Tell whether the run goes on, or when and how it ended; one that has ended is reported once."""
        process = self._processes.get(run.token)
        if process is None:
            return RunStatus(phase=Phase.ABSENT)
        if self.now < process.ends_at:
            return RunStatus(phase=Phase.RUNNING, started_at=process.started_at)
        self._meter(process)
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
            worked = process.whole - process.left
            done = self._done.get(process.job.id, _NOTHING)
            self._done[process.job.id] = done + max(_NOTHING, worked - process.overhead)

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
        process.advance(self.now)
        process.ended_at, process.ended_by, self.ended_early = self.now, ended_by, True
        process.exit_code = process.job.spec.checkpoint_exit_code if exit_code is None else exit_code
        pieces = self.pieces[process.job.id]
        pieces[-1] = (pieces[-1][0], self.now)
        return process

    # meter

    def devices(self) -> Sequence[Device]:
        """Return the simulated GPUs that jobs are given."""
        return self._devices

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return what each GPU has used by now; nothing unless that is metered."""
        if not self._is_metered:
            return ()
        for process in self._processes.values():
            self._meter(process)
        return [
            Reading(
                device=device, at=self.now, energy_j=energy_j, quality=Quality.EMULATED, counter="simulation",
                session="simulation",
            )
            for device, energy_j in self._energy_j.items()
        ]  # fmt: skip

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """Return nothing: nobody else uses these GPUs."""
        return {}

    def _meter(self, process: _Process) -> None:
        """Count what a run has used since this was done last."""
        until = max(process.metered_until, min(self.now, process.ends_at))
        seconds = (until - process.metered_until).total_seconds()
        process.metered_until = until
        for device, power_w in process.devices_w.items() if self._is_metered else ():
            self._energy_j[device] += power_w * seconds

    # GPU driver

    def change(self, changes: Sequence[LimitChange]) -> Mapping[str, LimitAnswer]:
        """Set power limits, which makes the runs on these GPUs draw less and take longer."""
        touched: dict[int, _Process] = {}
        for asked in changes:
            process, limit_w = self._on.get(asked.device), asked.limit_w
            if limit_w is None or process is None:
                continue
            known = self._lowered.get(asked.device)
            found_w = known.found_w if known else _full_w(process.job)
            if limit_w >= found_w:
                self._lowered.pop(asked.device, None)
            else:
                self._lowered[asked.device] = _Lowered(limit_w, found_w)
            touched[id(process)] = process
        for process in touched.values():
            self._follow(process)
        return {asked.device: self._limit(asked.device) for asked in changes}

    def _limit(self, device: str) -> LimitReading:
        process, lowered = self._on.get(device), self._lowered.get(device)
        default_w = _full_w(process.job) if process else 0.0
        limit_w = lowered.limit_w if lowered else default_w
        return LimitReading(limit_w=limit_w, least_w=LEAST_SHARE * default_w, most_w=default_w, default_w=default_w)

    def _follow(self, process: _Process) -> None:
        """Let a run go on from now as the limits of its GPUs have it, in a piece of its own."""
        if process.ends_at <= self.now:
            return
        self._meter(process)
        process.advance(self.now)
        full_w, cap = _full_w(process.job), process.job.spec.allowed_cap
        for device in process.devices_w:
            lowered = self._lowered.get(device)
            process.devices_w[device] = min(full_w, lowered.limit_w) if lowered else full_w
        is_slower = min(process.devices_w.values()) < full_w
        process.slowdown = (cap.slowdown or 0.0) if cap and is_slower else 0.0
        pieces, powers_w = self.pieces[process.job.id], self.powers_w[process.job.id]
        start = pieces.pop()[0]
        before_w = powers_w.pop()
        if start < self.now:
            pieces.append((start, self.now))
            powers_w.append(before_w)
        pieces.append((self.now, process.ends_at))
        powers_w.append(process.power_w)


def _full_w(job: Job) -> float:
    """Return what each GPU of a job draws at full power."""
    return (job.spec.power_w or 0.0) / max(1, job.spec.gpus)


def instant(epoch_s: float) -> datetime:
    """Return epoch seconds as an instant, to the microsecond."""
    return datetime.fromtimestamp(epoch_s, UTC)
