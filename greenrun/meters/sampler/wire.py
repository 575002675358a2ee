"""The protocol between a sampler process and its parent: one JSON object a line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from greenrun.core.energy.model import Component, Device, GpuProcess, GpuUse, Quality, Reading, Telemetry
from greenrun.meters.settings import ConstantSettings, EmulatedSettings, ExternalSettings, MeterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a sampler process has to read, passed as its only argument."""

    kind: str
    settings: MeterSettings
    runs_dir: Path
    state_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message of a sampler process: its devices (once, first) with `notes` on them, a refusal (instead), or readings.

    `poke` is the last poke received before the readings; `trouble` says why there are no readings. `troubles` counts
    reading errors by device and cause since the process started; None: unchanged since the last message. `telemetry`
    and `gpu_uses` are what is new since the last message.
    """

    devices: tuple[Device, ...] | None = None
    notes: tuple[str, ...] = ()
    refusal: str | None = None
    readings: tuple[Reading, ...] = ()
    poke: int = 0
    trouble: str | None = None
    troubles: Mapping[str, Mapping[str, int]] | None = None
    telemetry: Mapping[str, Telemetry] = field(default_factory=dict)
    gpu_uses: Mapping[str, GpuUse] = field(default_factory=dict)


def pack_request(request: Request) -> str:
    """Return a request as JSON."""
    return json.dumps(asdict(request), default=str)


def unpack_request(text: str) -> Request:
    """Return the request that `pack_request` packed."""
    fields = json.loads(text)
    settings = fields["settings"]
    constant = settings["constant"]
    return Request(
        kind=fields["kind"],
        settings=MeterSettings(
            kinds=tuple(settings["kinds"]),
            include=tuple(settings["include"]),
            emulated=_emulated(settings["emulated"]),
            constant=ConstantSettings(**constant) if constant else None,
            cpu_kinds=tuple(settings["cpu_kinds"]),
            powercap=Path(settings["powercap"]),
            external=tuple(_external(each) for each in settings["external"]),
            exclude=tuple(settings["exclude"]),
            excluded_energy=settings["excluded_energy"],
            shared=settings["shared"],
            unlowered_w=settings["unlowered_w"],
        ),
        runs_dir=Path(fields["runs_dir"]),
        state_dir=Path(fields["state_dir"]),
    )


def _emulated(fields: Mapping[str, Any]) -> EmulatedSettings:
    return EmulatedSettings(**{**fields, "mig": {index: tuple(row) for index, row in fields["mig"].items()}})


def _external(fields: Mapping[str, Any]) -> ExternalSettings:
    file = fields["header_file"]
    return ExternalSettings(
        **{**fields, "command": tuple(fields["command"]), "header_file": Path(file) if file else None}
    )


def pack(message: Message) -> bytes:
    """Return a message as one line."""
    return json.dumps(message, default=_plain).encode() + b"\n"


def _plain(value: Any) -> object:
    """Return an instant, or the fields of a slotted dataclass: `asdict` is several times slower, every second."""
    if isinstance(value, datetime):
        return value.isoformat()
    return {name: getattr(value, name) for name in value.__slots__}


def unpack(line: bytes) -> Message:
    """Return the message in one line; raise ValueError for anything else."""
    try:
        fields: Mapping[str, Any] = json.loads(line)
        devices = fields["devices"]
        return Message(
            devices=None if devices is None else tuple(_device(each) for each in devices),
            notes=tuple(fields["notes"]),
            refusal=fields["refusal"],
            readings=_readings(fields["readings"]),
            poke=fields["poke"],
            trouble=fields["trouble"],
            troubles=fields["troubles"],
            telemetry={device: Telemetry(**values) for device, values in fields["telemetry"].items()},
            gpu_uses={device: _use(values) for device, values in fields["gpu_uses"].items()},
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f"not a sampler's message: {line[:100]!r}") from exc


def _device(fields: Mapping[str, Any]) -> Device:
    instance = fields["instance"] and tuple(fields["instance"])
    return Device(**{**fields, "kind": Component(fields["kind"]), "instance": instance})


def _use(fields: Mapping[str, Any]) -> GpuUse:
    told = fields["processes"]
    processes = None if told is None else tuple(GpuProcess(**row) for row in told)
    return GpuUse(at=datetime.fromisoformat(fields["at"]), processes=processes, fault=fields["fault"])


def _readings(rows: Sequence[Mapping[str, Any]]) -> tuple[Reading, ...]:
    return tuple(
        Reading(**{**row, "at": datetime.fromisoformat(row["at"]), "quality": Quality(row["quality"])}) for row in rows
    )
