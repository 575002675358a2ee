"""A long run leaves nothing behind, neither in the sampler nor in what the daemon keeps of it."""

import gc
import tracemalloc
from pathlib import Path

import pytest

from greenrun.meters import recent_readings
from greenrun.meters.recent_readings import RecentReadings
from greenrun.meters.sampler.health import HealthTracker
from greenrun.meters.sampler.wire import Message, pack, unpack
from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant

HOUR_S = 3600
WARM_S = 300


def test_memory_does_not_grow(virtual: Driver) -> None:
    """Over ten minutes, with a GPU that has no counter and one that is lost again and again."""
    lost = [f"fault 1 * {minute * 60} {minute * 60 + 5} 15" for minute in range(1, 60)]
    virtual.play(*board(0, constant(), energy=0), *board(1, constant()), *lost)
    bench = Bench(virtual)
    tracemalloc.start()
    try:
        advance(bench, 120)
        before, _ = tracemalloc.get_traced_memory()
        advance(bench, 720)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000


def advance(bench: Bench, end_s: int) -> None:
    """Let a sampler look once a second, forgetting what it told."""
    for second in range(int(bench.second), end_s):
        bench.run(second + 0.5)
        bench.readings.clear()
    gc.collect()


class Hour:
    """A sampler of 8 GPUs, half of them without a counter, and the daemon at the other end of its pipe."""

    def __init__(self, driver: Driver) -> None:
        driver.play(*(line for index in range(8) for line in board(index, constant(), energy=index % 2)))
        self.bench = Bench(driver)
        self.history, self.wellness = RecentReadings(), HealthTracker(self.bench.backend.devices)

    def advance(self, end_s: int) -> None:
        """Look once a second, and ten times at those without a counter; take in each line as the daemon does."""
        for second in range(int(self.bench.second) + 1, end_s + 1):
            self.bench.look(second + 0.5)
            said = Message(readings=tuple(self.bench.readings), telemetry=self.bench.backend.telemetry())
            self.bench.readings.clear()
            heard = unpack(pack(said))
            self.history.add(heard.readings)
            self.wellness.hear(heard.readings, self.bench.second)
            self.wellness.note(heard.telemetry, self.bench.second)
        gc.collect()


def resident_kib() -> int:
    """Return this process's resident memory in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@pytest.mark.slow
def test_an_hour_of_eight_gpus_grows_neither_the_sampler_nor_the_daemon(
    virtual: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in what Python holds nor in what it has of the system, once as many readings are kept as ever are."""
    monkeypatch.setattr(recent_readings, "READINGS_KEPT", WARM_S // 2)
    hour = Hour(virtual)
    tracemalloc.start()
    try:
        hour.advance(WARM_S)
        gc.collect()  # what nobody holds any more is not growth
        before, before_kib = tracemalloc.get_traced_memory()[0], resident_kib()
        hour.advance(HOUR_S)
        gc.collect()
        after, after_kib = tracemalloc.get_traced_memory()[0], resident_kib()
    finally:
        tracemalloc.stop()
    assert len(hour.history.since({})) == 8 * WARM_S // 2
    assert after - before < 10_000
    assert after_kib - before_kib < 1024
