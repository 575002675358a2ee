"""What all system tests share: their mark, and a folder of its own for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import short_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder as a system test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short name."""
    with short_folder() as made:
        yield made
