"""`greenrun history`: import past values from a file, or have the daemon fetch them from its sources."""

import sys
from pathlib import Path

import click

from greenrun.cli.command import Command, Group
from greenrun.cli.options import connect, daemon_options


@click.group("history", cls=Group, no_args_is_help=True)
def app() -> None:
    """Add to what is known of the past."""


@app.command("import", cls=Command, short_help="Add what a CSV file holds.")
@click.argument("file", metavar="FILE")
@click.option("--zone", metavar="ZONE", help="The zone; else the file's, or the daemon's.")
@click.option("--provider", metavar="NAME", help="Whose values they are; else the file's own name.")
@click.option("--signal", metavar="WHAT", help="What they answer: average or marginal.")
@click.option("--accounting", metavar="WHAT", help="Whose power they count: production, consumption.")
@click.option("--basis", metavar="WHAT", help="Which emissions they count: lifecycle or direct.")
@daemon_options
@click.pass_context
def import_file(
    ctx: click.Context,
    file: str,
    zone: str | None,
    provider: str | None,
    signal: str | None,
    accounting: str | None,
    basis: str | None,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Add the values of a CSV file to what the daemon learns from: FILE is as a provider of kind "file" reads it.

    With the columns start,g_per_kwh (or the Electricity Maps portal's) these are measured values; with
    issued_at,start,g_per_kwh forecasts as they were issued, which the daemon learns to weigh. Name the configured
    provider whose own numbers they are, and they join its series; else they stay a series of their own, because
    numbers that count different things are never mixed. A second time changes nothing. Only root and the daemon's own
    user may do this.

    \b
    greenrun history import uk-2026.csv --provider uk
    """
    from greenrun.cli.grid import history_import

    options = history_import.SeriesOptions(
        zone=zone, provider=provider, signal=signal, accounting=accounting, basis=basis
    )
    history_import.run(connect(ctx, socket, config), Path(file).expanduser(), options, as_json=as_json)


@app.command("fetch", cls=Command, short_help="Ask the sources for the past.")
@click.option("--from", "start", metavar="T", help="From when on: 2026-06-01, '2026-06-01 09:00'.")
@click.option("--to", "end", metavar="T", help="Up to when. [default: now]")
@click.option("--zone", metavar="ZONE", help="The zone; else the configured one.")
@click.option("--provider", metavar="NAME", help="Which source to ask; else the history's own, in turn.")
@daemon_options
@click.pass_context
def fetch(
    ctx: click.Context,
    start: str | None,
    end: str | None,
    zone: str | None,
    provider: str | None,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Have the daemon ask for what was measured, a week at a time from the latest back, and keep it.

    It goes back until a source refuses, skips weeks that a source cannot provide now, and lists them. What was
    fetched stays, also when this is interrupted. It counts against the sources' limits. Only root and the daemon's own
    user may do this.

    \b
    greenrun history fetch --from 2026-06-01
    greenrun history fetch --from 2026-06-01 --to 2026-07-01 --provider uk
    """
    from greenrun.cli.grid import history_fetch

    client = connect(ctx, socket, config)
    history_fetch.run(
        client, history_fetch.span(start, end), zone, provider, as_json=as_json, shows=sys.stderr.isatty()
    )
