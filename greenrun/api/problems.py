"""Turn every refusal into an RFC 9457 problem document, whatever raised it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from greenrun.api.reading.entity_tags import declare_tag, has_tag
from greenrun.core.errors import (
    AmbiguousJob,
    CredentialNotFound,
    ExecutorError,
    GreenrunError,
    InputProblem,
    InvalidInput,
    InvalidJob,
    InvalidTransition,
    JobNotFound,
    KeyReused,
    NotPermitted,
    ProviderError,
    ReservationNotFound,
    StorageFull,
    StoreDamaged,
    StoreError,
    StoreLost,
    without_type,
)
from greenrun.host_shortage import lacking

_STATUS: dict[type[GreenrunError], tuple[int, str]] = {
    InvalidJob: (422, "invalid job"),
    InvalidInput: (422, "invalid input"),
    JobNotFound: (404, "job not found"),
    NotPermitted: (403, "not permitted"),
    ReservationNotFound: (404, "not found"),
    CredentialNotFound: (404, "not found"),
    KeyReused: (422, "idempotency key reused"),
    AmbiguousJob: (409, "ambiguous job"),
    InvalidTransition: (409, "not possible in this state"),
    StorageFull: (507, "storage full"),
    StoreLost: (503, "database lost"),
    StoreDamaged: (503, "database damaged"),
    StoreError: (503, "store not available"),
    ExecutorError: (503, "runs not available"),
    ProviderError: (502, "carbon-intensity source not usable"),
    GreenrunError: (500, "internal error"),
}
MEDIA_TYPE = "application/problem+json"
SHORT = "machine short of resources"
TITLES = ("invalid request", SHORT, *(title for _, title in _STATUS.values()))  # and the phrases of HTTP's own statuses
_LEVELS = frozenset({"body", "query", "path", "header", "one", "many"})  # where FastAPI found a field: not its name
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of a job",
    "json_invalid": "the body is not JSON",
    "string_unicode": "must be UTF-8: rename what is called so, or write it in UTF-8",
    "model_attributes_type": "is not a job: send a JSON object with content-type application/json",
}
_OF_OTHER_BODIES = {
    _WORDS["extra_forbidden"]: "is no field that is known here",
    _WORDS["model_attributes_type"]: "is not what is asked for here: send a JSON object as application/json",
}
_log = structlog.get_logger("greenrun.api")


class ProblemField(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class ProblemOut(BaseModel):
    """A refusal: `title` is the same for all of its kind, `detail` says what happened and what can be done."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField]


def refusals(*own: int) -> dict[int | str, dict[str, Any]]:
    """Return the statuses of a problem document that routes can answer with: everybody's, and their own."""
    return {code: {"model": ProblemOut} for code in (403, 422, 500, 503, 507, *own)}


def problem(
    status: int,
    title: str,
    detail: str,
    problems: Sequence[InputProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem+json response."""
    body = _document(status, title, detail, problems).model_dump()
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_answer(request: Request, error: GreenrunError | OSError) -> JSONResponse:
    """Return the answer to a request that failed before any route had it."""
    return _greenrun(request, error) if isinstance(error, GreenrunError) else _unexpected(request, error)


def problem_of(error: GreenrunError) -> ProblemOut:
    """Return the problem document of a refusal."""
    status, title = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return _document(status, title, str(error), getattr(error, "problems", ()))


def _document(status: int, title: str, detail: str, problems: Sequence[InputProblem]) -> ProblemOut:
    return ProblemOut(
        type=f"urn:greenrun:problem:{title.replace(' ', '-')}",
        title=title,
        status=status,
        detail=detail,
        errors=[ProblemField(field=row.field, message=row.message) for row in problems],
    )


def install(app: FastAPI) -> None:
    """Make the app answer every error with a problem document."""
    app.add_exception_handler(GreenrunError, _greenrun)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(OSError, _unexpected)
    app.add_exception_handler(Exception, _unexpected)


def _greenrun(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, GreenrunError)
    told = problem_of(exc)
    return JSONResponse(told.model_dump(), status_code=told.status, media_type=MEDIA_TYPE)


def _validation(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, RequestValidationError)
    problems = [field_problem(error) for error in exc.errors()]
    if request.url.path != "/v1/jobs":  # where a body is no job
        problems = [replace(row, message=_OF_OTHER_BODIES.get(row.message, row.message)) for row in problems]
    return problem(422, "invalid request", "; ".join(map(str, problems)), problems)


def field_problem(error: Mapping[str, Any]) -> InputProblem:
    """Return what pydantic finds wrong with a field, in words of ours."""
    kind, location = error["type"], tuple(error["loc"])
    if kind == "json_invalid":
        return InputProblem(field="", message=f"{_WORDS[kind]}: {error.get('ctx', {}).get('error', '')}")
    message = _WORDS.get(kind) or error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = without_type(message)
    return InputProblem(field=_field_name(location), message=message)


def _field_name(location: tuple[str | int, ...]) -> str:
    """`("body", "many", 2, "command", 0)` is `[2].command[0]`; `("body", "one", "gpus")` is `gpus`."""
    while location and location[0] in _LEVELS:
        location = location[1:]
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _http(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, HTTPException)
    title = HTTPStatus(exc.status_code).phrase.lower()
    detail = {
        404: f"There is nothing at {request.url.path}; /openapi.json lists what there is.",
        405: f"{request.method} is not possible at {request.url.path}; /openapi.json lists what is.",
    }
    shown = exc.detail if exc.detail != HTTPStatus(exc.status_code).phrase else detail.get(exc.status_code, exc.detail)
    response = problem(exc.status_code, title, shown)
    response.headers.update(exc.headers or {})
    return response


def _unexpected(request: Request, exc: Exception) -> JSONResponse:
    return problem(*fault_of(request, exc))


def fault_of(request: Request, exc: Exception) -> tuple[int, str, str]:
    """Log an error that nobody expected, and return status, title and what is said of it.

    It says what this machine lacks, where that is the cause; any other error of the system is a fault.
    """
    what = lacking(exc) if isinstance(exc, OSError) else ""
    if what:
        _log.warning("request refused", method=request.method, path=request.url.path, lacking=what)
        return 503, SHORT, f"This machine is short of {what}, so greenrun could not answer: try again."
    _log.error("request failed", method=request.method, path=request.url.path, exc_info=exc)
    return 500, "internal error", "greenrun could not answer for a fault of its own; its log has the details."


def declare(document: dict[str, Any]) -> dict[str, Any]:
    """Complete an OpenAPI document: problems have their own media type, and bodies refusals of their own."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            responses = operation["responses"]
            if method == "get" and has_tag(path):
                declare_tag(operation)
            for code in _OF_BODIES if "requestBody" in operation else ():
                responses.setdefault(str(code), _response(HTTPStatus(code).phrase))
            for response in responses.values():
                _as_problem(response)
            operation["responses"] = dict(sorted(responses.items()))
    return document


_OF_BODIES = (400, 408, 413)
_MODEL = "#/components/schemas/ProblemOut"


def _response(phrase: str) -> dict[str, Any]:
    return {"description": phrase, "content": {"application/json": {"schema": {"$ref": _MODEL}}}}


def _as_problem(response: dict[str, Any]) -> None:
    content = response.get("content", {})
    told = [kind for kind, shape in content.items() if shape.get("schema", {}).get("$ref") == _MODEL]
    for kind in told:
        content[MEDIA_TYPE] = content.pop(kind)
    if told:
        response["content"] = {MEDIA_TYPE: content[MEDIA_TYPE]}
