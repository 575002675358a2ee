"""The meter of AMD's GPUs in this process and in virtual time, on an emulated `amdsmi` whose energy is known."""

import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from greenrun.core.energy.model import Reading
from greenrun.core.errors import MeterError
from greenrun.meters.gpu.amd import AmdDriver
from greenrun.meters.gpu.gpu_backend import FAST_S, JITTER_S, GpuBackend
from tests.meters.nvml.driver import Trace, energy_j, fast

T0 = datetime(2026, 3, 2, tzinfo=UTC)
LIBRARY = Path(__file__).parent / "library"
__all__ = ["LIBRARY", "T0", "AmdBench", "energy_j", "gpu", "play", "uuid"]


def gpu(trace: Trace, **options: object) -> dict[str, Any]:
    """Return a GPU of the script that draws this."""
    return {"trace": [list(row) for row in trace], **options}


def uuid(index: int) -> str:
    """Return the id of a GPU that was given none."""
    return f"GPU-{index + 1:016x}"


def play(patch: pytest.MonkeyPatch, folder: Path, *gpus: dict[str, Any], t0: float = 0.0, **more: object) -> None:
    """Write the script and let this process, and those that it starts, find it and the library."""
    script = folder / "amdsmi.json"
    script.write_text(json.dumps({"t0": t0, "gpus": gpus, **more}))
    patch.setenv("FAKE_AMDSMI", str(script))
    patch.setenv("PYTHONPATH", str(LIBRARY))


class AmdBench:
    """A backend that looks once a second, and at uneven tenths where it integrates."""

    def __init__(self, folder: Path, *, start_s: float = 0.5) -> None:
        self.readings: list[Reading] = []
        self.refusals: list[str] = []
        self._folder = folder
        self.second = start_s
        self._random = Random(1)
        self.open()

    def open(self) -> None:
        """Begin a process, so to say."""
        self.backend = GpuBackend(
            list, self._folder, driver=AmdDriver(load=self._library),
            now=lambda: T0 + timedelta(seconds=self.second), clock=lambda: self.second,
            boot_clock=lambda: self.second,
        )  # fmt: skip

    def run(self, end_s: float) -> None:
        """Look until then; the last look is at that very second."""
        self._sample()
        while self.second < end_s:
            next_s = min(end_s, self.second + 1.0)
            for at_s in fast(self.second, next_s, iter(self._pause, None)):
                self.second = at_s
                self.backend.integrate()
            self.second = next_s
            self._sample()

    def of(self, index: int = 0) -> list[Reading]:
        """Return a GPU's readings."""
        return [reading for reading in self.readings if reading.device == uuid(index)]

    def used_j(self, index: int = 0) -> float:
        """Return what a GPU was told to use from the first to the last look."""
        readings = self.of(index)
        assert len({reading.counter for reading in readings}) == 1
        return readings[-1].energy_j - readings[0].energy_j

    def troubles(self, index: int = 0) -> dict[str, int]:
        """Return what was wrong with a GPU."""
        return {cause: count for cause, count in self.backend.troubles()[uuid(index)].items() if count}

    def _pause(self) -> float:
        return FAST_S + self._random.uniform(-JITTER_S, JITTER_S)

    def _sample(self) -> None:
        try:
            self.readings += self.backend.sample()
        except MeterError as exc:
            self.refusals.append(str(exc))

    def _library(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("amdsmi", LIBRARY / "amdsmi.py")
        assert spec is not None
        assert spec.loader is not None
        library = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(library)
        library.clock = lambda: self.second  # type: ignore[attr-defined]
        return library
