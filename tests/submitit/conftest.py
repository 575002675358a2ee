"""A folder whose name is short enough for a socket in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness import short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as made:
        yield made
