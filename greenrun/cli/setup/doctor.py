"""`greenrun doctor`: look at everything that greenrun needs of this machine, and say how to mend the rest."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from greenrun.cli.command import FAILED, OK, Command
from greenrun.cli.options import chosen, config_path, daemon_options, print_json
from greenrun.cli.terminal.log_lines import log_to_stderr
from greenrun.cli.text import printable
from greenrun.clock import utc_now
from greenrun.core.formatting import count_text, localized_text
from greenrun.paths import find_socket

if TYPE_CHECKING:
    from greenrun.doctor.finding import Finding

_WIDTH = len("warning")


@click.command("doctor", cls=Command)
@click.option("--problems", "only_problems", is_flag=True, help="Leave out what is well.")
@daemon_options
@click.pass_context
def doctor(ctx: click.Context, only_problems: bool, as_json: bool, socket: str | None, config: str | None) -> None:
    """Look at everything that greenrun needs of this machine, with or without a daemon; each problem has its remedy.

    Environment, settings, the daemon's own health, permissions, disk, GPUs and how they are read, CPU counters, sources
    (each is asked once), metrics, clock, descriptors, and the systemd unit. Exits with 1 where something has failed; a
    warning is worth a look and fails nothing.

    \b
    greenrun doctor
    greenrun doctor --problems
    greenrun doctor --json
    """
    from greenrun.doctor.examine import examine
    from greenrun.doctor.finding import Status, worst

    log_to_stderr()
    where = find_socket(chosen(ctx, "socket", socket), chosen(ctx, "config", config))
    found = []
    for each in examine(config_path(ctx, config), where, utc_now()):
        found.append(each)
        if not as_json and (not only_problems or each.status is not Status.OK):
            print(*_lines(each), sep="\n", flush=True)
    status = worst(found)
    if as_json:
        print_json({"status": status.value, "checks": [asdict(each) for each in found]})
    else:
        failures, warnings = (sum(each.status is level for each in found) for level in (Status.FAILED, Status.WARNING))
        counted = f"{count_text(failures, 'failure')} and {count_text(warnings, 'warning')}"
        print(f"{count_text(len(found), 'check')}: {counted}")
    raise click.exceptions.Exit(FAILED if status is Status.FAILED else OK)


def _lines(finding: "Finding") -> Iterator[str]:
    yield f"{finding.status.value:<{_WIDTH}}  {finding.area.value}: {printable(localized_text(finding.text))}"
    if finding.remedy:
        yield f"{'':<{_WIDTH}}  -> {printable(finding.remedy)}"
