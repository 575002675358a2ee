"""`greenrun drain` and `greenrun resume`: keep new jobs from this machine, or from some of its GPUs, for a while."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from greenrun.cli.command import Command
from greenrun.cli.devices.overview import drained_text
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.clock import utc_now

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

_GPU = click.option(
    "--gpu", "gpus", multiple=True, metavar="ID", help="This GPU only, by index or UUID; also 0,1, and may be repeated."
)


@click.command("drain", cls=Command)
@_GPU
@click.option("--reason", default="", metavar="TEXT", help="Why, for all who wait.")
@daemon_options
@click.pass_context
def drain(
    ctx: click.Context, gpus: tuple[str, ...], reason: str, as_json: bool, socket: str | None, config: str | None
) -> None:
    """Start no more jobs on this machine, or on some of its GPUs, until it is resumed; what runs goes on.

    It stays drained over a restart of the daemon. Prints all that is drained then.

    \b
    greenrun drain --reason "kernel update at 6pm"
    greenrun drain --gpu 1 --reason "replacing the fan"
    """
    client = connect(ctx, socket, config)
    _print(client, client.drain(_names(gpus), reason), as_json)


@click.command("resume", cls=Command)
@_GPU
@daemon_options
@click.pass_context
def resume(ctx: click.Context, gpus: tuple[str, ...], as_json: bool, socket: str | None, config: str | None) -> None:
    """Let jobs start again on all that is drained, or on some GPUs. Prints what is drained then.

    \b
    greenrun resume
    greenrun resume --gpu 1
    """
    client = connect(ctx, socket, config)
    _print(client, client.resume(_names(gpus)), as_json)


def _names(given: Sequence[str]) -> list[str]:
    return [name.strip() for text in given for name in text.split(",")]


def _print(client: "ApiClient", drains: "Sequence[Answer]", as_json: bool) -> None:
    if as_json:
        print_json(drains)
        return
    if not drains:
        print("nothing is drained: jobs start as planned")
        return
    devices = client.devices()
    names = {device["id"]: f"GPU {device['index']}" for device in devices}
    for row in drains:
        running = [
            str(device["leased_by_job"])
            for device in devices
            if device["leased_by_job"] and row["gpu"] in (None, device["id"])
        ]
        jobs = list(dict.fromkeys(running))
        goes_on = (
            f"; job{'s' if len(jobs) > 1 else ''} {', '.join(jobs)} run{'s' if len(jobs) == 1 else ''} on"
            if jobs
            else ""
        )
        what = "the machine" if row["gpu"] is None else names.get(row["gpu"], row["gpu"])
        print(f"{what} is {drained_text(row, utc_now())}{goes_on}")
