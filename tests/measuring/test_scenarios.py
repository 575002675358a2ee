"""`greenrun measure` end to end, on an emulated NVIDIA driver whose energy is known exactly."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.measuring.measurement import READING_LIMIT_S
from tests.meters.amd.bench import play
from tests.meters.nvml.driver import Driver, Trace, board, built, constant, energy_j, square
from tests.patience import HANGS_S, until, watching

pytestmark = pytest.mark.system

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
LENGTH_S = 13.0
COMMAND = [sys.executable, "-m", "greenrun.cli", "measure"]

LONGEST_STEP_S = 1.2  # as long as the spike lasts
WINDOWS = 5
TILL_TOLD = "until [ -e {over} ]; do sleep 0.05; done"

BOARDS: dict[str, Trace] = {
    "counter": square(200), "reloaded": constant(), "spike": constant(), "lost": square(200), "no counter": constant(),
    "spike at the end": constant(),
}  # fmt: skip


def faults(at_s: float) -> list[str]:
    """What goes wrong with some of them in a window that begins at this second of the script."""
    return [
        f"reset_energy 1 {at_s + 4.3}",
        f"glitch 2 {ENERGY} {at_s + 3} {at_s + 4.2} 99876543000",
        f"fault 3 * {at_s + 2} {at_s + 7} 15",
        f"glitch 5 {ENERGY} {at_s + 7} {at_s + 999} 99876543000",
    ]


def measured(
    *words: str, env: Mapping[str, str] | None = None, meanwhile: Callable[[], object] | None = None
) -> dict[str, Any]:
    """Run `greenrun measure` with these words, do something meanwhile, and return its JSON."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GREENRUN_", "CUDA_"))}
    environ |= {"XDG_CONFIG_HOME": "/nonexistent", **(env or {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, *words], env=environ, text=True, **pipes) as process:  # type: ignore[call-overload]
        if meanwhile is not None:
            meanwhile()
        out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, err
    (line,) = out.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


def second(driver: Driver) -> float:
    """Return the present second of the script."""
    return monotonic() - driver.t0_s


def log_of(driver: Driver) -> Path:
    """Return where every call of the driver is logged."""
    return driver.folder / "calls"


def asked_s(driver: Driver) -> list[float]:
    """Return the seconds of the script at which the first board's counter was read."""
    if not log_of(driver).exists():
        return []
    calls = [line.split() for line in log_of(driver).read_text().splitlines()]
    return [float(words[0]) for words in calls if words[2:] == [ENERGY, "0"]]


@dataclass(frozen=True)
class Window:
    """What was told of each board over a window of the script."""

    answer: Mapping[str, Any]
    devices: Mapping[str, Mapping[str, Any]]
    start_s: float
    end_s: float
    late_s: float

    def error(self, name: str) -> float:
        """Return by how much of the truth what was told differs from it."""
        truth_j = energy_j(BOARDS[name], self.start_s, self.end_s)
        told_j: float = self.devices[name]["energy_j"]
        return abs(told_j - truth_j) / truth_j


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Window:
    """Measure all of these boards for some seconds; once more if the machine had the sampler sleep past a reading."""
    for _ in range(WINDOWS):
        driver = Driver(built(), tmp_path_factory.mktemp("measured"), t0_s=monotonic())
        found = measure_all(driver)
        steps_s = [after_s - before_s for before_s, after_s in pairwise(asked_s(driver))]
        if all(step_s < LONGEST_STEP_S for step_s in steps_s):
            return found
    raise AssertionError("the boards are not read once a second")


def measure_all(driver: Driver) -> Window:
    """Measure all of these boards once."""
    lines = []
    for index, (name, trace) in enumerate(BOARDS.items()):
        lines += board(index, trace, quantum_ms=10, energy=int(name != "no counter"))
    driver.play(*lines)

    def go_wrong() -> None:
        until(lambda: asked_s(driver), "the measurement begins")
        driver.play(*lines, *faults(second(driver)))

    env = {**driver.environment, "FAKE_NVML_LOG": str(log_of(driver))}
    with watching() as watch:
        answer = measured("--for", f"{LENGTH_S}s", "--json", env=env, meanwhile=go_wrong)
    wall_s = utc_now().timestamp() - monotonic()
    start_s, end_s = (
        datetime.fromisoformat(answer[name]).timestamp() - wall_s - driver.t0_s for name in ("started_at", "ended_at")
    )
    return Window(answer, dict(zip(BOARDS, answer["devices"], strict=True)), start_s, end_s, watch.whole_late_s)


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
    assert 5.0 < window.devices["lost"]["gap_s"] < 5.0 + 2 * LONGEST_STEP_S


def test_power_is_integrated_where_there_is_no_counter(window: Window) -> None:
    assert window.error("no counter") < 0.01
    assert window.devices["no counter"]["quality"] == "integrated"


def test_the_whole_is_the_sum_of_its_devices(window: Window) -> None:
    parts = [device["energy_j"] for device in window.answer["devices"]]
    assert window.answer["energy_j"] == pytest.approx(sum(parts), rel=1e-12)
    assert LENGTH_S <= window.answer["duration_s"] < LENGTH_S + 0.2 + window.late_s
    assert window.answer["quality"] == "bridged"


def gone_wrong(driver: Driver, lines: Sequence[str], fault: Callable[[float], str], *, for_s: float) -> dict[str, Any]:
    """Measure a command that runs on for some seconds from a fault on, which comes once all boards were read in it."""
    begun, over = driver.folder / "begun", driver.folder / "over"
    driver.play(*lines)

    def go_wrong() -> None:
        until(begun.exists, "the command begins")
        begun_s = second(driver)
        until(lambda: sum(at_s > begun_s for at_s in asked_s(driver)) > 1, "the boards are read, and the first again")
        at_s = second(driver)
        driver.play(*lines, fault(at_s))
        until(lambda: second(driver) > at_s + for_s)
        over.touch()

    script = f"touch {begun}; {TILL_TOLD.format(over=over)}"
    words = ("--cpu-meter", "none", "--json", "--", "sh", "-c", script)
    env = {**driver.environment, "FAKE_NVML_LOG": str(log_of(driver))}
    return measured(*words, env=env, meanwhile=go_wrong)


def test_a_gpu_that_is_lost_to_the_end_makes_the_sum_unknown_and_nothing_else(tmp_path: Path) -> None:
    driver = Driver(built(), tmp_path, t0_s=monotonic())
    lines = [*board(0, constant(), quantum_ms=10), *board(1, constant())]
    answer = gone_wrong(driver, lines, lambda at_s: f"fault 1 * {at_s} 9999 15", for_s=2.0)
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
    assert answer["duration_s"] < 2 + READING_LIMIT_S, "its readings are not waited for"


def test_a_driver_that_hangs_costs_no_joule_and_stops_nobody(tmp_path: Path) -> None:
    driver = Driver(built(), tmp_path, t0_s=monotonic())
    lines = board(0, constant(), quantum_ms=10)
    answer = gone_wrong(driver, lines, lambda at_s: f"hang -1 * {at_s + 1} {at_s + 4}", for_s=6.0)
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
