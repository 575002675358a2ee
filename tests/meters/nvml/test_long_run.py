"""A long run leaves nothing behind in the sampler."""

import gc
import tracemalloc

from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant


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
