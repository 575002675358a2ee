"""How tests of `greenrun measure` run it, and with what settings."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.patience import HANGS_S

COMMAND = [sys.executable, "-m", "greenrun.cli", "measure"]
NOTHING = ("--meter", "none", "--cpu-meter", "none")  # opens nothing, so it is quick
PRICED = """
[grid]
zone = "GB"
provider = "mean"
[provider.mean]
kind = "static"
g_per_kwh = 250
[devices]
meter = "emulated"
cpu_meter = "none"
pue = 1.5
[devices.emulated]
gpus = 2
watts_idle = 100
"""
PLUG = """
[devices.external.plug]
kind = "command"
command = ["sh", "-c", "date +%s%N | cut -c5-13 | awk '{printf \\"%.3f\\", $1 * 0.25}'"]
unit = "J"
every = "3s"
"""  # 250 W, by the clock in milliseconds

Settings = Callable[[str], Path]


def answer(out: str) -> Any:
    """What --json printed, behind what the command did."""
    return json.loads(out.splitlines()[-1])


def measured(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own."""
    return subprocess.run(
        [*COMMAND, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
        env=dict(os.environ),
    )
