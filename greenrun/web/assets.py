"""Files that the page loads: its own, and Plotly's script from where it is installed; nothing of it is imported."""

import importlib.metadata
import importlib.util
import zlib
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from starlette.exceptions import HTTPException

STATIC = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
FOREVER = "public, max-age=31536000, immutable"  # what changes has another path
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_GZIP = 16 + zlib.MAX_WBITS

router = APIRouter(include_in_schema=False)


@router.get("/assets/{version}/{name}")
def get_asset(version: str, name: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """Return a file in the version that pages name, compressed if the caller takes that; else 404."""
    is_plotly = name == PLOTLY
    if version != (plotly_version() if is_plotly else static_version()) or name not in (PLOTLY, *_names()):
        raise HTTPException(404, f"There is no file {name} of this version: load the page again.")
    headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
    media_type = TYPES[Path(name).suffix]
    if "gzip" in accept_encoding:
        return Response(_compressed(name), headers={**headers, "Content-Encoding": "gzip"}, media_type=media_type)
    return Response(_path(name).read_bytes(), headers=headers, media_type=media_type)


@cache
def static_version() -> str:
    """Return what the page's own files are called by together: it changes with any of them."""
    digest = blake2b(digest_size=6)
    for name in _names():
        digest.update(name.encode() + (STATIC / name).read_bytes())
    return digest.hexdigest()


@cache
def plotly_version() -> str:
    """Return the installed version of Plotly, of which there is one script."""
    return importlib.metadata.version("plotly")


@cache
def plotly_script() -> Path:
    """Return where Plotly's script is; raise FileNotFoundError if it is not installed as a whole."""
    found = importlib.util.find_spec("plotly")
    for folder in (found.submodule_search_locations or ()) if found else ():
        script = Path(folder) / "package_data" / PLOTLY
        if script.is_file():
            return script
    raise FileNotFoundError("Plotly's script is not installed: install greenrun again, with its dependencies.")


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in STATIC.iterdir() if path.suffix in TYPES))


def _path(name: str) -> Path:
    return plotly_script() if name == PLOTLY else STATIC / name


@cache  # made when somebody first looks, not before; Plotly's is 1.5 MB
def _compressed(name: str) -> bytes:
    packer = zlib.compressobj(6, wbits=_GZIP)
    return packer.compress(_path(name).read_bytes()) + packer.flush()
