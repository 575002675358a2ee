"""The demo's scenario: the settings of its daemon, and eight jobs with different durations, GPUs and limits."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenrun.charts.terminal import Step
from greenrun.cli.demonstration.trace import csv_text, synthetic_trace
from greenrun.paths import JOB_ENVIRONMENT
from greenrun.submission import environment

START = datetime(2026, 6, 1, 18, 30, tzinfo=UTC)  # the evening peak: now is a bad time, and a sunny day follows
SEED = 7
DAYS = 60  # an hour's worth, for those who keep the daemon running
SPEED = 1440.0  # a day takes a minute
GPUS = 4
WATTS_IDLE, WATTS_BUSY = 60, 350
LENGTH_S = 60.0  # what the drawing shows: from the first submission until after the last job's end
SOCKET = "greenrun.sock"
LOG = "daemon.log"
SCRIPT = "train.py"

_SETTINGS = """\
# The settings of `greenrun demo`: a made-up grid on which a day takes a minute, and GPUs that do not exist.
[paths]
state = "state"
locks = "locks"

[grid]
zone = "SYNTHETIC"
provider = "synthetic"

[provider.synthetic]
kind = "file"
label = "synthetic"
path = "synthetic.csv"
replay = {{ at = "{at}", speed = {speed:g}, horizon = "36h" }}

[devices]
meter = "emulated"

[devices.emulated]
gpus = {gpus}
watts_idle = {idle}
watts_busy = {busy}

[planner]
tick = "1s"
default_max_delay = "60s"  # a day of the grid

[api]
socket = "{socket}"
metrics = "127.0.0.1:0"    # a free port; the log says which
"""

_TRAIN = """\
# Stands in for training: it runs for so many seconds and prints a falling loss.
import os, sys, time

name, seconds = sys.argv[1], float(sys.argv[2])
print(f"{name} on {os.environ.get('CUDA_VISIBLE_DEVICES', 'no GPU')}", flush=True)
begin = time.monotonic()
for epoch in range(1, 11):
    time.sleep(max(0.0, begin + seconds * epoch / 10 - time.monotonic()))
    print(f"epoch {epoch}/10 loss {2.5 / (epoch + 1):.3f}", flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """A job to submit. `within_s` is its finish-by, in seconds from its submission; `limits` are the API's own."""

    name: str
    seconds: float
    gpus: int = 1
    within_s: float | None = None
    limits: Mapping[str, object] = field(default_factory=dict)
    limits_text: str = ""

    @property
    def options(self) -> str:
        """The job as the options of `greenrun submit`."""
        return f"--gpus {self.gpus} --duration {self.seconds:g}s {self.limits_text}".rstrip()

    def request(self, now: datetime, folder: Path) -> dict[str, Any]:
        """Return the API's request for the job. The process ends a little sooner than stated, as is usual."""
        by = {} if self.within_s is None else {"finish_by": (now + timedelta(seconds=self.within_s)).isoformat()}
        command = [sys.executable, str(folder / SCRIPT), self.name, f"{self.seconds - 0.4:g}"]
        env = environment.kept(os.environ, JOB_ENVIRONMENT)
        stated = {"name": self.name, "project": "demo", "gpus": self.gpus, "duration_s": float(self.seconds)}
        return {"command": command, "workdir": str(folder), "env": env, "grace_s": 2.0, **stated, **by, **self.limits}


DEMO_JOBS = (
    DemoJob(name="hotfix", seconds=4, limits_text="--now", limits={"start_now": True}),
    DemoJob(
        name="quick-look", seconds=2, limits_text="--max-delay 6s --min-saving 20%",
        limits={"max_delay_s": 6.0, "min_saving": 0.2},
    ),
    DemoJob(name="finetune", seconds=5, limits_text="--max-delay 26s", limits={"max_delay_s": 26.0}),
    DemoJob(name="nightly-eval", seconds=3, limits_text="--finish-by 32s", within_s=32),
    DemoJob(name="pretrain", seconds=8, gpus=2),
    DemoJob(name="distill", seconds=6, gpus=2, limits_text="--finish-by 62s", within_s=62),
    DemoJob(name="sweep-a", seconds=5, limits_text="--max-delay 1m", limits={"max_delay_s": 60.0}),
    DemoJob(name="sweep-b", seconds=7, limits_text="--run-below 190", limits={"run_below_g_per_kwh": 190.0}),
)  # fmt: skip


def set_up(folder: Path) -> tuple[Path, list[Step]]:
    """Write the trace, the settings and the jobs' script into a folder; return the settings file and the trace."""
    trace = synthetic_trace(START, DAYS, SEED)
    settings = _SETTINGS.format(
        at=START.isoformat(), speed=SPEED, gpus=GPUS, idle=WATTS_IDLE, busy=WATTS_BUSY, socket=SOCKET
    )
    (folder / "synthetic.csv").write_text(csv_text(trace), encoding="utf-8")
    (folder / SCRIPT).write_text(_TRAIN, encoding="utf-8")
    config = folder / "greenrun.toml"
    config.write_text(settings, encoding="utf-8")
    return config, trace
