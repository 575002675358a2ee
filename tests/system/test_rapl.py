"""The whole daemon on a powercap tree in a folder: the CPU is shown and metered, and jobs get GPUs alone."""

from pathlib import Path
from urllib.request import urlopen

from tests.meters.powercap import two_sockets
from tests.system.harness import Daemon, until


def test_cpus_are_metered_beside_the_gpus_and_no_job_gets_one(folder: Path) -> None:
    two_sockets(folder / "powercap")
    devices = {"meter": "emulated", "cpu_meter": "rapl", "powercap": str(folder / "powercap")}
    with Daemon(folder, {"devices": devices}) as daemon:
        told = daemon.client.devices()
        assert [device["kind"] for device in told] == ["gpu", "gpu", "cpu", "dram", "cpu", "dram"]
        assert [device["emulated"] for device in told] == [True] * 2 + [False] * 4
        assert {device["held_elsewhere"] for device in told} == {None}
        job = daemon.submit("--now", "--gpus", "2", "--duration", "1s", "--", "sleep", "1")
        run = daemon.wait_for(job)["runs"][0]
        assert sorted(run["devices"]) == sorted(device["id"] for device in told if device["kind"] == "gpu")
        assert not list((daemon.folder / "locks").glob("*RAPL*"))
        until(lambda: (daemon.state / "meter-rapl.json").exists(), "the counters are kept for a restart")
        with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=5) as answer:
            scraped = answer.read().decode()
        assert 'greenrun_unattributed_energy_joules_total{component="dram"}' in scraped
        assert "RAPL" not in scraped, "the metrics of GPUs are of GPUs"


def test_a_machine_without_counters_says_so_and_ends(folder: Path) -> None:
    devices = {"meter": "emulated", "cpu_meter": "rapl", "powercap": str(folder / "missing")}
    daemon = Daemon(folder, {"devices": devices})
    assert daemon.spawn().wait(20) != 0
    assert "There is no CPU package under" in daemon.log()
