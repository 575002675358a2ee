"""What a meter found out about its devices is logged, once, however often its process is replaced."""

import os
import signal
from pathlib import Path

from structlog.testing import capture_logs

from greenrun.meters import MeterSettings, open_meter
from tests.meters.cpu.powercap import zone
from tests.patience import until


def test_dies_with_one_counter_are_told_once(tmp_path: Path) -> None:
    zone(tmp_path / "powercap", "intel-rapl:0", "package-0-die-0", 500.0)
    zone(tmp_path / "powercap", "intel-rapl:1", "package-0-die-1", 500.0)
    settings = MeterSettings(kinds=("none",), cpu_kinds=("rapl",), powercap=tmp_path / "powercap")
    with capture_logs() as logs:
        meter = open_meter(settings, runs_dir=tmp_path / "runs", state_dir=tmp_path)
        try:
            os.kill(meter._meters[1].pid, signal.SIGKILL)  # type: ignore[attr-defined]
            until(lambda: meter.restarts == 1)
        finally:
            meter.close()
    said = [row["cause"] for row in logs if row["event"] == "devices"]
    assert said == ["package-0-die-1 shows the counter of package-0-die-0, so it is counted once"]
