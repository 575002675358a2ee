"""What the documents say exists and is so, and what exists is in the documents."""

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from greenrun.cli import command
from greenrun.cli.app import COMMANDS, load
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.stability import MOST_PUT_OFFS
from greenrun.providers.kinds import BUILT_IN
from tests.conftest import require
from tests.documents import ROOT, text
from tests.metrics.scrape import families
from tests.patience import HANGS_S

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = sorted((ROOT / "greenrun").rglob("README.md"))  # of the packages that have one
COMMON = {"--json", "--config", "--socket", "--help"}  # explained once, at the top


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a language in a document."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(name), flags=re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its full name, those of groups too."""
    for name in COMMANDS:
        command = load(name)
        yield name, command
        yield from ((f"{name} {inner}", found) for inner, found in getattr(command, "commands", {}).items())


def options(command: Any) -> set[str]:
    """The long options of a command."""
    return {flag for param in command.params for flag in param.opts if flag.startswith("--")}


def sections(name: str) -> dict[str, str]:
    """The sections of a document by heading, of any depth."""
    parts = re.split(r"^#+ (.+)\n", text(name), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_columns(name: str) -> list[str]:
    """What stands as code in the first column of a document's tables."""
    return re.findall(r"^\| `([^`]+)` \|", text(name), flags=re.MULTILINE)


# commands


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    documented = [heading.removeprefix("greenrun ") for heading in sections("docs/cli.md") if "greenrun " in heading]
    assert documented == [name for name, _ in commands()]


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_a_command_s_section_has_its_options_and_no_other(name: str) -> None:
    section = sections("docs/cli.md")[f"greenrun {name}"]
    documented = set(re.findall(r"^\| `(--[a-z-]+)", section, flags=re.MULTILINE))
    assert documented == options(dict(commands())[name]) - COMMON


def lines_of_greenrun() -> Iterator[tuple[str, str]]:
    """Every `greenrun …` line in the documents' shell blocks, with where it stands."""
    for path in DOCUMENTS:
        name = str(path.relative_to(ROOT))
        for block in [*blocks(name, "sh"), *blocks(name, "console")]:
            for line in block.splitlines():
                if line.removeprefix("$ ").startswith("greenrun "):
                    yield name, line.removeprefix("$ ")


@pytest.mark.parametrize(("name", "line"), list(lines_of_greenrun()))
def test_a_command_line_in_a_document_is_one_that_greenrun_knows(name: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    known = dict(commands())
    called = next(key for key in (" ".join(words[:2]), words[0]) if key in known)
    own = words[: words.index("--")] if "--" in words else words
    assert {word for word in own if word.startswith("--")} <= options(known[called]) | COMMON


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_that_a_sentence_names_is_one_that_there_is(path: Path) -> None:
    named = re.findall(r"`greenrun\s+([a-z][a-z-]+)", path.read_text())
    assert set(named) <= {name.split()[0] for name, _ in commands()}


@pytest.mark.parametrize("name", ["README.md", "docs/cli.md"])
def test_the_exit_codes_are_documented(name: str) -> None:
    codes = {command.OK, command.FAILED, command.USAGE, command.NOT_FOUND, command.NOT_PERMITTED, command.NOT_REACHABLE}
    codes |= {command.TIMED_OUT, command.STORAGE_FULL, command.CONFIG}
    documented = re.findall(r"^\| (\d+) \|", sections(name)["Exit codes"], flags=re.MULTILINE)
    assert {int(code) for code in documented} == codes


# metrics and reasons


def row(family: Metric) -> str:
    """A family as a row of docs/metrics.md."""
    own = {label for one in family.samples for label in one.labels} - {"le"}
    labels = " ".join(f"`{label}`" for label in sorted(own))
    name = family.name if family.type == "histogram" else family.samples[0].name
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def test_the_metrics_are_documented_with_their_type_labels_and_help() -> None:
    documented = [line for line in text("docs/metrics.md").splitlines() if line.startswith("| `")]
    assert documented == [row(family) for family in families()]


def test_every_reason_is_documented_once() -> None:
    assert sorted(first_columns("docs/reasons.md")) == sorted(code.value for code in ReasonCode)


# what the documents tell their reader to do


def test_how_often_a_job_may_be_put_off_is_in_the_docs() -> None:
    assert f"After {MOST_PUT_OFFS} times it keeps" in text("docs/reasons.md")
    assert f"after {MOST_PUT_OFFS} of them it keeps" in text("docs/cli.md")


def test_the_kinds_of_provider_are_in_the_settings_page() -> None:
    assert [kind for kind in BUILT_IN if f'kind = "{kind}"' not in text("docs/configuration.md")] == []


def test_the_page_on_sources_has_kinds_of_provider_in_alphabetical_order() -> None:
    described = re.findall(r"^## (.+)$", text("docs/providers.md"), flags=re.MULTILINE)
    assert described == sorted(described)
    assert set(described) <= set(BUILT_IN)


def test_toml_in_the_documents_is_toml() -> None:
    snippets = [(path.name, block) for path in DOCUMENTS for block in blocks(str(path.relative_to(ROOT)), "toml")]
    assert [tomllib.loads(block) is None for _, block in snippets] == [False] * len(snippets)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_in_a_document_lead_somewhere(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


NAMED = re.compile(r"(?<![\w./~$-])(?:[\w.-]+/)*[\w.-]+\.py\b|(?<![\w./~$-])(?:greenrun|tests)/[\w./-]*\w")
MADE_UP = {"train.py", "lab_grid.py", "score_schedule.py"}  # what readers or others have
FOLDERS = ("", "greenrun", "greenrun/core", "docs")


def named_paths(path: Path) -> set[str]:
    """The paths of Python files, and of what is in greenrun/ or tests/, that a document names outside of its links."""
    words = re.sub(r"\]\([^)]+\)", "]", path.read_text(encoding="utf-8"))
    return {name for name in NAMED.findall(words) if not re.search(r"NAME|PATH", name)} - MADE_UP


def exists(name: str, document: Path) -> bool:
    """Whether a path exists, from the root, the package, the core or the document's folder; a bare name: anywhere."""
    if "/" not in name:
        return any(True for folder in ("greenrun", "tests", "benchmarks") for _ in (ROOT / folder).rglob(name))
    return any((folder / name).exists() for folder in (*(ROOT / one for one in FOLDERS), document.parent))


@pytest.mark.parametrize("path", [*DOCUMENTS, *READMES], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_paths_that_a_document_names_exist(path: Path) -> None:
    assert [name for name in sorted(named_paths(path)) if not exists(name, path)] == []


def test_every_page_is_in_the_index_once() -> None:
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
    assert sorted(re.findall(r"^- \[[\w./-]+\]\(([\w-]+\.md)\): ", text("docs/README.md"), re.MULTILINE)) == pages


def test_every_tutorial_is_listed() -> None:
    pages = sorted(f"tutorials/{path.name}" for path in (ROOT / "docs" / "tutorials").glob("*.md"))
    assert sorted(re.findall(r"\((tutorials/.+\.md)\)", text("docs/README.md"))) == pages


def test_every_decision_is_listed() -> None:
    pages = sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
    assert re.findall(r"\((0.+\.md)\)", text("docs/adr/README.md")) == pages


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Call make as from a shell: the one that runs these tests must not pass its own flags on."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = [require("make"), *words]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=HANGS_S, check=False)


@pytest.mark.parametrize("target", ["help", "demo", "test", "check", "format", "clean"])
def test_make_knows_what_the_documents_name(target: str, tmp_path: Path) -> None:
    done = make("--dry-run", f"VENV={tmp_path / 'venv'}", target)
    assert (done.returncode, done.stderr) == (0, "")


def test_make_says_in_a_sentence_that_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    done = make(f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "test")
    assert done.returncode == 2
    assert f"greenrun needs Python 3.11 or newer, which '{old}' is not" in done.stderr


def test_every_dependency_is_pinned_and_has_its_reason() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *(row for extra in project["optional-dependencies"].values() for row in extra)]
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in wanted]
    pinned = {line.partition("==")[0].lower() for line in text("constraints.txt").splitlines() if "==" in line}
    decision = text("docs/adr/0001-dependencies.md")
    missing = [name for name in names if name not in decision or not {name, name.replace("-", "_")} & pinned]
    assert missing == []
