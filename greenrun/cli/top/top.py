"""`greenrun top`: the grid, the plan, the jobs and the GPUs on one screen that stays up to date."""

import click

from greenrun.cli.command import USAGE, Command, LocalError
from greenrun.cli.options import config_option, connect, socket_option
from greenrun.cli.tables import has_styles, output_width
from greenrun.cli.terminal.live_screen import Look, can_be_live, page_of, show_live
from greenrun.cli.top.observation import Observation, look
from greenrun.cli.top.top_frame import frame_lines, head_text, page_lines
from greenrun.clock import utc_now
from greenrun.submission.times import parse_duration

_PLAIN_WIDTH = 100  # in a pipe


@click.command("top", cls=Command)
@click.option("--once", is_flag=True, help="Print it once, as in a pipe.")
@click.option("--interval", metavar="D", default="2s", help="Ask the daemon every D. [default: 2s]")
@socket_option
@config_option
@click.pass_context
def top(ctx: click.Context, once: bool, interval: str, socket: str | None, config: str | None) -> None:
    """Show the carbon intensity now and next, the plan, the GPUs with their power, and the jobs, live.

    q or Ctrl-C leaves. A daemon that goes away is said, and shown again when it is back.

    \b
    greenrun top
    greenrun top --once
    """
    every_s = _seconds(interval)
    client = connect(ctx, socket, config)
    if once or not can_be_live():
        for line in page_lines(look(client), output_width() or _PLAIN_WIDTH):
            print(line)
        return
    show_live(lambda: look(client), _draw, every_s)


def _draw(seen: Look[Observation], width: int, height: int) -> list[str]:
    troubles = 0 if seen.trouble is None else 2
    room = max(4, height - 1 - troubles)
    lines = [] if seen.seen is None else frame_lines(seen.seen, width, room, styled=has_styles())
    if seen.trouble is not None and seen.seen is None:
        lines = ["it is asked again and again: this goes on once it answers"]
    return page_of(head_text(seen.seen, utc_now()), lines, seen, width, height)


def _seconds(interval: str) -> float:
    try:
        return max(0.2, parse_duration(interval).total_seconds())
    except ValueError as exc:
        raise LocalError(f"--interval: {exc}", USAGE) from exc
