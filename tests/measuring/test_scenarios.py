"""`greenrun measure` end to end, on an emulated NVIDIA driver whose energy is known exactly."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from greenrun.clock import utc_now
from tests.meters.amd.bench import play
from tests.meters.nvml.driver import Driver, Trace, board, built, constant, energy_j, square

pytestmark = pytest.mark.system

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
LENGTH_S = 13.0
COMMAND = [sys.executable, "-m", "greenrun.cli", "measure"]

BOARDS: dict[str, tuple[Trace, list[str]]] = {
    "counter": (square(60), []),
    "reloaded": (constant(), ["reset_energy 1 6.3"]),
    "spike": (constant(), [f"glitch 2 {ENERGY} 5 6.2 99876543000"]),
    "lost": (square(60), ["fault 3 * 4 9 15"]),
    "no counter": (constant(), []),
    "spike at the end": (constant(), [f"glitch 5 {ENERGY} 9 99 99876543000"]),
}


def measured(
    *words: str, env: Mapping[str, str] | None = None, folder: Path | None = None, check: bool = True
) -> dict[str, Any]:
    """Run `greenrun measure` with these words and return its JSON."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GREENRUN_", "CUDA_"))}
    environ |= {"XDG_CONFIG_HOME": str(folder or "/nonexistent"), **(env or {})}
    done = subprocess.run([*COMMAND, *words], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


@dataclass(frozen=True)
class Window:
    """What was told of each board over a window of the script."""

    answer: Mapping[str, Any]
    devices: Mapping[str, Mapping[str, Any]]
    start_s: float
    end_s: float

    def error(self, name: str) -> float:
        """Return by how much of the truth what was told differs from it."""
        truth_j = energy_j(BOARDS[name][0], self.start_s, self.end_s)
        told_j: float = self.devices[name]["energy_j"]
        return abs(told_j - truth_j) / truth_j


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Window:
    """Measure all of these boards for some seconds."""
    driver = Driver(built(), tmp_path_factory.mktemp("measured"), t0_s=monotonic())
    lines = []
    for index, (name, (trace, faults)) in enumerate(BOARDS.items()):
        lines += [*board(index, trace, quantum_ms=10, energy=int(name != "no counter")), *faults]
    driver.play(*lines)
    answer = measured("--for", f"{LENGTH_S}s", "--json", env=driver.environment)
    wall_s = utc_now().timestamp() - monotonic()
    start_s, end_s = (
        datetime.fromisoformat(answer[name]).timestamp() - wall_s - driver.t0_s for name in ("started_at", "ended_at")
    )
    return Window(answer, dict(zip(BOARDS, answer["devices"], strict=True)), start_s, end_s)


def test_counters_are_told_exactly(window: Window) -> None:
    assert window.error("counter") < 0.01
    assert window.devices["counter"]["quality"] == "measured"
    assert window.devices["counter"]["gap_s"] == 0


def test_a_driver_reload_is_bridged_and_flagged(window: Window) -> None:
    assert window.error("reloaded") < 0.005
    assert window.devices["reloaded"]["quality"] == "bridged"


@pytest.mark.parametrize("name", ["spike", "spike at the end"])
def test_a_spike_is_passed_over_and_flagged(window: Window, name: str) -> None:
    assert window.error(name) < 0.02
    assert window.devices[name]["quality"] == "bridged"


def test_a_gpu_that_was_lost_loses_nothing_and_its_gap_is_told(window: Window) -> None:
    assert window.error("lost") < 0.01
    assert window.devices["lost"]["quality"] == "bridged"
    assert window.devices["lost"]["gap_s"] == pytest.approx(5.5, abs=1.0)


def test_power_is_integrated_where_there_is_no_counter(window: Window) -> None:
    assert window.error("no counter") < 0.01
    assert window.devices["no counter"]["quality"] == "integrated"


def test_the_whole_is_the_sum_of_its_devices(window: Window) -> None:
    parts = [device["energy_j"] for device in window.answer["devices"]]
    assert window.answer["energy_j"] == pytest.approx(sum(parts), rel=1e-12)
    assert window.answer["duration_s"] == pytest.approx(LENGTH_S, abs=0.2)
    assert window.answer["quality"] == "bridged"


def test_a_gpu_that_is_lost_to_the_end_makes_the_sum_unknown_and_nothing_else(tmp_path: Path) -> None:
    driver = Driver(built(), tmp_path, t0_s=monotonic())
    driver.play(*board(0, constant(), quantum_ms=10), *board(1, constant()), "fault 1 * 3 999 15")
    answer = measured("--cpu-meter", "none", "--json", "--", "sleep", "4", env=driver.environment)
    there, lost = answer["devices"]
    assert there["energy_j"] == pytest.approx(300 * answer["duration_s"], rel=0.02)
    assert (lost["energy_j"], lost["quality"]) == (None, "unknown")
    assert lost["gap_s"] > 0
    assert (answer["energy_j"], answer["exit_code"]) == (None, 0)
    assert "before the end" in answer["reason"]


def test_a_die_whose_energy_is_in_that_of_another_leaves_the_sum_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"trace": [[0.0, 500.0]], "name": "AMD Instinct MI250X"}
    play(monkeypatch, tmp_path, card, {**card, "silent": True}, t0=monotonic())
    answer = measured("--meter", "amd", "--cpu-meter", "none", "--json", "--", "sleep", "2")
    whole, part = answer["devices"]
    assert answer["energy_j"] == whole["energy_j"] == pytest.approx(500 * answer["duration_s"], rel=0.01)
    assert (part["energy_j"], part["in_total"]) == (None, False)
    assert part["reason"] == f"its energy is in that of {whole['id']}"
    assert answer["duration_s"] < 3


def test_a_driver_that_hangs_costs_no_joule_and_stops_nobody(tmp_path: Path) -> None:
    driver = Driver(built(), tmp_path, t0_s=monotonic())
    driver.play(*board(0, constant(), quantum_ms=10), "hang -1 * 3 6")
    answer = measured("--cpu-meter", "none", "--json", "--", "sleep", "8", env=driver.environment)
    assert answer["energy_j"] == pytest.approx(300 * answer["duration_s"], rel=0.02)
    assert answer["devices"][0]["quality"] == "bridged"
    assert answer["devices"][0]["gap_s"] > 2
    assert answer["exit_code"] == 0


def test_a_sampler_that_is_replaced_is_noted_and_not_logged(tmp_path: Path) -> None:
    driver = Driver(built(), tmp_path, t0_s=monotonic())
    driver.play(*board(0, constant(), quantum_ms=10))
    kill = (
        "import os, psutil, threading\n"
        "for each in psutil.Process(os.getppid()).children():\n    each.pid == os.getpid() or each.kill()\n"
        "threading.Event().wait(3)"
    )
    answer = measured("--cpu-meter", "none", "--json", "--", sys.executable, "-c", kill, env=driver.environment)
    assert answer["notes"] == ["nvml: sampler stopped: ended"]
    assert answer["devices"][0]["quality"] == "bridged"
    assert answer["energy_j"] == pytest.approx(300 * answer["duration_s"], rel=0.05)
