"""The watcher of shims: closing it is safe, whatever its thread is doing."""

import os

from greenrun.executors.watcher import Watcher


def test_closing_while_something_happens_closes_nothing_twice() -> None:
    """A pipe that ends just as the watcher is closed wakes its thread first; the bell is still there to be rung."""
    for _ in range(200):
        watcher = Watcher(lambda: None)
        reader, writer = os.pipe()
        watcher.expect_ready(reader, "1.1")
        os.close(writer)
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
