"""`greenrun serve`: the only command that loads the daemon."""

import click

from greenrun.cli.command import Command
from greenrun.cli.options import config_option, config_path


@click.command("serve", cls=Command)
@config_option
@click.pass_context
def serve(ctx: click.Context, config: str | None) -> None:
    """Run the daemon in the foreground; it logs to stderr and notifies systemd when it is ready.

    TERM or Ctrl-C ends it; jobs that run go on and are found again at the next start.

    \b
    greenrun serve
    greenrun serve --config ./greenrun.toml
    """
    from greenrun.config import load_config

    settings = load_config(config_path(ctx, config))  # problems in them are reported before the daemon is loaded

    from greenrun.daemon import daemon

    raise click.exceptions.Exit(daemon.serve(settings))
