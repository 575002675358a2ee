"""What is watched is still seen while fewer files may be open than are watched."""

import subprocess
import sys

import pytest

from tests.patience import HANGS_S

# In a process of its own: whatever else this one does may have to open files meanwhile.
WATCHES = """
import os, resource, selectors, sys
from greenrun.poll_in_parts import PollInParts
limit, ready = int(sys.argv[1]), [int(word) for word in sys.argv[2:]]
selector, pipes = PollInParts(), [os.pipe() for _ in range(7)]
for number, (reader, _) in enumerate(pipes):
    selector.register(reader, selectors.EVENT_READ, number)
for number in ready:
    os.write(pipes[number][1], b"x")
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
found = selector.select(0 if ready else 0.001)
print(*(key.data for key, events in found if events == selectors.EVENT_READ and key.fd == pipes[key.data][0]))
"""


def seen(limit: int, *ready: int) -> list[int]:
    """Which of seven pipes are seen to be ready under a limit on open files, as prlimit(1) may lower it."""
    words = [sys.executable, "-c", WATCHES, *map(str, (limit, *ready))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("limit", [1, 3, 6, 7, 256])
def test_all_that_is_ready_is_seen_under_any_limit(limit: int) -> None:
    assert seen(limit, 1, 3, 6) == [1, 3, 6]


@pytest.mark.parametrize("limit", [1, 6, 256])
def test_nothing_is_seen_where_nothing_is_ready(limit: int) -> None:
    assert seen(limit) == []


def test_where_nothing_may_be_open_nothing_is_seen_and_it_is_no_error() -> None:
    assert seen(0, 1) == []
