"""The NVML meter in its real sampler process, in real time, on the emulated driver."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.core.energy.model import DeviceHealth, Quality, Reading
from greenrun.meters.gpu.accumulator import GAP_S
from greenrun.meters.sampler.child import COMMAND
from greenrun.meters.sampler.sampler import POKE_LIMIT_S, Sampler
from greenrun.meters.sampler.wire import Request, pack_request
from greenrun.meters.settings import MeterSettings
from tests.meters.nvml.driver import Driver, Trace, board, built, constant, energy_j, square, uuid
from tests.patience import HANGS_S, exit_code, until, watching

pytestmark = pytest.mark.system

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
SLACK_S = 0.5  # beyond a limit, in seconds that the machine gives
LENGTH_S = 11.0
LONGEST_STEP_S = 1.2  # as long as the spike lasts
WINDOWS = 5

Start = Callable[..., Sampler]


def sampler_of(driver: Driver, *, unlowered_w: Mapping[str, float] | None = None, **options: Any) -> Sampler:
    """Start a sampler of the driver's boards, with its state in the driver's folder."""
    settings = MeterSettings(kinds=("nvml",), unlowered_w=unlowered_w or {})
    request = Request(kind="nvml", settings=settings, runs_dir=driver.folder / "runs", state_dir=driver.folder)
    return Sampler(request, **options)


@pytest.fixture
def start(real: Driver) -> Iterator[Start]:
    """Start samplers; they are closed at the end."""
    opened: list[Sampler] = []

    def begin(**options: Any) -> Sampler:
        opened.append(sampler_of(real, **options))
        return opened[-1]

    yield begin
    for sampler in opened:
        sampler.close()


def of(sampler: Sampler, index: int = 0) -> list[Reading]:
    """Return a board's readings so far."""
    return [reading for reading in sampler.read({}) if reading.device == uuid(index)]


def second(reading: Reading, driver: Driver) -> float:
    """Return when a reading was taken, in seconds after the script's beginning."""
    return reading.at.timestamp() - (utc_now().timestamp() - monotonic()) - driver.t0_s


# --- a window of some seconds, in which something is wrong with most boards

BOARDS: dict[str, tuple[Trace, list[str]]] = {
    "counter": (square(40), []),
    "reloaded": (constant(), ["reset_energy 1 5.3"]),
    "spike": (constant(), [f"glitch 2 {ENERGY} 5 6.2 99876543000"]),
    "lost": (square(40), ["fault 3 * 3 8 15"]),
    "no counter": (constant(), []),
    "no counter, square": (square(40), []),
}


@dataclass(frozen=True)
class Window:
    """What was told of each board, and how well they could be read."""

    driver: Driver
    readings: dict[str, list[Reading]]
    health: dict[str, DeviceHealth]

    def error(self, name: str) -> float:
        """Return by how much of the truth what was told differs from it."""
        first, last = self.readings[name][0], self.readings[name][-1]
        truth_j = energy_j(BOARDS[name][0], second(first, self.driver), second(last, self.driver))
        return abs(last.energy_j - first.energy_j - truth_j) / truth_j

    def steps_s(self, name: str) -> list[float]:
        """Return the seconds from each reading to the next one."""
        return [(after.at - before.at).total_seconds() for before, after in pairwise(self.readings[name])]

    def qualities(self, name: str) -> set[Quality]:
        """Return the grades that there were."""
        return {reading.quality for reading in self.readings[name]}


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Window:
    """Let a sampler watch all of these boards; once more if the machine had it sleep past its next reading."""
    for _ in range(WINDOWS):
        found = look_at_all(tmp_path_factory.mktemp("window"))
        if all(step_s < LONGEST_STEP_S for step_s in found.steps_s("counter")):
            return found
    raise AssertionError("the sampler does not read the boards once a second")


def look_at_all(folder: Path) -> Window:
    """Let a sampler watch all of these boards in one window."""
    driver = Driver(built(), folder, t0_s=monotonic())
    lines = []
    for index, (name, (trace, faults)) in enumerate(BOARDS.items()):
        lines += [*board(index, trace, quantum_ms=10, energy=int("no counter" not in name)), *faults]
    driver.play(*lines)
    with pytest.MonkeyPatch.context() as patch:
        driver.show(patch)
        sampler = sampler_of(driver)
        try:
            until(lambda: monotonic() - driver.t0_s > LENGTH_S and sampler.read({}))
            readings = {name: of(sampler, index) for index, name in enumerate(BOARDS)}
            health = dict(zip(BOARDS, sampler.health().devices, strict=True))
        finally:
            sampler.close()
    return Window(driver, readings, health)


def test_a_counter_is_told(window: Window) -> None:
    assert window.error("counter") < 0.01
    assert window.qualities("counter") == {Quality.MEASURED}


def test_a_driver_reload_is_bridged_and_flagged(window: Window) -> None:
    assert window.error("reloaded") < 0.01
    assert Quality.BRIDGED in window.qualities("reloaded")
    assert window.health["reloaded"].troubles["rebased"] == 1


def test_a_spike_is_passed_over_and_flagged(window: Window) -> None:
    assert window.error("spike") < 0.02
    assert window.health["spike"].troubles["implausible"] == 1


def test_a_gpu_that_was_lost_loses_nothing_and_its_gap_is_booked(window: Window) -> None:
    assert window.error("lost") < 0.01
    assert Quality.BRIDGED in window.qualities("lost")
    (gap_s,) = [step_s for step_s in window.steps_s("lost") if step_s > GAP_S]
    assert window.health["lost"].gap_s == pytest.approx(gap_s, abs=0.5)
    assert 5.0 < gap_s < 5.0 + 2 * LONGEST_STEP_S
    assert window.health["counter"].gap_s == 0.0


def test_power_is_integrated_where_there_is_no_counter(window: Window) -> None:
    assert window.error("no counter") < 0.005
    assert window.error("no counter, square") < 0.1  # some seconds; over minutes it is a fiftieth, see test_accuracy.py
    assert window.qualities("no counter") == {Quality.INTEGRATED}


def test_every_cause_of_trouble_is_counted_from_zero_on(window: Window) -> None:
    assert window.health["counter"].troubles == dict.fromkeys(window.health["lost"].troubles, 0)
    assert all(health.is_up for health in window.health.values())


# --- restarts and hangs


def test_a_killed_sampler_is_bridged_by_the_counter(start: Start, real: Driver) -> None:
    real.play(*board(0, constant(), quantum_ms=10))
    sampler = start()
    until(lambda: len(of(sampler)) >= 2)
    before = of(sampler)[-1]
    os.kill(sampler.pid, signal.SIGKILL)
    until(lambda: sampler.restarts == 1 and of(sampler)[-1].session != before.session)
    after = of(sampler)[-1]
    assert after.counter == before.counter
    seconds = (after.at - before.at).total_seconds()
    assert after.energy_j - before.energy_j == pytest.approx(300 * seconds, rel=0.005, abs=300 * 0.03)


@pytest.mark.parametrize("version", ["550.54", "560.1"])
def test_a_restarted_daemon_goes_on_from_the_counter_unless_the_driver_is_another(
    start: Start, real: Driver, version: str
) -> None:
    real.play("driver 550.54", *board(0, constant(), quantum_ms=10))
    first = start()
    until(lambda: len(of(first)) >= 2)
    before = of(first)[-1]
    first.close()
    until(lambda: utc_now() - before.at > timedelta(seconds=2))
    real.play(f"driver {version}", *board(0, constant(), quantum_ms=10))
    second_one = start()
    until(lambda: of(second_one))
    after = of(second_one)[0]
    seconds = (after.at - before.at).total_seconds()
    if version == "550.54":
        assert after.counter == before.counter
        assert after.energy_j - before.energy_j == pytest.approx(300 * seconds, rel=0.005, abs=300 * 0.03)
    else:
        assert after.counter != before.counter


def test_a_driver_that_hangs_delays_no_reader_and_its_sampler_is_replaced(start: Start, real: Driver) -> None:
    """What was used while it hung is in the counter."""
    real.play(*board(0, constant(), quantum_ms=10), *board(1, constant()))
    sampler = start(silence_limit_s=1.0, hello_limit_s=3.0)
    until(lambda: len(of(sampler)) >= 2)
    before, hangs_s = of(sampler)[-1], monotonic() - real.t0_s
    real.play(*board(0, constant(), quantum_ms=10), *board(1, constant()), f"hang 1 * {hangs_s} {hangs_s + 4}")
    waits_s = []

    def is_back() -> bool:
        began_s = watch.look()
        told = sampler.read({before.device: before.at})
        waits_s.append(watch.look() - began_s)
        return any(reading.session != before.session for reading in told)

    with watching() as watch:
        until(is_back)
    assert max(waits_s) < POKE_LIMIT_S + SLACK_S
    assert sum(wait_s > POKE_LIMIT_S / 2 for wait_s in waits_s) <= 3  # later ones do not wait for what does not answer
    assert sampler.restarts >= 1
    after = of(sampler)[-1]
    assert after.counter == before.counter
    seconds = (after.at - before.at).total_seconds()
    assert after.energy_j - before.energy_j == pytest.approx(300 * seconds, rel=0.005, abs=300 * 0.03)
    until(lambda: all(health.is_up for health in sampler.health().devices))
    assert all(health.gap_s > 2.5 for health in sampler.health().devices)


def test_boards_without_a_counter_are_read_ten_times_a_second_at_uneven_intervals(
    start: Start, real: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = real.folder / "calls"
    monkeypatch.setenv("FAKE_NVML_LOG", str(log))
    real.play(*board(0, constant(), energy=0))
    sampler = start()
    with watching() as watch:
        until(lambda: watch.elapsed_s > 4)
        sampler.close()
    asked = [float(line.split()[0]) for line in log.read_text().splitlines() if "PowerUsage" in line]
    gaps = [after - before for before, after in pairwise(asked[2:])]
    assert 5 < len(asked) / (asked[-1] - asked[0] - watch.whole_late_s) < 20
    assert len({round(gap, 3) for gap in gaps}) > len(gaps) / 4


def test_it_loads_nothing_heavy() -> None:
    """It runs all the time beside every daemon."""
    code = "import sys, json, greenrun.meters.gpu.gpu_backend; print(json.dumps(sorted(sys.modules)))"
    found = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert {"numpy", "pydantic", "sqlmodel", "sqlalchemy", "structlog", "httpx", "asyncio"} & set(found) == set()


def test_without_a_driver_it_is_refused_at_once(start: Start, real: Driver) -> None:
    from greenrun.core.errors import MeterError

    real.play("init_error 9")
    with pytest.raises(MeterError, match="NVIDIA's driver is not loaded; load it until nvidia-smi answers"):
        start()


def test_the_state_file_says_where_every_board_stood(start: Start, real: Driver) -> None:
    real.play("driver 550.54", *board(0, constant()), *board(1, constant()))
    sampler = start()
    until(lambda: len(of(sampler)) >= 2)
    record = json.loads(Path(real.folder / "meter-nvml.json").read_text())
    assert (record["driver"], set(record["boards"])) == ("550.54", {uuid(0), uuid(1)})


def test_a_sampler_whose_driver_hangs_while_it_opens_ends_with_its_parent(real: Driver) -> None:
    """A daemon that is killed leaves nobody behind."""
    real.play(*board(0, constant()), "hang -1 * 0 600")
    request = Request(
        kind="nvml", settings=MeterSettings(kinds=("nvml",)), runs_dir=real.folder / "runs", state_dir=real.folder
    )
    process = subprocess.Popen([*COMMAND, pack_request(request)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.close()
    assert exit_code(process) == 0


# --- who uses a GPU, and which are lost


def test_who_has_just_come_to_a_gpu_is_known_at_once_where_that_is_urgent(real: Driver, start: Start) -> None:
    boards = [*board(0, constant()), *board(1, constant())]
    real.play(*boards)
    sampler = start()
    until(lambda: sampler.gpu_uses().keys() == {uuid(0), uuid(1)})
    real.play(*boards, f"proc 1 42 {1 << 30} 0 1e12")
    found = until(lambda: sampler.gpu_uses(is_urgent=True)[uuid(1)].processes)
    assert [(row.pid, row.memory_bytes) for row in found] == [(42, 1 << 30)]


def test_a_gpu_that_a_new_process_does_not_find_is_lost_until_the_next_one_does(real: Driver, start: Start) -> None:
    """The one that is left keeps its id, whatever number the driver gives it now."""
    lost = "fault 0 * 0 1e12 15"
    real.play(*board(0, constant()), *board(1, constant()))
    sampler = start()
    until(lambda: sampler.last_sample_at)
    real.play(*board(0, constant()), *board(1, constant()), lost)
    os.kill(sampler.pid, signal.SIGKILL)
    until(lambda: sampler.restarts == 1, limit_s=HANGS_S)
    until(lambda: sampler.gpu_uses(is_urgent=True)[uuid(0)].fault)
    assert sampler.gpu_uses()[uuid(0)].fault == "the driver does not list it any more"
    assert [device.id for device in sampler.devices()] == [uuid(0), uuid(1)]
    real.play(*board(0, constant()), *board(1, constant()))
    until(lambda: sampler.gpu_uses()[uuid(0)].fault is None, limit_s=HANGS_S)


@pytest.mark.parametrize("unlowered_w", [{uuid(0): 700.0}, {uuid(0): 650.0, uuid(1): 300.0}])
def test_a_gpu_whose_limit_greenrun_has_lowered_may_draw_as_much_as_before(
    real: Driver, start: Start, unlowered_w: dict[str, float]
) -> None:
    """After a crash its driver tells the lowered one, which is raised again later."""
    real.play(*board(0, constant(), limit=245000, max=700000), *board(1, constant(), limit=400000, max=400000))
    sampler = start(unlowered_w=unlowered_w)
    assert [device.power_w for device in sampler.devices()] == [unlowered_w[uuid(0)], 400.0]


def test_a_limit_that_is_lowered_while_a_new_process_starts_is_not_taken_for_what_a_gpu_draws(
    real: Driver, start: Start
) -> None:
    real.play(*board(0, constant(), limit=350000, max=350000), *board(1, constant(), limit=245000, max=350000))
    sampler = start()
    assert [device.power_w for device in sampler.devices()] == [350.0, 245.0]
    real.play(*board(0, constant(), limit=245000, max=350000), *board(1, constant(), limit=350000, max=350000))
    os.kill(sampler.pid, signal.SIGKILL)
    until(lambda: sampler.restarts == 1, limit_s=HANGS_S)
    assert [device.power_w for device in sampler.devices()] == [350.0, 350.0]


def test_a_gpu_that_was_lost_when_its_meter_was_opened_is_there_once_it_is_back(real: Driver, start: Start) -> None:
    real.play(*board(0, constant()), *board(1, constant()), "fault 0 * 0 1e12 15")
    sampler = start()
    assert [device.id for device in sampler.devices()] == [uuid(1)]
    real.play(*board(0, constant()), *board(1, constant()))
    until(lambda: [device.id for device in sampler.devices()] == [uuid(0), uuid(1)], limit_s=HANGS_S)
    until(lambda: of(sampler, 0))
