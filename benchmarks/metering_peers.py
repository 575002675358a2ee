"""Measure a window with another meter, inside its own environment: `metering_peers.py PEER START SECONDS`.

START is an instant of the monotonic clock. Prints, as JSON, the joules of all GPUs, from when and to when.
"""

import json
import sys
import time


def codecarbon(start_s: float, seconds: float) -> tuple[float, float, float]:
    """CodeCarbon, offline, asked to read every second (15 is usual): the energy of its GPUs."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="FRA", measure_power_secs=1, save_to_file=False, log_level="error"
    )
    wait_until(start_s)
    tracker.start()
    began_s = time.monotonic()
    wait_until(began_s + seconds)
    ended_s = time.monotonic()
    tracker.stop()
    return tracker.final_emissions_data.gpu_energy * 3.6e6, began_s, ended_s


def zeus(start_s: float, seconds: float) -> tuple[float, float, float]:
    """Zeus: the sum over the GPUs of its window."""
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor()
    wait_until(start_s)
    monitor.begin_window("window", sync_execution=False)
    began_s = time.monotonic()
    wait_until(began_s + seconds)
    ended_s = time.monotonic()
    measured = monitor.end_window("window", sync_execution=False)
    return sum(measured.gpu_energy.values()), began_s, ended_s


def carbontracker(start_s: float, seconds: float) -> tuple[float, float, float]:
    """carbontracker: the energy of the first of two epochs, without the PUE that it multiplies with."""
    from carbontracker import constants
    from carbontracker.tracker import CarbonTracker

    tracker = CarbonTracker(epochs=2, epochs_before_pred=0, monitor_epochs=-1, components="gpu", verbose=0)
    wait_until(start_s)
    tracker.epoch_start()
    began_s = time.monotonic()
    wait_until(began_s + seconds)
    ended_s = time.monotonic()
    tracker.epoch_end()
    return float(tracker.tracker.total_energy_per_epoch().sum()) / constants.PUE_2023 * 3.6e6, began_s, ended_s


def wait_until(at_s: float) -> None:
    """Wait for an instant of the monotonic clock."""
    time.sleep(max(0.0, at_s - time.monotonic()))


if __name__ == "__main__":
    peer, start, length = sys.argv[1:]
    joules, began, ended = {"codecarbon": codecarbon, "zeus": zeus, "carbontracker": carbontracker}[peer](
        float(start), float(length)
    )
    print("\n" + json.dumps({"joules": joules, "from_s": began, "to_s": ended}), flush=True)
