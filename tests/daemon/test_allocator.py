"""What large arrays took is given back when they are freed, whatever was freed before."""

import subprocess
import sys
from platform import libc_ver

import pytest

from tests.patience import HANGS_S

PROBE = """
import sys, threading
import numpy as np
from pathlib import Path
from greenrun.daemon.allocator import give_memory_back

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

if sys.argv[1] == "yes":
    assert give_memory_back()
before = resident_mib()

def work():
    for _ in range(3):
        rows = [np.ones(200_000 // 8 * 8) for _ in range(60)]
        pins = [np.ones(20_000) for _ in rows]
        del rows
    keep.append(pins)

keep = []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
keep.clear()
print(resident_mib() - before)
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="this is about glibc")
def test_freed_arrays_are_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "yes"], capture_output=True, text=True, timeout=HANGS_S, check=True
    )
    assert float(done.stdout) < 20
