"""`greenrun measure` beside a daemon: within a job it measures the GPUs that the job holds, and asks the daemon."""

import json
from pathlib import Path

import pytest

from tests.system.harness import GREENRUN, Daemon

GRID = {"grid": {"zone": "GB", "provider": "mean"}, "provider": {"mean": {"kind": "static", "g_per_kwh": 250}}}
DEVICES = {"devices": {"meter": "emulated", "pue": 1.5, "emulated": {"watts_idle": 60, "watts_busy": 350}}}


def test_a_job_measures_the_gpu_that_it_holds(folder: Path) -> None:
    with Daemon(folder, {**GRID, **DEVICES}) as daemon:
        told = folder / "energy.json"
        words = [str(GREENRUN), "measure", "--config", str(daemon.config), "--output", str(told), "--", "sleep", "1"]
        job = daemon.submit("--now", "--gpus", "1", "--duration", "3s", "--", *words)
        run = daemon.booked(job)
        measured = json.loads(told.read_text())
    assert [each["id"] for each in measured["devices"]] == run["devices"]
    assert measured["devices"][0]["emulated"]
    assert measured["energy_j"] == pytest.approx(350 * measured["duration_s"], rel=0.01)
    assert 1.0 <= measured["duration_s"] < run["energy_j"] / 350
    assert measured["intensity"]["g_per_kwh"] == pytest.approx(250)
    assert measured["emissions_g"] == pytest.approx(measured["energy_j"] / 3.6e6 * 250 * 1.5)
