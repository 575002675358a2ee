"""Whether jobs may be started on a GPU: who else uses it, whether it answers, and whether somebody drained it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from greenrun.core.energy.gpu_parts import driver_name
from greenrun.core.energy.model import Device, GpuProcess, every_gpu
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.core.formatting import instant_text, memory_text
from greenrun.core.jobs.reasons import Reason, ReasonCode, because

USED_AFTER = timedelta(seconds=5)  # a GPU on which others are seen for this long without a break is theirs
FREE_AFTER = timedelta(seconds=12)  # ... and ours again once they are gone for this long
SMALL_BYTES = 1 << 30  # a program that draws on a screen, and holds less of the GPU's memory, keeps no job from it
MACHINE = ""  # stands for the whole machine where a GPU's id would stand
TOKEN_ADVICE = "give it the job's token, docker run -e GREENRUN_RUN_TOKEN"
MOST_NAMED = 3  # processes, or GPUs, named in a sentence

# What is said of a GPU that is away for several reasons, and of a job that waits for several GPUs.
_LASTING_FIRST = (
    ReasonCode.EXCLUDED,
    ReasonCode.DRAINED,
    ReasonCode.GPUS_LOST,
    ReasonCode.RESERVED,
    ReasonCode.GPUS_USED_BY_OTHERS,
    ReasonCode.GPUS_HELD_ELSEWHERE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """No job is to be started on a GPU, or (MACHINE) on the whole machine: as whose wish, since when and why."""

    device: str
    user: str
    since: datetime
    reason: str = ""

    @property
    def text(self) -> str:
        """Say so: `drained by ada since 2026-03-02 10:02:00Z: replacing the fan`."""
        return f"drained by {self.user} since {instant_text(self.since)}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOwner:
    """Whose process it is, as far as that can be told here.

    `user` is None for a process that cannot be seen; `run` is the label of the run that started it. `has_ended` says
    that it was a run's and is gone, though a driver may still name it; `is_service` that it only serves others' use.
    Of one `in_container`, which a daemon may have started, nothing but its token leads to a run.
    """

    user: str | None = None
    run: str | None = None
    is_seen: bool = True
    has_ended: bool = False
    is_service: bool = False
    in_container: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """A process on a GPU that is not of the run which holds it; `user` is None where that cannot be told.

    `run` is the label of a run that left it behind, or that uses a GPU it was not given; of a process `in_container` it
    cannot always be told whether a run started it.
    """

    pid: int
    user: str | None
    memory_bytes: int | None
    run: str | None = None
    is_seen: bool = True
    in_container: bool = False

    @property
    def text(self) -> str:
        """Name it: `process 4242 of bob`."""
        if self.run is not None:
            return f"process {self.pid} of run {self.run}, which does not hold it"
        if self.user is None:
            return f"process {self.pid} of a user who cannot be seen"
        return f"process {self.pid} of {self.user}{' in a container' if self.in_container else ''}"

    @property
    def text_with_memory(self) -> str:
        """Name it with the memory that it has: `process 4242 of bob (7.45 GiB)`."""
        return self.text if self.memory_bytes is None else f"{self.text} ({memory_text(self.memory_bytes)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Why no job may be started on a GPU, or on the machine: what `name` is, as `drained by ada since …`."""

    name: str
    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """Why no job may be started on a GPU (nothing: one may), who uses it beside its holder, and what it is drained for.

    `occupants` is None where that cannot be told; they are as last seen, be it only for a moment. `reserved_next` says
    for whom and when it is reserved next, if it is.
    """

    absences: tuple[Absence, ...] = ()
    occupants: tuple[Occupant, ...] | None = None
    drain: Drain | None = None
    reserved_next: str | None = None


def gpus_named(names: Sequence[str], devices: Iterable[Device]) -> list[Device]:
    """Return the GPUs with these indices, ids or beginnings of ids; raise InvalidInput naming all that are wrong.

    A board that is divided is one of them, and so is each of its parts, as `0/slot-1`.
    """
    there = tuple(devices)
    found, problems = dict[str, Device](), []
    known = [device for device in every_gpu(there) if device.excluded is None]
    kept = {name: device for device in every_gpu(there) if device.excluded for name in (device.name, device.id)}
    for name in names:
        if name in kept:
            told = f"'{name}' is excluded by the settings (devices.exclude names {kept[name].excluded}): no job gets it"
            problems.append(InputProblem(field="gpus", message=told))
            continue
        exact = [device for device in known if name in (device.name, device.id)] or _instances(name, known)
        whole = (device for device in known if not device.part)
        alike = exact or [device for device in whole if name and device.id.lower().startswith(name.lower())]
        if len(alike) == 1:
            found[alike[0].id] = alike[0]
            continue
        listed = ", ".join(f"{device.name} ({device.id})" for device in known) or "none"
        what = "names several GPUs" if alike else "is no GPU of this machine"
        problems.append(InputProblem(field="gpus", message=f"'{name}' {what}; it has {listed}"))
    if problems:
        raise InvalidInput("nothing was changed: " + "; ".join(row.message for row in problems), problems)
    return list(found.values())


def _instances(name: str, devices: Iterable[Device]) -> list[Device]:
    """Return the MIG instance of this UUID."""
    return [device for device in devices if device.part and device.mig and driver_name(device.id) == name]


def others_on(
    processes: Sequence[GpuProcess], owners: Mapping[int, ProcessOwner], holders: Collection[str]
) -> tuple[Occupant, ...]:
    """Return who uses a GPU beside the runs that hold it or parts of it (by their labels), in order of pid.

    A process that cannot be seen is taken for a holder's, for nothing else is known; without a holder it is others'.
    Small programs that draw on a screen are no occupants.
    """
    found = []
    for process in sorted(processes, key=lambda row: row.pid):
        owner = owners.get(process.pid, ProcessOwner(is_seen=False))
        is_holders = bool(holders) and (owner.run in holders or not (owner.is_seen or owner.run))
        if is_holders or owner.has_ended or owner.is_service or _only_draws(process):
            continue
        found.append(
            Occupant(
                pid=process.pid,
                user=owner.user,
                memory_bytes=process.memory_bytes,
                run=owner.run,
                is_seen=owner.is_seen,
                in_container=owner.in_container,
            )
        )
    return tuple(found)


def _only_draws(process: GpuProcess) -> bool:
    return process.is_graphics and (process.memory_bytes or 0) < SMALL_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether something counts as there, which it does some time after it came, until some time after it went."""

    is_there: bool = False
    since: datetime | None = None  # when it was first seen to be otherwise, without a break

    def after(self, is_seen: bool, at: datetime, comes_after: timedelta, goes_after: timedelta) -> "Presence":
        """Return what holds now that it is seen, or not, at an instant."""
        if is_seen == self.is_there:
            return self if self.since is None else replace(self, since=None)
        since = at if self.since is None or self.since > at else self.since  # the latter: the clock was set back
        if at - since >= (comes_after if is_seen else goes_after):
            return Presence(is_there=is_seen)
        return replace(self, since=since)


def still_named(named: Sequence[Occupant], occupants: Sequence[Occupant]) -> tuple[Occupant, ...]:
    """Return whom to name as the users of a GPU: those with the most memory, the same for as long as all are there.

    Processes may come and go every moment beside them, and nobody is to plan anew for that.
    """
    if named and set(map(_which, named)) <= set(map(_which, occupants)):
        return tuple(named)
    return tuple(sorted(occupants, key=lambda row: (-(row.memory_bytes or 0), row.pid))[: MOST_NAMED + 1])


def _which(occupant: Occupant) -> tuple[int, str | None, str | None]:
    return occupant.pid, occupant.user, occupant.run


def used_by(name: str, named: Sequence[Occupant]) -> Absence:
    """Return the absence of a GPU that others use."""
    said = [occupant.text for occupant in named[:MOST_NAMED]]
    more = ["others"] if len(named) > MOST_NAMED else []
    text = f"used by {' and '.join([*said, *more])}"
    if any(occupant.in_container and occupant.run is None for occupant in named[:MOST_NAMED]):
        text += f" (if a job started the container, that cannot be told: {TOKEN_ADVICE})"
    return Absence(name=name, code=ReasonCode.GPUS_USED_BY_OTHERS, text=text)


def most_lasting(absences: Collection[Absence]) -> Absence | None:
    """Return the one to name where there are several reasons; None where there is none."""
    return min(absences, key=lambda absence: _LASTING_FIRST.index(absence.code), default=None)


def waits_for(needs: str, have: int, absences: Collection[Absence]) -> Reason:
    """Return why a job waits that needs more than can be used now; there is at least one absence."""
    named: dict[str, list[str]] = {}
    for absence in absences:
        named.setdefault(absence.text, []).append(absence.name)
    said = [f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {text}" for text, names in named.items()]
    first = most_lasting(absences)
    assert first is not None
    return because(first.code, needs=needs, have=f"{have or 'none'} can be used now", who="; ".join(said))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
