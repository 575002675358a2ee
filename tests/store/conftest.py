"""A fresh store per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from greenrun.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "greenrun.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened
