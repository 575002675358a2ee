"""The options that many commands share, and what is made of them: a client, printed JSON, a job's id."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from greenrun.cli.command import USAGE, LocalError
from greenrun.cli.terminal.encoding import is_unicode
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.paths import find_socket

if TYPE_CHECKING:
    from greenrun.client import ApiClient

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Read = TypeVar("Read")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, just as the API gives it.")
socket_option = click.option(
    "--socket", metavar="PATH", help="The daemon's socket (else GREENRUN_SOCKET, the settings)."
)
config_option = click.option(
    "--config", metavar="FILE", help="The settings file (else GREENRUN_CONFIG, the usual places)."
)


def daemon_options(command: Decorated) -> Decorated:
    """Give a command that asks the daemon its options --json, --socket and --config."""
    return json_option(socket_option(config_option(command)))


def chosen(ctx: click.Context, name: str, given: str | None) -> str | None:
    """Return a global option: as given after the verb, else as given before it."""
    before = ctx.find_root().params.get(name)
    return given or (str(before) if before else None)


def connect(ctx: click.Context, socket: str | None, config: str | None) -> "ApiClient":
    """Return a client of the daemon that these options and the environment name."""
    from greenrun.client import ApiClient
    from greenrun.client.tcp_place import find_tcp_place

    place = None if chosen(ctx, "socket", socket) else find_tcp_place()
    return ApiClient(place or find_socket(chosen(ctx, "socket", socket), chosen(ctx, "config", config)))


def config_path(ctx: click.Context, config: str | None) -> Path | None:
    """Return the settings file that was named, if one was."""
    named = chosen(ctx, "config", config)
    return Path(named).expanduser() if named else None


def print_json(answer: Any) -> None:
    """Print an answer of the API unchanged, on one line; in ASCII where the output takes no more."""
    print(json.dumps(answer, ensure_ascii=not is_unicode()), flush=True)


def user_name() -> str:
    """Return the name of the user who runs this, as the daemon knows it; raise KeyError."""
    import os
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def job_id(text: str) -> int:
    """Read a job's number; raise LocalError when it is none."""
    try:
        return whole(text, "a job's number; `greenrun list` shows them")
    except ValueError as exc:
        raise LocalError(str(exc), USAGE) from exc


def whole(text: str, what: str = "a whole number from 1 up") -> int:
    """Read a number from 1 up, as large as the API takes; raise ValueError naming what was expected."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 2**63):
        raise ValueError(f"'{text}' is not {what}")
    return int(text)


class OptionReader:
    """Read the values of a command's options and collect what is wrong with them, to tell all of it at once."""

    def __init__(self) -> None:
        self._problems: list[InputProblem] = []

    def read(self, option: str, given: str | None, parse: Callable[[str], Read]) -> Read | None:
        """Return what an option's value is parsed as, None where it is not given or `parse` raised ValueError."""
        if given is None:
            return None
        try:
            return parse(given)
        except ValueError as exc:
            self._problems.append(InputProblem(field=option, message=str(exc)))
            return None

    def refuse(self, option: str, why: str) -> None:
        """Add a problem of an option beside others."""
        self._problems.append(InputProblem(field=option, message=why))

    def stop(self) -> None:
        """Raise InvalidInput with all problems, if there are any."""
        if self._problems:
            what = str(self._problems[0]) if len(self._problems) == 1 else "these options are wrong"
            raise InvalidInput(what, self._problems)


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """Return what parses a word that must be one of these."""
    words = tuple(known)

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"'{text}' is none of {', '.join(words)}")
        return text

    return parse
