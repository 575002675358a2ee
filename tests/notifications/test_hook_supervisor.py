"""What a hook's command started ends with the daemon, also where that is killed."""

import subprocess
import sys
from pathlib import Path

from greenrun.notifications import hook_supervisor
from tests.patience import until

PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, *sys.argv[1:]])
time.sleep(1000)
"""


def test_a_command_ends_where_the_daemon_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {pid_file}; exec setsid sleep 1000"]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(hook_supervisor.__file__), *command])
    until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "the command runs")
    sleeping = Path("/proc", pid_file.read_text().strip())
    assert sleeping.exists()
    parent.kill()
    parent.wait()
    until(lambda: not sleeping.exists(), "the command has ended")
