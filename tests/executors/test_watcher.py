"""The watcher of shims: closing it is safe, whatever its thread is doing."""

import os
from threading import Event

import pytest

from greenrun.executors.watcher import Watcher
from tests.patience import HANGS_S


def test_closing_while_something_happens_rings_nobody_elses_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread may see that it is to end, and end, before it is woken for that: the bell must still be there."""
    busy, closing = Event(), Event()

    def changed() -> None:
        busy.set()
        closing.wait(HANGS_S)

    watcher = Watcher(changed)
    reader, writer = os.pipe()
    watcher.expect_ready(reader, "1.1")
    os.close(writer)
    assert busy.wait(HANGS_S)

    def late(descriptor: int, value: int) -> None:
        closing.set()
        watcher._thread.join(HANGS_S)
        write(descriptor, value)

    write = os.eventfd_write
    monkeypatch.setattr(os, "eventfd_write", late)
    watcher.close()
    watcher.close()


def test_what_comes_after_closing_rings_nobody() -> None:
    """A pipe handed over too late touches no descriptor that may be somebody else's by then."""
    watcher = Watcher(lambda: None)
    watcher.close()
    reader, writer = os.pipe()
    watcher.expect_ready(reader, "1.1")
    os.close(writer)
    os.close(reader)
