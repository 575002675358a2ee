"""`greenrun web`: open the page in a browser, signed in as who one is."""

import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from greenrun.cli.command import Command, LocalError
from greenrun.cli.options import connect, daemon_options, print_json, user_name

if TYPE_CHECKING:
    from greenrun.client.api_client import Answer

_OFF = (
    'the daemon serves no page: [api] metrics is "" in its settings; set it to 127.0.0.1:9753, '
    "then `systemctl reload greenrun` or send the daemon HUP"
)


@click.command("web", cls=Command)
@click.option("--print", "only_print", is_flag=True, help="Print the address, and open nothing.")
@daemon_options
@click.pass_context
def web(ctx: click.Context, only_print: bool, as_json: bool, socket: str | None, config: str | None) -> None:
    """Open the page in a browser, signed in as you.

    The address opens once, within a minute; the browser is then signed in for 12 hours, or until you sign out. Where
    there is no screen, or over ssh, the address is printed instead, with how to reach it from where you are.

    \b
    greenrun web
    greenrun web --print
    """
    ticket = connect(ctx, socket, config).ticket()
    if not ticket["addresses"]:
        raise LocalError(_OFF)
    base = str(ticket["addresses"][0])
    address = sign_in_address(ticket)
    if as_json:
        print_json({"address": address, "expires_at": ticket["expires_at"]})
        return
    is_far = "SSH_CONNECTION" in os.environ or not ({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    if not only_print and not is_far and _is_opened(address):
        print(f"opened {base} in a browser, signed in as {user_name()}")
        return
    print(address, flush=True)
    _tell("it opens once, within a minute, and signs a browser in for 12 hours")
    if is_far:
        _tell(f"from another machine, first: {_forwarding(base)}")


def sign_in_address(ticket: "Answer") -> str:
    """Return the address that a ticket opens, where the page is served."""
    return f"{ticket['addresses'][0]}/sign-in?ticket={ticket['ticket']}"


def _is_opened(address: str) -> bool:
    """Open it; say whether a browser was found. That others see its command line is why a ticket knows its user."""
    import webbrowser

    return webbrowser.open(address)


def _forwarding(base: str) -> str:
    import platform

    place = urlsplit(base)
    return f"ssh -L {place.port}:{place.netloc} {user_name()}@{platform.node() or 'HOST'}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
