"""`greenrun stray-runs`: show the runs that are alive and that the database does not know, and end them."""

from typing import TYPE_CHECKING

import click

from greenrun.cli.command import OK, USAGE, Command, LocalError, print_error
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.tables import print_table
from greenrun.cli.text import printable

_MOST_NAMED = 10

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient


@click.command("stray-runs", cls=Command)
@click.option("--end", "labels", metavar="RUN", multiple=True, help="Have this one stopped; may be repeated.")
@click.option("--end-all", is_flag=True, help="Have all of them stopped.")
@daemon_options
@click.pass_context
def stray_runs(
    ctx: click.Context, labels: tuple[str, ...], end_all: bool, as_json: bool, socket: str | None, config: str | None
) -> None:
    """List the runs that are alive and that the database does not know, with what they hold.

    They are left when the database is moved away, or an older copy of it put in its place, while jobs run. They go on,
    and keep their GPUs and CPU slots, until they end or are ended: TERM, their grace, then KILL.

    With --json, one object per line.

    \b
    greenrun stray-runs
    greenrun stray-runs --end 12.1
    """
    if labels and end_all:
        raise LocalError("--end-all ends all of them, so it stands alone", USAGE)
    client = connect(ctx, socket, config)
    if not labels and not end_all:
        _show(client.stray_runs(), as_json)
        return
    chosen = labels or tuple(row["run"] for row in client.stray_runs())
    codes = [_end(client, label, as_json) for label in dict.fromkeys(chosen)]
    if not codes and not as_json:
        print("no stray runs")
    raise click.exceptions.Exit(next((code for code in codes if code), OK))


def stray_notes(client: "ApiClient") -> list[str]:
    """Return a line on the runs that no list of jobs has; nothing where there are none, or no daemon that knows."""
    from greenrun.client import NotFound

    try:
        rows = client.stray_runs()
    except NotFound:
        return []
    if not rows:
        return []
    few = ", ".join(row["run"] for row in rows[:_MOST_NAMED]) + (", ..." if len(rows) > _MOST_NAMED else "")
    held = list(dict.fromkeys(device for row in rows for device in row["devices"]))
    holding = f", holding {', '.join(held)}" if held else ""
    are = f"{len(rows)} runs that are alive are" if len(rows) > 1 else "A run that is alive is"
    return [printable(f"{are} in no database of this daemon ({few}){holding}: see `greenrun stray-runs`.")]


def _show(rows: "list[Answer]", as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row)
    elif not rows:
        print("no stray runs")
    else:
        table = [[row["run"], _since(row), ", ".join(row["devices"]) or "a CPU slot", row["folder"]] for row in rows]
        print_table(["run", "since", "holds", "folder"], table)


def _since(row: "Answer") -> str:
    from greenrun.cli.text import instant
    from greenrun.clock import utc_now
    from greenrun.core.formatting import clock_text

    return clock_text(instant(row["started_at"]), utc_now()) if row["started_at"] else "unknown"


def _end(client: "ApiClient", label: str, as_json: bool) -> int:
    from greenrun.client import ClientError

    try:
        done = client.end_stray_run(label)
    except ClientError as error:
        return print_error(error, as_json=as_json)
    print_json(done) if as_json else print(f"stray run {label} is being stopped")
    return OK
