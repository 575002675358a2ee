"""The whole daemon on an emulated NVIDIA driver: jobs get what their GPU used, a hung driver keeps nobody waiting."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

import pytest

from tests.meters.nvml.driver import Driver, board, built, constant, uuid
from tests.system.harness import Daemon, until

BOARDS = [*board(0, constant(300), quantum_ms=10), *board(1, constant(100), quantum_ms=10)]
PROMPT_S = 3.0  # on a busy machine


@pytest.fixture
def driver(folder: Path) -> Driver:
    """Two GPUs of 300 W and 100 W."""
    driver = Driver(built(), folder, t0_s=monotonic())
    driver.play(*BOARDS)
    return driver


@pytest.fixture
def daemon(folder: Path, driver: Driver) -> Iterator[Daemon]:
    """A daemon that reads them."""
    with Daemon(folder, {"devices": {"meter": "nvml"}}, env=driver.environment) as running:
        yield running


def scraped(daemon: Daemon) -> dict[str, float]:
    """Return every sample by its name and labels."""
    with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (row.rpartition(" ") for row in lines if not row.startswith("#"))}


def test_a_job_is_booked_what_its_gpu_used_also_over_a_killed_daemon(daemon: Daemon) -> None:
    calm = daemon.submit("--now", "--gpus", "1", "--duration", "2s", "--", "sleep", "2")
    daemon.wait_for(calm)
    killed = daemon.submit("--now", "--gpus", "1", "--duration", "4s", "--", "sleep", "4")
    daemon.wait_for(killed, "running")
    until(lambda: scraped(daemon)[f'greenrun_gpu_up{{gpu_uuid="{uuid(1)}"}}'] == 1.0, "both GPUs are read")
    daemon.kill9()
    daemon.start()
    for job, quality in ((calm, "measured"), (killed, "bridged")):
        run = daemon.wait_for(job)["runs"][0]
        power_w = {uuid(0): 300.0, uuid(1): 100.0}[run["devices"][0]]
        ended = daemon.run_record(f"{job}.1", "exit")
        true_j = power_w * (ended["ended_at"] - ended["started_at"])
        assert (run["energy_quality"], run["energy_j"]) == (
            quality,
            pytest.approx(true_j, rel=0.02, abs=power_w * 0.05),
        )


def test_a_driver_that_hangs_delays_neither_a_launch_nor_a_scrape(daemon: Daemon, driver: Driver) -> None:
    until(lambda: scraped(daemon).get("greenrun_sampler_lag_seconds"), "the meter was read")
    hangs_s = monotonic() - driver.t0_s
    driver.play(*BOARDS, f"hang -1 * {hangs_s} {hangs_s + 10}")
    until(lambda: scraped(daemon)["greenrun_sampler_lag_seconds"] > 2, "the driver hangs")
    began = monotonic()
    job = daemon.submit("--now", "--gpus", "1", "--duration", "1s", "--", "true")
    daemon.wait_for(job, "succeeded", limit_s=PROMPT_S)
    assert monotonic() - began < PROMPT_S
    began = monotonic()
    scraped(daemon)
    assert monotonic() - began < 1.0
    until(lambda: scraped(daemon)[f'greenrun_gpu_up{{gpu_uuid="{uuid(0)}"}}'] == 0.0, "the GPU is told to be down")
    until(lambda: scraped(daemon)["greenrun_sampler_restarts_total"] >= 1, "another sampler comes up", limit_s=40)
    until(lambda: scraped(daemon)[f'greenrun_gpu_up{{gpu_uuid="{uuid(0)}"}}'] == 1.0, "the GPU is read again")
    assert scraped(daemon)[f'greenrun_gpu_gap_seconds_total{{gpu_uuid="{uuid(0)}"}}'] > 5


def test_a_daemon_that_cannot_ask_the_driver_says_why_and_ends(folder: Path, driver: Driver) -> None:
    driver.play("init_error 9")
    daemon = Daemon(folder, {"devices": {"meter": "nvml"}}, env=driver.environment)
    process = daemon.spawn()
    assert process.wait(20) != 0
    assert "NVIDIA's driver is not loaded; load it until nvidia-smi answers" in daemon.log()
