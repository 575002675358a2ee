"""What the client raises: what the daemon's problem documents say, and that no daemon answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenrun.core.errors import GreenrunError, InputProblem


class ClientError(GreenrunError):
    """The daemon refused, failed or cannot be reached; carries what its problem+json says.

    Without a problem document it has no type and no title; `status` is None when there was no answer.
    """

    def __init__(
        self,
        detail: str,
        *,
        type: str = "",
        title: str = "",
        status: int | None = None,
        errors: Sequence[InputProblem] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.type = type
        self.title = title
        self.status = status
        self.errors = tuple(errors)


class NotReachable(ClientError):
    """No trustworthy daemon answers on the socket."""


class NoAnswer(NotReachable):
    """The daemon was asked and did not answer; it may still have done, or do, what it was asked."""


class RequestRefused(ClientError):
    """The request cannot be accepted as it is (400, 409, 413, 422)."""


class Forbidden(ClientError):
    """The caller may not do this (403), or is not known there (401)."""


class NotFound(ClientError):
    """What was asked for does not exist (404)."""


class OutOfStorage(ClientError):
    """The daemon has no space to store it durably (507); nothing was accepted."""


class StillUnfinished(ClientError, TimeoutError):
    """A job was waited for, and has not finished in that time; it goes on."""


class BadAnswer(ClientError):
    """What answered on the socket does not speak greenrun's API."""


_BY_STATUS: dict[int, type[ClientError]] = {
    **dict.fromkeys((400, 409, 413, 422), RequestRefused),
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    507: OutOfStorage,
}


def error_of(problem: Mapping[str, Any]) -> ClientError:
    """Return the error that a `problem` of a list of answers stands for, as if it had been the answer."""
    return error_with_status(int(problem["status"]), problem)


def error_with_status(status: int, answer: object) -> ClientError:
    """Return the error that an answer with this status is, as its problem document tells it, where it has one."""
    problem = answer if isinstance(answer, dict) else {}
    errors = [
        InputProblem(field=str(item.get("field") or ""), message=str(item.get("message") or ""))
        for item in problem.get("errors") or ()
        if isinstance(item, dict)
    ]
    kind = _BY_STATUS.get(status, ClientError)
    said = str(problem.get("detail") or problem.get("title") or f"the daemon answered with status {status}")
    return kind(
        said,
        type=str(problem.get("type") or ""),
        title=str(problem.get("title") or ""),
        status=status,
        errors=errors,
    )


def unreachable(path: object, why: OSError) -> NotReachable:
    """Return the error that nobody could be asked at this socket, or at an address."""
    said = getattr(why, "verify_message", "") or why.strerror or str(why)
    if not isinstance(path, Path):
        return NotReachable(
            f"cannot reach the greenrun daemon at {path} ({said}); look at GREENRUN_URL and at [api] tcp of its "
            "settings, or name its own certificate by SSL_CERT_FILE"
        )
    advice = "ask to be let in" if isinstance(why, PermissionError) else "start it with `greenrun serve --detach`"
    return NotReachable(
        f"cannot reach the greenrun daemon at {path} ({said}); {advice}, or name another socket with --socket"
    )


def silent(path: object, what: str, may_have_acted: bool) -> NoAnswer:
    """Return the error that the daemon did not answer: `what` it did instead."""
    doubt = "; it may still have acted: look with `greenrun list` before you repeat it" if may_have_acted else ""
    return NoAnswer(f"the greenrun daemon at {path} {what}{doubt}")
