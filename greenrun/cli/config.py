"""`greenrun config`: check, show and find the settings, and get the files that come with greenrun."""

import json

import click

from greenrun.cli.command import Command, Group
from greenrun.cli.options import config_option, config_path, json_option, print_json
from greenrun.cli.setup.packaged_files import dashboards, example, units
from greenrun.paths import find_config, find_socket, find_state


@click.group("config", cls=Group, no_args_is_help=True)
def app() -> None:
    """Check, show and find the settings, and get the files that come with greenrun."""


@app.command("check", cls=Command, short_help="Report every problem of the settings.")
@json_option
@config_option
@click.pass_context
def check(ctx: click.Context, as_json: bool, config: str | None) -> None:
    """Read the settings as the daemon would, and report every problem at once (exit code 78).

    \b
    greenrun config check --config ./greenrun.toml
    """
    from greenrun.config import load_config

    found = load_config(config_path(ctx, config)).read_from
    if as_json:
        print_json({"config": str(found) if found else None, "problems": []})
    else:
        print(f"{found or 'no settings file, so the defaults'}: good")


@app.command("show", cls=Command, short_help="Show the settings in effect.")
@json_option
@config_option
@click.pass_context
def show(ctx: click.Context, as_json: bool, config: str | None) -> None:
    """Show the settings in effect: the file's, the environment's and the defaults.

    \b
    greenrun config show --json
    """
    from greenrun.config import load_config

    effective = load_config(config_path(ctx, config)).effective()
    if as_json:
        print_json({key: {"value": setting.value, "origin": setting.origin} for key, setting in effective.items()})
        return
    for key, setting in effective.items():
        print(f"{key} = {_shown(setting.value)}" + ("" if setting.origin == "default" else f"   # {setting.origin}"))


@app.command("path", cls=Command, short_help="Show where settings, socket and state are.")
@json_option
@config_option
@click.pass_context
def path(ctx: click.Context, as_json: bool, config: str | None) -> None:
    """Show where the settings, the socket and the state are.

    \b
    greenrun config path
    """
    named = config_path(ctx, config)
    found = find_config(named)
    places = {
        "config": str(found) if found else None,
        "socket": str(find_socket(None, named)),
        "state": str(find_state(named)),
    }
    if as_json:
        print_json(places)
        return
    for name, place in places.items():
        print(f"{name + ':':<8} {place or 'none found, so the defaults'}")


for _command in (example, units, dashboards):
    app.add_command(_command)


def _shown(value: object) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)
