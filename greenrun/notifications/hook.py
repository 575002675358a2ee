"""A hook of the site: what it is told of, and how."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from greenrun.core.jobs.notices import Topic

Failure = str | None  # why a hook could not be told; None once it was

USER = "{user}"  # in `to`: the user of the job that it is about
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=^_`{|}~-]{1,64}(?:@[A-Za-z0-9.-]{1,253})?")


class HookKind(StrEnum):
    """How a hook is told: a command gets it on its input, a server by POST, people by mail."""

    COMMAND = "command"
    WEBHOOK = "webhook"
    MAIL = "mail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One hook. `only_asked`: of jobs it is told only what their users asked for.

    `command` is the program of a command, or the site's sendmail; `to` and `sender` are a mail's. A webhook has its
    `url`, or the file that holds it, and may have the file of the secret that it signs with.
    """

    name: str
    kind: HookKind
    topics: frozenset[Topic]
    only_asked: bool = True
    timeout: timedelta = timedelta(seconds=30)
    retry_for: timedelta = timedelta(days=1)
    command: tuple[str, ...] = ()
    url: str = ""
    url_file: Path | None = None
    secret_file: Path | None = None
    to: tuple[str, ...] = ()
    sender: str = ""


def is_address(text: str) -> bool:
    """Whether a text can be an address of mail, with `{user}` in place of a job's user; none is taken for an option."""
    plain = text.replace(USER, "user")
    return bool(_ADDRESS.fullmatch(plain)) and not plain.startswith("-")
