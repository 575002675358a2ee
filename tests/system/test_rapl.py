"""The whole daemon on a powercap tree in a folder: the CPU is shown and metered, and jobs get GPUs alone."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from math import fsum
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from urllib.request import urlopen

import pytest

from greenrun.core.energy.model import Slice
from greenrun.store import Store
from tests.meters.cpu.powercap import two_sockets
from tests.patience import HANGS_S, exit_code, until
from tests.system.harness import Daemon


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
        with urlopen(f"http://{daemon.metrics_address}/metrics", timeout=HANGS_S) as answer:
            scraped = answer.read().decode()
        assert 'greenrun_unattributed_energy_joules_total{component="dram"}' in scraped
        assert "RAPL" not in scraped, "the metrics of GPUs are of GPUs"


def test_a_machine_without_counters_says_so_and_ends(folder: Path) -> None:
    devices = {"meter": "emulated", "cpu_meter": "rapl", "powercap": str(folder / "missing")}
    daemon = Daemon(folder, {"devices": devices})
    assert exit_code(daemon.spawn()) != 0
    assert "There is no CPU package under" in daemon.log()


@contextmanager
def drawing(root: Path, power_w: float) -> Iterator[None]:
    """Let every package and its DRAM draw a steady power for as long as this lasts."""
    zones, done, began = two_sockets(root), Event(), monotonic()

    def draw() -> None:
        while not done.wait(0.02):
            for zone in zones.values():
                zone.show(1000.0 + power_w * (monotonic() - began))

    thread = Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


BURN = "import time\nwhile time.process_time() < 3: pass"  # however long that takes beside others


def test_a_job_that_computes_gets_the_cpus_energy_and_one_that_sleeps_next_to_none(folder: Path) -> None:
    devices = {"meter": "emulated", "cpu_meter": "rapl", "powercap": str(folder / "powercap")}
    with drawing(folder / "powercap", 80.0), Daemon(folder, {"devices": devices}) as daemon:
        asked = ("--now", "--gpus", "0", "--duration", "4s", "--")
        jobs = daemon.submit(*asked, sys.executable, "-c", BURN), daemon.submit(*asked, "sleep", "4")
        burner, sleeper = (daemon.booked(job) for job in jobs)
        assert burner["devices"] == sleeper["devices"] == []
        assert burner["energy_j"] > 10 * sleeper["energy_j"] >= 0
        daemon.terminate()
    with Store(folder / "state/greenrun.db") as store:
        slices = [row.slice for row in store.books.entries(limit=10_000) if row.slice.device.startswith("RAPL")]
        marks = {mark.device: mark.energy_j for mark in store.books.marks().values() if mark.device.startswith("RAPL")}
        totals = [store.books.run_totals([run["id"]])[run["id"]].energy_j for run in (burner, sleeper)]
    assert totals == [burner["energy_j"], sleeper["energy_j"]], "a run that ended is wholly in the books"
    used: defaultdict[str, list[Slice]] = defaultdict(list)
    for piece in slices:
        used[piece.device].append(piece)
    assert {name: fsum(piece.energy_j or 0.0 for piece in own) for name, own in used.items()} == pytest.approx(marks)
    shares: defaultdict[tuple[str, datetime], float] = defaultdict(float)
    for piece in slices:
        shares[piece.device, piece.start] += piece.share
    assert list(shares.values()) == pytest.approx([1.0] * len(shares))
