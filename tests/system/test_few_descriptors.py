"""With hardly any descriptors, and callers who hold some and ask nothing, jobs are started all the same."""

import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.patience import HANGS_S, until
from tests.system.harness import Daemon, short_folder

pytestmark = pytest.mark.system


@pytest.mark.parametrize("gpus", [0, 1])
def test_with_24_descriptors_and_10_idle_connections_all_jobs_succeed_at_once(gpus: int) -> None:
    with short_folder() as folder, Daemon(folder, descriptors=24) as daemon, ExitStack() as stack:
        for _ in range(10):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            idle.settimeout(HANGS_S)
            idle.connect(str(daemon.client.socket))
        words = ["submit", "--quiet", "--now", "--duration", "10s", "-g", gpus, "--", "sleep", "1"]
        asked = [daemon.cli(*words) for _ in range(6)]
        assert [(done.code, done.err) for done in asked] == [(0, "")] * 6
        scraped = until(lambda: scrape(daemon), "the metrics are answered")
        assert "greenrun_jobs{" in scraped
        ends = [daemon.wait_for(int(done.out)) for done in asked]
        attempts = [[run["outcome"] for run in end["runs"] if run["started_at"]] for end in ends]
        assert attempts == [["succeeded"]] * 6
        assert "Traceback" not in daemon.log()
        codes = [row["code"] for row in daemon.client.health()["conditions"]]
        assert "few_descriptors" in codes


def scrape(daemon: Daemon) -> str:
    """Return the metrics; empty where the connection was dropped for another one."""
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{daemon.metrics_address}/metrics", timeout=HANGS_S).text
    return ""


def test_a_limit_that_is_too_low_to_start_anything_is_told(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {"api": {"metrics": ""}}, descriptors=20)
    assert daemon.spawn().wait(HANGS_S) == 78
    assert "it needs 21 at least" in daemon.log()
