"""Benchmarks are run seldom, so it is looked after that what they use of greenrun is still there."""

import ast
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.documents import ROOT

BENCHMARKS = sorted((ROOT / "benchmarks").glob("**/*.py"))


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the modules of greenrun that a file imports, with each name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "greenrun":
            yield from ((str(node.module), alias.name) for alias in node.names)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path: Path) -> None:
    gone = [f"{module}.{name}" for module, name in imported(path) if not _is_there(module, name)]
    assert gone == []


def _is_there(module: str, name: str) -> bool:
    found = import_module(module)
    return hasattr(found, name) or (hasattr(found, "__path__") and find_spec(f"{module}.{name}") is not None)


def test_there_are_benchmarks() -> None:
    assert len(BENCHMARKS) > 10
