"""`greenrun token` and `greenrun session`: what lets programs and browsers in, to create, list and revoke."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from greenrun.cli.command import Command, Group
from greenrun.cli.options import OptionReader, connect, daemon_options, one_of, print_json, whole
from greenrun.cli.tables import Column, print_table
from greenrun.cli.text import instant, printable
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text

if TYPE_CHECKING:
    from greenrun.client import Answer, ApiClient

_SCOPES = ("read", "submit", "admin")
_MOST_DAYS = 366


@click.group("token", cls=Group)
def token() -> None:
    """Create, list and revoke tokens, by which programs use the API over TCP as you."""


@token.command("create", cls=Command)
@click.option("--scope", required=True, metavar="SCOPE", help="read, submit (and act on your own jobs) or admin.")
@click.option("--days", default="90", show_default=True, metavar="N", help="How long it lasts, at most 366.")
@click.option("--name", default="", metavar="TEXT", help="What it is for.")
@daemon_options
@click.pass_context
def create(
    ctx: click.Context, scope: str, days: str, name: str, as_json: bool, socket: str | None, config: str | None
) -> None:
    """Create a token that acts as you, within its scope, and print it: it is shown this once.

    It goes to a file that only you can read, which GREENRUN_TOKEN_FILE names. Scope admin is for those who may act on
    all jobs.

    \b
    (umask 077; greenrun token create --scope submit --name notebook > token)
    GREENRUN_URL=https://gpu1:9754 GREENRUN_TOKEN_FILE=token greenrun list
    """
    reader = OptionReader()
    wanted = reader.read("--scope", scope, one_of(_SCOPES))
    lasts = reader.read("--days", days, _days)
    if len(name) > 100:
        reader.refuse("--name", "it has more than 100 characters")
    reader.stop()
    made = connect(ctx, socket, config).create_token(str(wanted), days=lasts or 1, name=name)
    if as_json:
        print_json(made)
        return
    print(made["token"], flush=True)
    whose = f"token {made['id']} of {made['user']}, for {made['scope']}, until {_when(made['expires_at'])}"
    print(f"{whose}; it is shown this once. `greenrun token revoke {made['id']}` ends it", file=sys.stderr)


@token.command("list", cls=Command)
@daemon_options
@click.pass_context
def list_tokens(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """List your tokens; all, if you may act on all jobs.

    \b
    greenrun token list
    """
    _list(connect(ctx, socket, config), "tokens", as_json)


@token.command("revoke", cls=Command)
@click.argument("numbers", nargs=-1, required=True, metavar="ID...")
@daemon_options
@click.pass_context
def revoke_tokens(
    ctx: click.Context, numbers: tuple[str, ...], as_json: bool, socket: str | None, config: str | None
) -> None:
    """End tokens now: the next request that shows one is refused.

    \b
    greenrun token revoke 3
    """
    _revoke(connect(ctx, socket, config), "tokens", numbers, as_json)


@click.group("session", cls=Group)
def session() -> None:
    """List and end the sessions of browsers that `greenrun web` has signed in."""


@session.command("list", cls=Command)
@daemon_options
@click.pass_context
def list_sessions(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """List your sessions; all, if you may act on all jobs.

    \b
    greenrun session list
    """
    _list(connect(ctx, socket, config), "sessions", as_json)


@session.command("revoke", cls=Command)
@click.argument("numbers", nargs=-1, required=True, metavar="ID...")
@daemon_options
@click.pass_context
def revoke_sessions(
    ctx: click.Context, numbers: tuple[str, ...], as_json: bool, socket: str | None, config: str | None
) -> None:
    """End sessions now: their browsers are signed out.

    \b
    greenrun session revoke 3
    """
    _revoke(connect(ctx, socket, config), "sessions", numbers, as_json)


def _list(client: "ApiClient", kind: str, as_json: bool) -> None:
    rows = client.credentials(kind)
    if as_json:
        print_json(rows)
    elif not rows:
        print(f"there are no {kind}")
    else:
        _print(kind, rows)


def _print(kind: str, rows: "Iterable[Answer]") -> None:
    scope = [Column("scope")] if kind == "tokens" else []
    columns = [
        Column("id"), Column("user"), *scope, Column("until"), Column("last used", rank=2), Column("from", rank=3),
        Column("name" if scope else "browser", wraps=True, rank=4),
    ]  # fmt: skip
    table = [
        [
            str(row["id"]), printable(row["user"]), *([row["scope"]] if scope else []), _when(row["expires_at"]),
            _when(row["last_used_at"]) if row["last_used_at"] else "never", row["last_address"] or "",
            printable(row["name"]),
        ]
        for row in rows
    ]  # fmt: skip
    print_table(columns, table)


def _revoke(client: "ApiClient", kind: str, numbers: Sequence[str], as_json: bool) -> None:
    reader = OptionReader()
    wanted = [reader.read("ID", number, whole) for number in numbers]
    reader.stop()
    ended = [client.revoke(kind, number) for number in wanted if number is not None]
    if as_json:
        print_json(ended)
        return
    for row in ended:
        print(f"{row['kind']} {row['id']} of {printable(row['user'])} is revoked")


def _when(text: str) -> str:
    return clock_text(instant(text), utc_now())


def _days(text: str) -> int:
    number = whole(text, f"a number of days, at most {_MOST_DAYS}")
    if number > _MOST_DAYS:
        raise ValueError(f"{number} days are too many: at most {_MOST_DAYS}")
    return number
