"""`greenrun config example|units|dashboards`: the files that come with greenrun, wherever it was installed."""

from collections.abc import Sequence
from pathlib import Path

import click

from greenrun.cli.command import NOT_FOUND, USAGE, Command, LocalError
from greenrun.cli.options import json_option, print_json
from greenrun.cli.output import write_whole
from greenrun.cli.tables import print_table
from greenrun.packaged import DASHBOARDS, EXAMPLE, UNITS, PackagedFile, text_of

name_argument = click.argument("name", required=False)
output_option = click.option(
    "--output", metavar="FOLDER", help="Write all of them there; a file that differs is not overwritten."
)


@click.command("example", cls=Command, short_help="Print a settings file that explains every setting.")
def example() -> None:
    """Print a settings file with every setting, its default and what it does; `greenrun init` writes a short one.

    \b
    greenrun config example | less
    """
    print(text_of(EXAMPLE), end="")


@click.command("units", cls=Command, short_help="List, print or write the units for systemd.")
@name_argument
@output_option
@json_option
def units(name: str | None, output: str | None, as_json: bool) -> None:
    """List the units for systemd that come with greenrun and what they are for; with a NAME print that one.

    \b
    greenrun config units
    greenrun config units greenrun.service
    greenrun config units --output ~/units
    """
    _give(UNITS, name, output, as_json=as_json)


@click.command("dashboards", cls=Command, short_help="List, print or write the rules and dashboards.")
@name_argument
@output_option
@json_option
def dashboards(name: str | None, output: str | None, as_json: bool) -> None:
    """List the rules for Prometheus and the dashboards for Grafana that come with greenrun; with a NAME print that one.

    \b
    greenrun config dashboards
    greenrun config dashboards alerts.yml
    greenrun config dashboards --output ~/greenrun-monitoring
    """
    _give(DASHBOARDS, name, output, as_json=as_json)


def _give(files: Sequence[PackagedFile], name: str | None, output: str | None, *, as_json: bool) -> None:
    if name and output:
        raise LocalError("name a file to print it, or --output to write all of them, not both", USAGE)
    if output:
        written = write_files(files, Path(output).expanduser())
        print_json([str(path) for path in written]) if as_json else print(*map(str, written), sep="\n")
    elif name:
        print(_named(files, name).text, end="")
    elif as_json:
        print_json([{"name": each.name, "path": str(each.path), "about": each.about} for each in files])
    else:
        print_table(("name", "what for", "where"), [(each.name, each.about, str(each.path)) for each in files])


def _named(files: Sequence[PackagedFile], name: str) -> PackagedFile:
    for each in files:
        if each.name == name:
            return each
    raise LocalError(f"there is no '{name}' among them; they are {', '.join(each.name for each in files)}", NOT_FOUND)


def write_files(files: Sequence[PackagedFile], folder: Path) -> list[Path]:
    """Write the files into a folder and return their paths; raise LocalError, and write none, if one differs there."""
    targets = {folder / each.name: each.text for each in files}
    differing = [path for path, text in targets.items() if path.exists() and _content(path) != text]
    if differing:
        raise LocalError(
            f"{', '.join(map(str, differing))} would be overwritten, so nothing was written: move them away, "
            "or name another folder",
            USAGE,
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in targets.items():
        write_whole(path, text)
    return list(targets)


def _content(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
