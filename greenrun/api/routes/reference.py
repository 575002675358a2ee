"""The routes of the page that describes the API; the document that it is made of is at /openapi.json."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from greenrun.api.description.reference_page import HEADERS, TEMPLATES, reference_page

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def get_document(request: Request) -> Response:
    """Return what the API is, for programs."""
    return JSONResponse(_document(request))


@router.get("/docs")
def get_page(request: Request) -> Response:
    """Return what the API is, for people."""
    return HTMLResponse(reference_page(_document(request)), headers=HEADERS)


@router.get("/docs/style.css")
def get_style() -> Response:
    """Return the page's style."""
    return Response((TEMPLATES / "reference.css").read_bytes(), media_type="text/css", headers=HEADERS)


def _document(request: Request) -> Mapping[str, Any]:
    found: Mapping[str, Any] = request.app.state.describe()
    return found
