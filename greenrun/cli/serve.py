"""`greenrun serve`: the only command that loads the daemon."""

import click

from greenrun.cli.command import Command
from greenrun.cli.options import config_option, config_path


@click.command("serve", cls=Command)
@click.option("--detach", is_flag=True, help="Start it in the background; return once it is ready, or say why not.")
@config_option
@click.pass_context
def serve(ctx: click.Context, detach: bool, config: str | None) -> None:
    """Run the daemon in the foreground; it logs to stderr and notifies systemd when it is ready.

    TERM or Ctrl-C ends it; jobs that run go on and are found again at the next start. HUP has it read its settings
    again: all of them, or none where one cannot be used, which the log tells. With --detach it runs in the
    background, and logs to daemon.log in the state folder.

    \b
    greenrun serve
    greenrun serve --detach
    greenrun serve --config ./greenrun.toml
    """
    from greenrun.config import load_config

    settings = load_config(config_path(ctx, config))  # problems in them are reported before the daemon is loaded
    if detach:
        from greenrun.cli.setup import detached

        log = settings.paths.state / "daemon.log"
        pid = detached.start(settings.read_from, settings.api.socket, log)
        print(f"the daemon runs as process {pid} and logs to {log}; `kill {pid}` ends it, running jobs go on")
        return

    from greenrun.daemon import main_loop

    raise click.exceptions.Exit(main_loop.serve(settings))
