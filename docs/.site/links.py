"""Build the site out of pages that also read well in the repository: links that leave docs/ lead to copies in the site.

MkDocs knows only docs/. What its pages and those of the top folder link to is added: other pages as pages, sources as
they are, all below `project/`, at the path that they have in the repository.
"""

import re
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TOP = ("README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
COPIES = "project"
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to outside docs/."""
    pages = [*(ROOT / name for name in TOP), *sorted(DOCS.rglob("*.md"))]
    added = {}
    while pages:
        page = pages.pop()
        if not page.is_relative_to(DOCS):
            added[page] = True
        for target in _linked(page):
            if target not in added and not target.is_relative_to(DOCS) and target.is_file():
                added[target] = True
                pages += [target] if target.suffix == ".md" else []
    for path in added:
        files.append(File.generated(config, _place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to where the site has what they name."""
    source = Path(str(page.file.abs_src_path))
    here = Path(_place(source)).parent

    def moved(link: re.Match[str]) -> str:
        target = (source.parent / link[1]).resolve()
        if target == DOCS or target.is_dir():
            target /= "README.md"
        return relpath(_place(target), here) if target.is_file() else link[1]

    parts = _FENCE.split(markdown)
    return "".join(part if part.lstrip().startswith("```") else _LINK.sub(moved, part) for part in parts)


def _linked(page: Path) -> Iterator[Path]:
    """Yield the files that a page links to."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from ((page.parent / link[1]).resolve() for link in _LINK.finditer(prose))


def _place(path: Path) -> str:
    """Return where the site has a file of the repository, as MkDocs writes it."""
    return str(path.relative_to(DOCS) if path.is_relative_to(DOCS) else COPIES / path.relative_to(ROOT))
