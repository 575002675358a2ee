"""Fixtures of the command line's tests: a fake daemon, and the command line in this process."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from greenrun.cli.app import main
from tests.fake_api import FakeApi, serving


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A fake daemon, which GREENRUN_SOCKET names."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "s") as fake:
        monkeypatch.setenv("GREENRUN_SOCKET", str(fake.socket))
        yield fake


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A fixed folder, zone and environment, and nobody's own settings."""
    for name in [name for name in os.environ if name.startswith("GREENRUN_") or name in ("COLUMNS", "LINES")]:
        monkeypatch.delenv(name)  # a worker of pytest-xdist has COLUMNS, which limits what is printed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(tmp_path)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line with these words in this process."""

    def call(*words: str) -> Ran:
        code = main(list(words))
        return Ran(code, *capsys.readouterr())

    return call
