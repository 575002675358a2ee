"""Send one notification: to a command, to a server, or by the site's sendmail; each within its time."""

import re
import sys
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from email.policy import default
from email.utils import format_datetime

from greenrun.core.parsing import parse_instant
from greenrun.limited_process import ENVIRONMENT, run_limited
from greenrun.notifications import hook_supervisor
from greenrun.notifications.hook import USER, Failure, Hook, HookKind
from greenrun.notifications.message import Notification

MOST_OUTPUT = 64 * 1024  # of a command, which is killed when it writes more
SHOWN = 200  # characters of an answer or of a command's output that are told
NICE = 5
ASKED_FIRST_S = 5.0  # for its supervisor to end what a command has started

_LOCAL_PART = re.compile(r"[A-Za-z0-9._-]{1,64}")


def send(hook: Hook, told: Notification, is_over: Callable[[], bool] = lambda: False) -> Failure:
    """Tell a hook; return why it could not be told, None once it was.

    It takes no longer than the hook's time-out; a command is ended sooner once `is_over` says so.
    """
    if hook.kind is HookKind.COMMAND:
        return _run(hook, told, is_over)
    if hook.kind is HookKind.MAIL:
        return _mail(hook, told, is_over)
    from greenrun.notifications.webhook import post  # with httpx, which a daemon without webhooks need not load

    return post(hook, told)


def _run(hook: Hook, told: Notification, is_over: Callable[[], bool]) -> Failure:
    own = {"GREENRUN_NOTIFICATION_ID": told.id, "GREENRUN_NOTIFICATION_TYPE": told.type}
    return _run_command(hook, hook.command, told.model_dump_json().encode(), own, is_over)


def _mail(hook: Hook, told: Notification, is_over: Callable[[], bool]) -> Failure:
    to = recipients(hook, told)
    if not to:
        return None  # it is about no job, and only jobs' users are told
    message = mail_of(hook, told, to)
    sender = ["-f", hook.sender] if hook.sender else []
    return _run_command(hook, (*hook.command, "-i", *sender, "--", *to), message, {}, is_over)


def recipients(hook: Hook, told: Notification) -> list[str]:
    """Return the addresses that a mail goes to; a user whose name cannot be an address gets none."""
    found = []
    for address in hook.to:
        if USER in address:
            user = told.job.user if told.job else ""
            if not _LOCAL_PART.fullmatch(user) or user.startswith("-"):
                continue
            address = address.replace(USER, user)
        found.append(address)
    return list(dict.fromkeys(found))


def mail_of(hook: Hook, told: Notification, to: list[str]) -> bytes:
    """Return a mail as it is sent: its headers are encoded, so that no name of a job can add one."""
    message = EmailMessage(policy=default)
    message["To"] = ", ".join(to)
    if hook.sender:
        message["From"] = hook.sender
    message["Subject"] = told.subject.replace("=?", "= ?")  # else the library decodes it, line breaks and all
    message["Date"] = format_datetime(parse_instant(told.at))
    message["Message-ID"] = f"<greenrun.{told.id}@{re.sub(r'[^A-Za-z0-9.-]', '-', told.host) or 'localhost'}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(told.text)
    return bytes(message)


def _run_command(
    hook: Hook, command: tuple[str, ...], given: bytes, own: Mapping[str, str], is_over: Callable[[], bool]
) -> Failure:
    ended = run_limited(
        [sys.executable, "-I", "-S", "-X", "utf8", hook_supervisor.__file__, *command],
        timeout_s=hook.timeout.total_seconds(),
        most_bytes=MOST_OUTPUT,
        environment={**ENVIRONMENT, **own},
        given=given,
        stderr=True,
        nice=NICE,
        is_over=is_over,
        asked_first_s=ASKED_FIRST_S,
    )
    if ended.code == hook_supervisor.NOT_STARTED and ended.output.startswith(hook_supervisor.MARK.encode()):
        return f"its command cannot be started ({_said(ended.output)[len(hook_supervisor.MARK) :]})"
    if ended.trouble:
        return f"its command {ended.trouble}"
    if ended.code:
        return f"its command ended with exit code {ended.code}{_shown(ended.output)}"
    return None


def _shown(output: bytes) -> str:
    plain = _said(output)
    return f" ({plain})" if plain else ""


def _said(output: bytes) -> str:
    said = " ".join(output.decode("utf-8", "replace").split())
    return "".join(sign if sign.isprintable() else "?" for sign in said)[:SHOWN]
