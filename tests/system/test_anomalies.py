"""The whole daemon and a program that stops making progress: it is noticed, shown, and stopped where asked."""

import sys
from pathlib import Path
from urllib.request import urlopen

from tests.patience import HANGS_S, at_some_pace, until
from tests.system.harness import Daemon, short_folder

STOPS_GROWING = """
import time
from greenrun.training import report

for step in range(1, 4):
    report(samples=step * 1000)
    time.sleep(1.1)
time.sleep(600)
"""


def test_a_job_that_makes_no_more_progress_is_marked_and_one_that_asked_for_it_is_stopped() -> None:
    at_some_pace(_marked_and_stopped)  # on a busy machine a program may be silent for some seconds and yet get on


def _marked_and_stopped(pace: float) -> None:
    with short_folder() as folder:
        _mark_and_stop(folder, stuck_s=2 * pace)


def _mark_and_stop(folder: Path, stuck_s: float) -> None:
    anomalies = {"stuck": f"{stuck_s:g}s", "stuck_intervals": 1.0, "gpu_idle": "never", "power_off": 0}
    (folder / "train.py").write_text(STOPS_GROWING, encoding="utf-8")
    command = ("--now", "--duration", "1m", "--grace", "1s", "--", sys.executable, "train.py")
    with Daemon(folder, {"anomalies": anomalies}) as daemon:
        patient = daemon.submit(*command)
        strict = daemon.submit("--stop-on", "gpu_idle,stuck", *command)

        until(lambda: _anomalies(daemon, patient), "the first job is marked")
        assert [(row["anomaly"], row["until"]) for row in _anomalies(daemon, patient)] == [("stuck", None)]
        stopped = daemon.wait_for(strict)

        assert stopped["state"] == "cancelled"
        assert stopped["reason"]["code"] == "anomalous"
        assert "stopped on stuck, as its user had asked: it has reported no new work for" in stopped["reason"]["text"]
        assert (stopped["runs"][0]["work"], stopped["runs"][0]["work_unit"]) == (3000.0, "samples")
        assert daemon.client.job(patient)["state"] == "running", "nobody asked for its end"

        assert " ! stuck" in daemon.cli("list").out
        assert "anomaly:    stuck since" in daemon.cli("show", patient).out
        assert f"Run {patient}.1 has the anomaly stuck since" in daemon.cli("explain", patient).out
        assert 'greenrun_anomalies_total{rule="stuck"} 2.0' in _scrape(daemon)
        assert 'greenrun_jobs_anomalous{rule="stuck"} 1.0' in _scrape(daemon)

        daemon.kill9()
        daemon.start()
        until(lambda: 'greenrun_jobs_anomalous{rule="stuck"} 1.0' in _scrape(daemon), "the next daemon knows of it")
        assert 'greenrun_anomalies_total{rule="stuck"} 2.0' in _scrape(daemon), "and counts it no second time"


def _anomalies(daemon: Daemon, job: int) -> list[dict[str, str]]:
    runs = daemon.client.job(job)["runs"]
    return list(runs[0]["anomalies"]) if runs else []


def _scrape(daemon: Daemon) -> str:
    with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=HANGS_S) as answer:
        return str(answer.read().decode())
