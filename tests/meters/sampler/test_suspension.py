"""A machine that was suspended: its meters are opened anew, and no time in which nobody watched is counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenrun.core.errors import MeterEnded
from greenrun.meters.sampler import process
from greenrun.meters.sampler.wire import Request, pack_request
from greenrun.meters.settings import MeterSettings
from tests.patience import HANGS_S

SLEEPER = """
import sys
from greenrun.meters.sampler import process
slept = [0.0]
process.suspended_s = lambda: slept[0]
process._sample = lambda *args, **more: slept.__setitem__(0, 18_000.0)
sys.exit(process.main(sys.argv[1]))
"""


def test_a_process_ends_once_the_machine_was_suspended_and_says_so(tmp_path: Path) -> None:
    request = Request(
        kind="emulated", settings=MeterSettings(kinds=("emulated",)), runs_dir=tmp_path, state_dir=tmp_path
    )
    ours, theirs = os.pipe()  # a parent that stays there
    command = [sys.executable, "-c", SLEEPER, pack_request(request)]
    try:
        done = subprocess.run(command, stdin=ours, capture_output=True, timeout=HANGS_S, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == process.ENDED
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["trouble"] == "The machine was suspended for 5h, so its meters are opened anew."


def test_a_moment_between_two_looks_at_two_clocks_is_no_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "suspended_s", lambda: 10.01)
    process._end_after_suspension(10.0)
    monkeypatch.setattr(process, "suspended_s", lambda: 11.1)
    with pytest.raises(MeterEnded):
        process._end_after_suspension(10.0)
