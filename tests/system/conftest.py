"""A short-named folder of its own for each system test: a unix socket's path may have 107 bytes only."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder as a system test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that is removed afterwards."""
    made = Path(tempfile.mkdtemp(prefix="greenrun-"))
    yield made
    shutil.rmtree(made)
