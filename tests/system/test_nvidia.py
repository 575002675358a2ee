"""The whole daemon on an emulated NVIDIA driver: jobs get what their GPU used, a hung driver keeps nobody waiting."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from urllib.request import urlopen

import pytest

from tests.conftest import require
from tests.meters.nvml.driver import Driver, board, built, constant, uuid
from tests.metrics.dashboards import ALERTS, RULES
from tests.patience import HANGS_S, FairClock, exit_code, until, watching
from tests.system.harness import Daemon
from tests.system.prometheus import scraping

BOARDS = [*board(0, constant(300), quantum_ms=10), *board(1, constant(100), quantum_ms=10)]
PROMPT_S = 3.0  # in seconds that the machine gives, as all limits here
SCRAPED_S = 1.0
ALERTED_S = 90.0
FOR_EVER_S = 10_000.0


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
    with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=HANGS_S) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (row.rpartition(" ") for row in lines if not row.startswith("#"))}


def test_a_job_is_booked_what_its_gpu_used_also_over_a_killed_daemon(daemon: Daemon) -> None:
    with watching() as watch:
        calm = daemon.submit("--now", "--gpus", "1", "--duration", "2s", "--", "sleep", "2")
        daemon.booked(calm)
    killed = daemon.submit("--now", "--gpus", "1", "--duration", "10s", "--", "sleep", "10")
    daemon.wait_for(killed, "running")
    until(lambda: scraped(daemon)[f'greenrun_gpu_up{{gpu_uuid="{uuid(1)}"}}'] == 1.0, "both GPUs are read")
    daemon.kill9()
    daemon.start()
    was_late = watch.whole_late_s > 1.0  # a sampler that sleeps on leaves a gap to bridge
    for job, qualities in ((calm, {"measured", "bridged"} if was_late else {"measured"}), (killed, {"bridged"})):
        run = daemon.booked(job)
        power_w = {uuid(0): 300.0, uuid(1): 100.0}[run["devices"][0]]
        ended = daemon.run_record(f"{job}.1", "exit")
        true_j = power_w * (ended["ended_at"] - ended["started_at"])
        assert run["energy_quality"] in qualities
        assert run["energy_j"] == pytest.approx(true_j, rel=0.02, abs=power_w * 0.05)


def test_nothing_is_started_beside_somebody_else_nor_on_a_drained_gpu_over_a_restart(
    daemon: Daemon, driver: Driver
) -> None:
    driver.play(*BOARDS, f"proc 1 {os.getpid()} {8 << 30} 0 1e12")
    until(lambda: not daemon.client.devices()[1]["available"], "the process is seen")
    both = daemon.submit("--now", "--gpus", "2", "--duration", "1s", "--", "true")
    shown = ("sh", "-c", 'test "$CUDA_VISIBLE_DEVICES" = 0')
    daemon.wait_for(daemon.submit("--now", "--gpu-ids", "index", "--duration", "1s", "--", *shown), "succeeded")
    waits = daemon.wait_for(both, "queued")["reason"]
    assert (waits["code"], f"process {os.getpid()} of " in waits["text"]) == ("gpus_used_by_others", True)
    assert "(8 GiB); plans go without it" in daemon.cli("explain", both).out
    assert daemon.cli("drain", "--gpu", "1", "--reason", "a fan").code == 0
    driver.play(*BOARDS)
    daemon.kill9()
    daemon.start()
    until(lambda: daemon.client.job(both)["reason"]["code"] == "drained", "it is drained still")
    assert daemon.cli("resume").code == 0
    daemon.wait_for(both, "succeeded")


def test_a_driver_that_hangs_delays_neither_a_launch_nor_a_scrape(daemon: Daemon, driver: Driver) -> None:
    until(lambda: scraped(daemon).get("greenrun_sampler_lag_seconds"), "the meter was read")
    hangs_s = monotonic() - driver.t0_s
    driver.play(*BOARDS, f"hang -1 * {hangs_s} {hangs_s + FOR_EVER_S}")
    until(lambda: scraped(daemon)["greenrun_sampler_lag_seconds"] > 2, "the driver hangs")
    launch_s, scrape_s = delay_of_a_launch_and_a_scrape(daemon)
    assert (launch_s < PROMPT_S, scrape_s < SCRAPED_S) == (True, True), (launch_s, scrape_s)
    until(lambda: scraped(daemon)[f'greenrun_gpu_up{{gpu_uuid="{uuid(0)}"}}'] == 0.0, "the GPU is told to be down")
    driver.play(*BOARDS, f"hang -1 * {hangs_s} {monotonic() - driver.t0_s}")
    until(lambda: scraped(daemon)["greenrun_sampler_restarts_total"] >= 1, "another sampler comes up", limit_s=40)
    until(lambda: scraped(daemon)[f'greenrun_gpu_up{{gpu_uuid="{uuid(0)}"}}'] == 1.0, "the GPU is read again")
    assert scraped(daemon)[f'greenrun_gpu_gap_seconds_total{{gpu_uuid="{uuid(0)}"}}'] > 5


@pytest.mark.slow
def test_a_driver_that_hangs_is_alerted_within_ninety_seconds_and_meanwhile_delays_nothing(
    daemon: Daemon, driver: Driver, folder: Path
) -> None:
    """With scrapes and evaluations every 15 seconds, as the documents say."""
    sampled = "greenrun_sampler_last_sample_timestamp_seconds > 0"
    firing = 'ALERTS{alertname="GreenrunSamplerStalled", alertstate="firing"}'
    with scraping(daemon.metrics_address, folder, [RULES, ALERTS], every="15s") as prometheus:
        until(lambda: prometheus.has_data(sampled), "the daemon is scraped", limit_s=40)
        hung_at_s, clock = monotonic(), FairClock()
        driver.play(*BOARDS, f"hang -1 * {hung_at_s - driver.t0_s} {hung_at_s - driver.t0_s + FOR_EVER_S}")
        until(lambda: scraped(daemon)["greenrun_sampler_lag_seconds"] > 2, "the driver hangs")
        assert not prometheus.has_data(firing)
        delays = [delay_of_a_launch_and_a_scrape(daemon)]
        until(lambda: prometheus.has_data(firing), "the alert fires", limit_s=ALERTED_S - clock.advance())
        delays.append(delay_of_a_launch_and_a_scrape(daemon))
    assert max(launch_s for launch_s, _ in delays) < PROMPT_S
    assert max(scrape_s for _, scrape_s in delays) < SCRAPED_S
    figures = ("power_watts", "utilization_ratio", "memory_used_bytes", "temperature_celsius")
    assert [name for name in figures if f'greenrun_gpu_{name}{{gpu_uuid="{uuid(0)}"}}' in scraped(daemon)] == []


def delay_of_a_launch_and_a_scrape(daemon: Daemon) -> tuple[float, float]:
    """Return how many seconds that the machine gives a job takes that does nothing, and a scrape."""
    with watching() as watch:
        job = daemon.submit("--now", "--gpus", "1", "--duration", "1s", "--", "true")
        daemon.wait_for(job, "succeeded")
        done_s = watch.look()
        scraped(daemon)
        return done_s, watch.look() - done_s


@pytest.mark.slow
def test_what_gpus_tell_beside_their_energy_is_scraped(daemon: Daemon) -> None:
    """And promtool has nothing to say about it."""
    label = f'{{gpu_uuid="{uuid(0)}"}}'
    until(lambda: f"greenrun_gpu_power_watts{label}" in scraped(daemon), "the GPU is looked at")
    told = scraped(daemon)
    names = ("power_watts", "power_limit_watts", "utilization_ratio", "memory_used_bytes", "temperature_celsius")
    assert [told[f"greenrun_gpu_{name}{label}"] for name in names] == [300.0, 700.0, 0.0, 0.0, 35.0]
    until(lambda: scraped(daemon)[f"greenrun_gpu_energy_joules_total{label}"] > 0, "energy is booked", limit_s=90)
    with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=HANGS_S) as answer:
        text = answer.read()
    checked = subprocess.run([require("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_gpus_of_the_driver_that_answers_are_used_without_any_setting(folder: Path, driver: Driver) -> None:
    """And where it does not answer, whoever asks for a GPU is told why there is none."""
    unset = {"devices": {"meter": ["nvml", "amd", "none"]}}
    with Daemon(folder, unset, env=driver.environment) as daemon:
        assert [device["id"] for device in daemon.client.devices()] == [uuid(0), uuid(1)]
        daemon.kill9()
        driver.play("init_error 9")
        daemon.start()
        refused = daemon.cli("submit", "--gpus", "2", "--", "true")
    said = "the job needs 2 GPUs and this machine has 0 GPUs: nvml says: NVIDIA's driver is not loaded"
    assert (refused.code, said in refused.err, "; set devices.meter and" in refused.err) == (2, True, True), refused.err
    assert "meter refused" in daemon.log()


def test_a_daemon_that_cannot_ask_the_driver_says_why_and_ends(folder: Path, driver: Driver) -> None:
    driver.play("init_error 9")
    daemon = Daemon(folder, {"devices": {"meter": "nvml"}}, env=driver.environment)
    process = daemon.spawn()
    assert exit_code(process) != 0
    assert "NVIDIA's driver is not loaded; load it until nvidia-smi answers" in daemon.log()
