"""[notify.NAME]: the hooks of the site, which are told what happened."""

import re
import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator
from pydantic_settings import NoDecode

from greenrun.config.values import parse_names
from greenrun.core.errors import ConfigError
from greenrun.core.jobs.notices import Topic
from greenrun.notifications.hook import Hook, HookKind, is_address
from greenrun.providers.settings import ExpandedPath, PositiveDuration, Section

MOST_HOOKS = 16
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(minutes=5)
SENDMAIL = "/usr/sbin/sendmail"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_OF_KIND = {
    HookKind.COMMAND: ("command",),
    HookKind.WEBHOOK: ("url", "url_file", "secret_file"),
    HookKind.MAIL: ("to", "sender", "sendmail"),
}

Topics = Annotated[tuple[Topic, ...], NoDecode, BeforeValidator(parse_names), Field(min_length=1)]
Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)]


def _https(url: str) -> str:
    if not url:
        return url
    try:
        parts, _ = urlsplit(url), urlsplit(url).port
    except ValueError as exc:
        raise ValueError(f"is no address: {exc}") from exc
    is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not (parts.scheme == "https" or is_local) or not parts.hostname or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("must begin with https:// (http:// is for this machine alone)")
    if parts.username or parts.password or parts.fragment:
        raise ValueError(
            "write the address without a user, a password or a fragment; url_file holds one that is secret"
        )
    return url


def _host(url: str) -> str:
    """Return an address as it can be shown: whoever knows all of it may be able to write where it leads."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/***" if parts.path.strip("/") or parts.query else url


def _program(command: tuple[str, ...]) -> tuple[str, ...]:
    if command and not command[0].startswith("/"):
        raise ValueError("must begin with the absolute path of a program; there is no shell, and no search for it")
    if any("\0" in word for word in command):
        raise ValueError("must not hold a NUL character")
    return command


def _addresses(to: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [address for address in to if not is_address(address)]:
        said = f"{', '.join(map(repr, wrong))} {'is' if len(wrong) == 1 else 'are'} no address of mail"
        raise ValueError(f"{said}; write ops@example.org, or {{user}} for the job's user")
    return to


def _seconds(timeout: timedelta) -> timedelta:
    if not SHORTEST <= timeout <= LONGEST:
        raise ValueError('must be from "1s" to "5m"')
    return timeout


class HookSettings(Section):
    """[notify.NAME]; what a kind needs is required of it, and what is another's refused."""

    kind: HookKind
    events: Topics
    jobs: Annotated[str, Field(pattern="^(asked|all)$")] = "asked"
    timeout: Annotated[PositiveDuration, AfterValidator(_seconds)] = timedelta(seconds=30)
    retry_for: PositiveDuration = timedelta(days=1)
    command: Annotated[tuple[str, ...], AfterValidator(_program)] = ()
    url: Annotated[str, AfterValidator(_https), PlainSerializer(_host, return_type=str)] = ""
    url_file: ExpandedPath | None = None
    secret_file: ExpandedPath | None = None
    to: Annotated[Addresses, AfterValidator(_addresses)] = ()
    sender: Annotated[str, AfterValidator(lambda one: one and _addresses((one,))[0])] = ""
    sendmail: ExpandedPath = Path(SENDMAIL)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        others = [name for kind, names in _OF_KIND.items() if kind is not self.kind for name in names]
        wrong = [name for name in others if name in self.model_fields_set]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not of the kind {self.kind.value}")
        if self.kind is HookKind.COMMAND and not self.command:
            raise ValueError("command is required: the program and its arguments, as a list")
        if self.kind is HookKind.WEBHOOK and bool(self.url) == (self.url_file is not None):
            raise ValueError("set either url, or url_file where the address is a secret")
        if self.kind is HookKind.MAIL and not self.to:
            raise ValueError("to is required: a list of addresses; {user} stands for the job's user")
        return self

    def hook(self, name: str) -> Hook:
        """Return it as notifications take it."""
        return Hook(
            name=name,
            kind=self.kind,
            topics=frozenset(self.events),
            only_asked=self.jobs == "asked",
            timeout=self.timeout,
            retry_for=self.retry_for,
            command=(str(self.sendmail),) if self.kind is HookKind.MAIL else self.command,
            url=self.url,
            url_file=self.url_file,
            secret_file=self.secret_file,
            to=self.to,
            sender=self.sender,
        )


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a hook is named by small letters, digits, - and _, 32 at most")
    return name


def _not_too_many(hooks: Mapping[str, HookSettings]) -> Mapping[str, HookSettings]:
    if len(hooks) > MOST_HOOKS:
        raise ValueError(f"there are more than {MOST_HOOKS} hooks")
    return hooks


Name = Annotated[str, AfterValidator(_named)]  # each is told, whatever is wrong beside it
Hooks = Annotated[dict[Name, HookSettings], AfterValidator(_not_too_many)]


def hooks_of(settings: Mapping[str, HookSettings], *, is_system: bool, read_from: Path | None) -> list[Hook]:
    """Return the hooks; raise ConfigError for a command of a system's daemon that others than root could have named.

    Such a command runs as root or the daemon's own user: the settings file and the program must be root's alone.
    """
    hooks = [row.hook(name) for name, row in settings.items()]
    if is_system:
        for hook in hooks:
            if hook.command:
                _require_roots(hook.name, *([read_from] if read_from else []), Path(hook.command[0]))
    return hooks


def _require_roots(name: str, *paths: Path) -> None:
    for path in paths:
        for place in (path, *path.resolve().parents):
            try:
                found = place.stat()
            except OSError as exc:
                raise ConfigError(
                    f"notify.{name} cannot be used: {place} cannot be looked at ({exc.strerror})"
                ) from exc
            is_sticky_folder = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
            if found.st_uid != 0 or (found.st_mode & 0o022 and not is_sticky_folder):
                raise ConfigError(
                    f"notify.{name} cannot be used in system mode: others than root could change {place}, and so have "
                    "their commands run by this daemon; make it root's, with mode 0755 or 0644"
                )
