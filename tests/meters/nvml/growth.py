"""Let a sampler run for long in this process, which does nothing else, and print how much its memory grew, as JSON.

    python -m tests.meters.nvml.growth two BINARY FOLDER SECONDS
    python -m tests.meters.nvml.growth eight BINARY FOLDER SECONDS

In the process of a test, threads of others hold more or less meanwhile.
"""

import gc
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from greenrun.meters import recent_readings
from greenrun.meters.recent_readings import RecentReadings
from greenrun.meters.sampler.health import HealthTracker
from greenrun.meters.sampler.wire import Message, pack, unpack
from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant

WARM_S = 300


class Eight:
    """A sampler of 8 GPUs, half of them without a counter, and the daemon at the other end of its pipe."""

    def __init__(self, driver: Driver) -> None:
        driver.play(*(line for index in range(8) for line in board(index, constant(), energy=index % 2)))
        self.bench = Bench(driver)
        self.history, self.wellness = RecentReadings(), HealthTracker(self.bench.backend.devices, 0.0)

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


def two(driver: Driver) -> Callable[[int], None]:
    """Return what lets a sampler of two GPUs run: one has no counter, and the other is lost again and again."""
    lost = [f"fault 1 * {minute * 60} {minute * 60 + 5} 15" for minute in range(1, 60)]
    driver.play(*board(0, constant(), energy=0), *board(1, constant()), *lost)
    bench = Bench(driver)

    def advance(end_s: int) -> None:
        for second in range(int(bench.second), end_s):
            bench.run(second + 0.5)
            bench.readings.clear()
        gc.collect()  # what nobody holds any more is not growth

    return advance


def grown(advance: Callable[[int], None], warm_s: int, end_s: int) -> dict[str, int]:
    """Return by how many bytes of Python's, and KiB of the system's, memory grew from one instant to the other."""
    tracemalloc.start()
    advance(warm_s)
    before, before_kib = tracemalloc.get_traced_memory()[0], resident_kib()
    advance(end_s)
    after, after_kib = tracemalloc.get_traced_memory()[0], resident_kib()
    return {"traced_bytes": after - before, "resident_kib": after_kib - before_kib}


def main() -> None:
    """Run for as long as was asked and print the growth."""
    which, binary, folder, seconds = sys.argv[1:]
    driver = Driver(Path(binary), Path(folder), t0_s=1000.0)
    driver.set_time(0)
    if which == "two":
        print(json.dumps(grown(two(driver), 120, int(seconds))))
        return
    recent_readings.READINGS_KEPT = WARM_S // 2
    eight = Eight(driver)
    found = grown(eight.advance, WARM_S, int(seconds))
    print(json.dumps(found | {"readings": len(eight.history.since({}))}))


if __name__ == "__main__":
    main()
