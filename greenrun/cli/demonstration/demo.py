"""`greenrun demo`: everything at work in a minute, in a temporary folder, without a GPU or an account anywhere."""

import click

from greenrun.cli.command import Command


@click.command("demo", cls=Command)
@click.option("--keep", is_flag=True, help="Leave the daemon and its folder when it is over.")
@click.option("--plain", is_flag=True, help="Print a line per change, also on a terminal.")
def demo(keep: bool, plain: bool) -> None:
    """Watch a real daemon run eight real processes when a made-up grid is clean; it takes little more than a minute.

    The grid is synthetic (a day passes in a minute) and the GPUs are emulated. It needs no settings, uses a temporary
    folder, and leaves nothing behind. The exit code is 0 when every job succeeded and none was late.

    \b
    greenrun demo
    greenrun demo --keep
    """
    from greenrun.cli.demonstration.play import play

    raise click.exceptions.Exit(play(keep=keep, plain=plain))
