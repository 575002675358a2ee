"""`greenrun devices`: what there is, who has it, who else uses it, and why no job may be started there."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.tables import Column, print_table
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text, localized_text, memory_text

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

_COLUMNS = (Column("device"), Column("model", rank=2, least=8), Column("memory", right=True, rank=3), Column("job"),
            Column("state", wraps=True))  # fmt: skip


@click.command("devices", cls=Command)
@daemon_options
@click.pass_context
def devices(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """Show the devices of the daemon's machine, who has them, who else uses them, and why no job may be started there.

    \b
    greenrun devices
    """
    client = connect(ctx, socket, config)
    answer = client.devices()
    if as_json:
        print_json(answer)
        return
    drains = client.drains()
    whole = next((row for row in drains if row["gpu"] is None), None)
    if whole:
        print(f"The machine is {drained_text(whole, utc_now())}; no job is started, and what runs goes on.")
    rows = [_row(device, drains, utc_now()) for device in answer]
    print_table(_COLUMNS, rows) if rows else print("The daemon knows no devices.")


def drained_text(drain: Mapping[str, Any], now: datetime) -> str:
    """Say as whose wish, since when and why something is drained: `drained by ada since 10:02: replacing the fan`."""
    why = f": {text.printable(drain['reason'])}" if drain["reason"] else ""
    return f"drained by {text.printable(drain['user'])} since {clock_text(text.instant(drain['since']), now)}{why}"


def gpu_notes(client: "ApiClient", now: datetime) -> list[str]:
    """Return a sentence for each GPU on which no job may be started for now, or that others use beside a job.

    A daemon of an earlier release tells nothing of that.
    """
    from greenrun.client import NotFound

    try:
        devices, drains = client.devices(), client.drains()
    except NotFound:
        return []
    whole = [f"The machine is {drained_text(row, now)}." for row in drains if row["gpu"] is None]
    said = ((_name(device), list(_state(device, drains, now))) for device in devices if not _is_excluded(device))
    return [*whole, *(f"{name} is {', '.join(parts)}." for name, parts in said if parts)]


def _is_excluded(device: "Answer") -> bool:
    """Whether the settings keep all jobs from it for good, which is no news."""
    return any(reason["code"] == "excluded" for reason in device["unavailable"])


def _row(device: "Answer", drains: "Sequence[Answer]", now: datetime) -> list[str]:
    away = list(_state(device, drains, now))
    ahead = [text.printable(localized_text(device["reserved_next"], now))] if device.get("reserved_next") else []
    job, is_gpu = device["leased_by_job"], device["kind"] == "gpu"
    is_leased = bool(job or device.get("leased"))
    state = "in use" if is_leased else "free"
    if device.get("is_divided"):
        is_leased, state = True, "given out in parts"
    return [
        _name(device),
        text.printable(device["model"]),
        "" if device["memory_bytes"] is None else memory_text(device["memory_bytes"]),
        str(job or ""),
        ", ".join([*([state] if is_leased or not away else []), *away, *ahead]) if is_gpu else "",
    ]


def _name(device: "Answer") -> str:
    return f"GPU {device.get('name', device['index'])}" if device["kind"] == "gpu" else str(device["id"])


def _state(device: "Answer", drains: "Sequence[Answer]", now: datetime) -> Iterator[str]:
    """Yield what keeps jobs from a GPU, with local times, and who uses it."""
    own = next((row for row in drains if row["gpu"] in (device["id"], device.get("part_of") or device["id"])), None)
    if own:
        yield drained_text(own, now)
    for reason in device["unavailable"]:
        if reason["code"] not in ("drained", "gpus_used_by_others"):
            yield text.printable(localized_text(reason["text"], now))
    processes = device["processes"] or []
    is_away = any(reason["code"] == "gpus_used_by_others" for reason in device["unavailable"])
    if processes:
        yield f"used by {' and '.join(map(_process, processes))}"
    elif is_away:
        yield "kept free for some seconds, since others used it"


def _process(process: Mapping[str, Any]) -> str:
    whose = f"run {process['run']}" if process["run"] else process["user"]
    named = f"process {process['pid']} of {text.printable(str(whose)) if whose else 'a user who cannot be seen'}"
    named += " in a container" if process.get("in_container") and not process["run"] else ""
    size = process["memory_bytes"]
    return named if size is None else f"{named} ({memory_text(size)})"
