"""The documentation as a site: every link leads somewhere, and reading it asks no other host."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.patience import HANGS_S

FETCHED = re.compile(
    r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//"
    r"|<link[^>]* rel=\"?(?:stylesheet|preload|preconnect|icon)[^>]* href=\"?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, which warns of nothing."""
    folder = tmp_path_factory.mktemp("site")
    told = _build(ROOT / "mkdocs.yml", folder)
    assert (told.returncode, "WARNING" in told.stderr) == (0, False), told.stderr
    return folder


def _build(settings: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", settings, "-d", folder]
    known = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, env=known, check=False)


def _pages(site: Path) -> Iterator[tuple[str, str]]:
    for path in site.rglob("*.html"):
        yield str(path.relative_to(site)), path.read_text(encoding="utf-8")


def test_every_document_is_a_page(site: Path) -> None:
    written = {name for name, _ in _pages(site)}
    documents = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert {str(path.with_suffix(".html")) for path in documents if path.name != "README.md"} <= written
    assert {"index.html", "adr/index.html", "project/index.html", "project/ARCHITECTURE.html"} <= written


def test_a_reader_asks_no_other_host(site: Path) -> None:
    assert FETCHED.search('<script async src="https://example.org/x.js">')
    assert FETCHED.search('<link rel="stylesheet" href="//example.org/x.css">')
    assert [name for name, page in _pages(site) if FETCHED.search(page)] == []


def test_sources_that_pages_link_to_are_in_the_site(site: Path) -> None:
    name = "greenrun/packaged/config/greenrun.toml"
    assert (site / "project" / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_link_to_nothing_fails(tmp_path: Path) -> None:
    """Else the build could not say that there is none."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "README.md").write_text("# A page\n\n[gone](gone.md), [nowhere](#nowhere)\n")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    settings = re.sub(r"^(hooks|nav|not_in_nav):.*\n( .*\n)*", "", settings, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(settings)
    told = _build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert told.returncode != 0
    assert "gone.md" in told.stderr
    assert "#nowhere" in told.stderr
