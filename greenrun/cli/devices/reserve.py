"""`greenrun reserve`: keep GPUs from jobs for a span of time, and list and end such reservations."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from greenrun.cli.command import USAGE, Command, Group, LocalError
from greenrun.cli.options import OptionReader, connect, daemon_options, print_json, whole
from greenrun.cli.tables import Column, print_table
from greenrun.cli.text import instant, printable
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text, iso_text
from greenrun.submission.local_zone import local_zone
from greenrun.submission.times import parse_duration, parse_instant

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

_COLUMNS = (Column("id"), Column("gpus", wraps=True), Column("from"), Column("to"), Column("for", rank=2),
            Column("by", rank=3), Column("reason", wraps=True, rank=4))  # fmt: skip


class _Group(Command, Group):
    """A group that reserves by itself, where no command of its own is named."""


class _Asked(NamedTuple):
    """The options as they were given."""

    number: str | None
    gpus: Sequence[str]
    start: str | None
    length: str | None
    until: str | None
    for_user: str | None
    reason: str


@click.group("reserve", cls=_Group, invoke_without_command=True)
@click.option("--gpus", "count", metavar="N", help="So many GPUs, those that jobs leave first.")
@click.option("--gpu", "gpus", multiple=True, metavar="ID", help="These, by index or UUID; also 0,1; may be repeated.")
@click.option("--from", "start", metavar="T", help="From when on; default: now.")
@click.option("--for", "length", metavar="D", help="For how long.")
@click.option("--until", "until", metavar="T", help="Until when, instead of --for.")
@click.option("--for-user", "for_user", metavar="NAME", help="Whom it is for, if that is somebody else.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for all who wait.")
@daemon_options
@click.pass_context
def app(
    ctx: click.Context,
    count: str | None,
    gpus: tuple[str, ...],
    start: str | None,
    length: str | None,
    until: str | None,
    for_user: str | None,
    reason: str,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Keep GPUs from jobs for a while, for people who work on them without greenrun.

    Jobs are planned around it: interruptible ones are suspended before it begins, others start only where they are
    expected to end before. What runs there and cannot be suspended goes on. It outlives a restart of the daemon.

    \b
    greenrun reserve --gpus 2 --from 14:00 --for 3h --for-user bob
    greenrun reserve --gpu 0,1 --from "tomorrow 9am" --for 9h --reason "a demo"
    greenrun reserve list
    greenrun reserve end 3
    """
    if ctx.invoked_subcommand is None:
        asked = _Asked(count, gpus, start, length, until, for_user, reason)
        _reserve(connect(ctx, socket, config), asked, as_json=as_json)


def _reserve(client: "ApiClient", asked: _Asked, *, as_json: bool) -> None:
    now, reader = utc_now(), OptionReader()
    read = partial(parse_instant, now=now, zone=local_zone())
    number = reader.read("--gpus", asked.number, whole)
    begins = reader.read("--from", asked.start, read)
    lasts = reader.read("--for", asked.length, parse_duration)
    ends = reader.read("--until", asked.until, read)
    if (asked.length is None) == (asked.until is None):
        reader.refuse("--for", "say how long it lasts (--for 3h) or until when (--until 18:00), and not both")
    if bool(asked.gpus) == (asked.number is not None):
        reader.refuse("--gpus", "say how many GPUs (--gpus 2) or which ones (--gpu 0,1), and not both")
    reader.stop()
    end = ends or (begins or now) + (lasts or timedelta(0))
    row = client.reserve(
        iso_text(end),
        gpus=[name.strip() for text in asked.gpus for name in text.split(",")],
        count=number,
        start=None if begins is None else iso_text(begins),
        for_user=asked.for_user,
        reason=asked.reason,
    )
    if as_json:
        print_json(row)
        return
    for line in _told(client, row, now):
        print(line)


def _told(client: "ApiClient", row: "Answer", now: datetime) -> Iterator[str]:
    """Say what was reserved, and which jobs are on these GPUs."""
    devices = {device["id"]: device for device in client.devices()}
    names = _names(row, devices)
    start, end = instant(row["start"]), instant(row["end"])
    whose = f" for {printable(row['for_user'])}" if row["for_user"] else ""
    begins = "from now" if start <= now else f"from {clock_text(start, now)}"
    are = "is" if len(row["gpus"]) == 1 else "are"
    yield f"reservation {row['id']}: {names} {are} kept from jobs{whose} {begins} to {clock_text(end, now)}"
    jobs = sorted({devices[gpu]["leased_by_job"] for gpu in row["gpus"] if gpu in devices} - {None})
    if jobs:
        listed = ", ".join(map(str, jobs))
        yield (
            f"there now: job{'s' if len(jobs) > 1 else ''} {listed}; what is interruptible is suspended before it "
            "begins, what is not goes on until it ends"
        )
    yield f"`greenrun reserve end {row['id']}` ends it"


def _names(row: "Answer", devices: Mapping[str, Any]) -> str:
    return ", ".join(f"GPU {devices[gpu]['index']}" if gpu in devices else gpu for gpu in row["gpus"])


@app.command("list", cls=Command, short_help="List what is reserved, now or later.")
@daemon_options
@click.pass_context
def list_(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """List what is reserved, now or later; of every week, as it comes next.

    \b
    greenrun reserve list
    """
    client = connect(ctx, socket, config)
    rows = client.reservations()
    if as_json:
        print_json(rows)
        return
    if not rows:
        print("nothing is reserved")
        return
    devices, now = {device["id"]: device for device in client.devices()}, utc_now()
    print_table(_COLUMNS, [_row(row, devices, now) for row in rows])


def _row(row: "Answer", devices: Mapping[str, Any], now: datetime) -> list[str]:
    times = [clock_text(instant(row[edge]), now) for edge in ("start", "end")]
    by = "the settings, every week" if row["repeats"] else printable(row["user"])
    whose = "" if row["for_user"] is None else printable(row["for_user"])
    return [str(row["id"] or printable(row["name"])), _names(row, devices), *times, whose, by, printable(row["reason"])]


@app.command("end", cls=Command, short_help="End reservations, or take them back.")
@click.argument("numbers", metavar="ID...", nargs=-1, required=True)
@daemon_options
@click.pass_context
def end(ctx: click.Context, numbers: tuple[str, ...], as_json: bool, socket: str | None, config: str | None) -> None:
    """End reservations now, or take them back before they begin: jobs are planned there at once.

    Those of the settings end with their line in [devices.reserved].

    \b
    greenrun reserve end 3
    """
    try:
        ids = [whole(number, "a reservation's number; `greenrun reserve list` shows them") for number in numbers]
    except ValueError as exc:
        raise LocalError(str(exc), USAGE) from exc
    client = connect(ctx, socket, config)
    ended = [client.end_reservation(number) for number in dict.fromkeys(ids)]
    if as_json:
        print_json(ended)
        return
    for row in ended:
        print(f"reservation {row['id']} is ended")
