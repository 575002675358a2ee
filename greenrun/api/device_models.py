"""The JSON of devices: who has them, who else uses them, and on which nothing is started."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from greenrun.api.job_models import ReasonOut
from greenrun.api.json_types import RequestInstant, RequestModel, ResponseInstant, ResponseModel, attributes
from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.model import Component, Device
from greenrun.core.jobs.availability import MACHINE, Absence, GpuState
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.reasons import ReasonCode

MOST_GPUS = 4096

Name = Annotated[str, Field(min_length=1, max_length=200)]
Why = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ProcessOut(ResponseModel):
    """A process on a GPU that is not of the run which holds it; `user` is null where that cannot be told.

    `run` is the label of a run that left it behind, or that uses a GPU it was not given; of a process `in_container` it
    cannot always be told whether a run started it.
    """

    pid: int
    user: str | None
    memory_bytes: int | None
    run: str | None
    in_container: bool


class DeviceOut(ResponseModel):
    """A device of this host, and who has it: a run of this daemon, or somebody outside it.

    `available` says whether jobs may be started on a GPU once nobody has it, and `unavailable` why not. `processes` are
    those on it that are not of the run which holds it, as last seen; null where that cannot be told. `idle_power_w` is
    what a GPU draws while nobody holds it, learned of the last 28 days; null until that is known. `power_w` is what it
    drew when it was last asked, in the last seconds; null where it cannot say. `reserved_next` says for whom and when
    a GPU is reserved next, if it is. A board that `is_divided` is leased in parts, each of which is `part_of` it and
    tells no power; it is `leased` while one of them is, and `available` is null, as of what is no GPU: no job gets all
    of it. `name` is what people call a device. Of a job that is hidden from the caller it is only told that the device
    is `leased`.
    """

    id: str
    index: int
    name: str
    part_of: str | None
    is_divided: bool
    model: str
    kind: Component
    source: str
    emulated: bool
    memory_bytes: int | None
    leased: bool
    leased_by_job: int | None
    leased_by_run: str | None
    held_elsewhere: str | None
    available: bool | None
    unavailable: list[ReasonOut]
    processes: list[ProcessOut] | None
    idle_power_w: float | None
    power_w: float | None
    reserved_next: str | None


def _gpu(device: Any) -> Any:
    return None if device == MACHINE else device


class DrainOut(ResponseModel):
    """What is drained: a GPU by its id, or (`gpu` null) the whole machine; as whose wish, since when and why."""

    gpu: Annotated[str | None, BeforeValidator(_gpu)] = Field(validation_alias="device")
    user: str
    since: ResponseInstant
    reason: str


class DrainIn(RequestModel):
    """Which GPUs to drain, by index, UUID or the beginning of one; none: the whole machine. `reason` is for others."""

    gpus: Annotated[list[Name], Field(max_length=MOST_GPUS)] = Field(default_factory=list)
    reason: Why = ""


class ResumeIn(RequestModel):
    """Which GPUs to resume, by index, UUID or the beginning of one; none: all that is drained."""

    gpus: Annotated[list[Name], Field(max_length=MOST_GPUS)] = Field(default_factory=list)


class ReservationOut(ResponseModel):
    """GPUs that no job gets from `start` to `end`: made by `user`, for `for_user` where that is somebody else, and why.

    One of the settings, which `repeats` every week, has a name and no id; its times are those of now or next.
    """

    id: int | None
    name: str
    gpus: list[str]
    start: ResponseInstant
    end: ResponseInstant
    user: str | None
    for_user: str | None
    reason: str
    repeats: bool


class ReservationIn(RequestModel):
    """What to reserve: GPUs by index, UUID or the beginning of one, or else how many (`count`); from when to when.

    `start` is now where it is not given. `for_user` is whom it is for, if that is somebody else.
    """

    gpus: Annotated[list[Name], Field(max_length=MOST_GPUS)] = Field(default_factory=list)
    count: Annotated[int, Field(ge=1, le=MOST_GPUS)] | None = None
    start: RequestInstant | None = None
    end: RequestInstant
    for_user: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None
    reason: Why = ""


def devices_out(
    devices: Sequence[Device],
    live: Sequence[Run],
    elsewhere: Mapping[str, str],
    idle_w: Mapping[str, float],
    power_w: Mapping[str, float],
    state_of: Callable[[Device], GpuState],
) -> list[DeviceOut]:
    """Return the devices with who has them: one of the `live` runs, or somebody outside this daemon."""
    holders = {device: run for run in live for device in run.devices}
    in_parts = set(map(board_of, holders))
    return [
        _device_out(
            device,
            holders.get(device.id),
            held_elsewhere=elsewhere.get(device.id),
            powers={"idle_power_w": idle_w.get(device.id), "power_w": power_w.get(device.id)},
            state=state_of(device) if device.kind is Component.GPU else None,
            in_parts=device.is_divided and device.id in in_parts,
        )
        for device in devices
    ]


def _device_out(
    device: Device,
    holder: Run | None,
    *,
    held_elsewhere: str | None,
    powers: Mapping[str, float | None],
    state: GpuState | None,
    in_parts: bool,
) -> DeviceOut:
    held = [f"held by {held_elsewhere}"] if held_elsewhere else []
    absences = [*(state.absences if state else ()), *(_held(device, text) for text in held)]
    fields: dict[str, Any] = {"leased": holder is not None or in_parts, "name": device.name}
    fields |= {"part_of": device.within if device.part else None}
    fields |= {"leased_by_job": holder and holder.job_id, "leased_by_run": holder and holder.label}
    fields |= {"held_elsewhere": held_elsewhere, **powers, "unavailable": absences}
    fields |= {"reserved_next": state and state.reserved_next}
    is_whole = state is not None and not device.is_divided
    fields |= {"available": not absences if is_whole else None, "processes": state and state.occupants}
    return DeviceOut.model_validate({**attributes(device), **fields})


def _held(device: Device, text: str) -> Absence:
    return Absence(name=f"GPU {device.name}", code=ReasonCode.GPUS_HELD_ELSEWHERE, text=text)
