"""Pages let the browser load and run nothing but what this daemon serves, and are files that it keeps."""

import base64
import gzip
import hashlib
import re

import pytest

from greenrun.web import assets
from greenrun.web.security_headers import PLOTLY_STYLE
from tests.web.pages import STRANGER, PageWorld

PAGES = ("/", "/jobs", "/jobs/1", "/grid", "/devices")


@pytest.fixture(scope="module")
def world() -> PageWorld:
    return PageWorld()


@pytest.mark.parametrize("who", [STRANGER, "uid:41001"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_allows_no_script_of_its_own_and_nothing_from_elsewhere(world: PageWorld, path: str, who: str) -> None:
    answer = world.get(path, who=who)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    nonce = re.search(r'nonce="([^"]+)"', answer.text)
    assert nonce
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "img-src": "'self' data:", "connect-src": "'self'",
        "style-src": f"'self' 'nonce-{nonce[1]}' '{PLOTLY_STYLE}'", "frame-ancestors": "'none'", "base-uri": "'none'",
        "form-action": "'self'",
    }  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|\son[a-z]+=|\sstyle=|javascript:", answer.text) == []
    assert re.findall(r'(?:src|href|action)="(?:[a-z]+:)?//[^"]*', answer.text) == []


def test_each_page_has_a_nonce_of_its_own(world: PageWorld) -> None:
    first, second = (world.get("/").headers["content-security-policy"] for _ in range(2))
    assert first != second


def test_the_style_that_plotly_adds_is_the_one_that_is_allowed() -> None:
    """Its maps put one style element into the page when the script is loaded."""
    script = assets.plotly_script().read_text(encoding="utf-8")
    texts = re.findall(r"""e\.textContent='((?:[^'\\]|\\.)*)'""", script)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    assert [f"sha256-{value}" for value in hashes] == [PLOTLY_STYLE]


def test_files_are_kept_by_the_browser_for_long_and_sent_compressed(world: PageWorld) -> None:
    named = re.findall(r'(?:src|href|data-plotly)="(/assets/[^"]+)"', world.get("/").text)
    assert len(set(named)) == 4
    for path in named:
        answer = world.get(path, **{"accept-encoding": "gzip"})
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip"), path
        assert "max-age=31536000" in answer.headers["cache-control"]
    whole = world.get(f"/assets/{assets.plotly_version()}/plotly.min.js", **{"accept-encoding": "identity"})
    assert whole.content == assets.plotly_script().read_bytes()


def test_a_file_of_another_version_and_one_that_is_none_of_the_page_are_not_there(world: PageWorld) -> None:
    version = assets.static_version()
    for path in ("/assets/0/page.js", f"/assets/{version}/assets.py", f"/assets/{version}/..%2fassets.py"):
        assert world.get(path).status_code == 404, path


def test_the_page_without_plotly_is_small(world: PageWorld) -> None:
    sizes = [len(gzip.compress(path.read_bytes())) for path in assets.STATIC.iterdir()]
    assert len(world.get("/").content) + sum(sizes) < 300 * 1024
