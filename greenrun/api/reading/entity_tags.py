"""Entity tags of answers: who has the same already (`If-None-Match`) is told so in 304, instead of all of it again."""

from hashlib import blake2b
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

_TAG_BYTES = 16
_UNTAGGED = ("/v1/reports", "/healthz", "/readyz", "/metrics")  # sent a piece at a time, or other each time
_ASKED = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of an earlier answer: 304 where this one would be the same.",
    "schema": {"type": "string"},
}
_TAG = {"description": "Stands for this very answer.", "schema": {"type": "string"}}


def has_tag(path: str) -> bool:
    """Whether what is read at a path has a tag."""
    return not path.startswith(_UNTAGGED)


def unless_known(request: Request, response: Response) -> Response:
    """Return an answer with its tag; without its body where the caller has just that."""
    is_read = request.method == "GET" and response.status_code == 200
    if not is_read or isinstance(response, StreamingResponse) or not has_tag(request.url.path):
        return response
    tag = f'"{blake2b(bytes(response.body), digest_size=_TAG_BYTES).hexdigest()}"'
    response.headers["ETag"] = tag
    if not _is_known(request.headers.get("if-none-match", ""), tag):
        return response
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    return Response(status_code=304, headers=kept)


def _is_known(asked: str, tag: str) -> bool:
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in asked.split(","))


def declare_tag(operation: dict[str, Any]) -> None:
    """Declare a tag, and that it can be asked with, in an operation of an OpenAPI document."""
    operation.setdefault("parameters", []).append(dict(_ASKED))
    operation["responses"]["200"].setdefault("headers", {})["ETag"] = dict(_TAG)
    operation["responses"].setdefault("304", {"description": "Nothing has changed."})
