"""The daemon's memory is in no core dump."""

import subprocess
import sys

from tests.patience import HANGS_S

PROGRAM = """
import ctypes, resource, subprocess, sys
from greenrun.daemon.allocator import forbid_core_dumps
before = resource.getrlimit(resource.RLIMIT_CORE)[1]
forbid_core_dumps()
asked = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
child = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE) == (0, before), child)
"""


def test_no_core_is_dumped_of_the_process_and_its_children_are_as_they_were() -> None:
    """In a process of its own: what it forbids lasts."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=HANGS_S, check=True
    )  # fmt: skip
    assert ran.stdout.split() == ["0", "True", "1"]
