"""The NVML meter in this process and in virtual time, on boards whose energy is known exactly."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from greenrun.core.energy.model import Reading
from greenrun.core.errors import MeterError
from greenrun.meters.backends import included
from greenrun.meters.gpu.gpu_backend import FAST_S, JITTER_S, GpuBackend
from tests.meters.nvml.driver import Driver, fast, uuid

T0 = datetime(2026, 3, 2, tzinfo=UTC)


class Bench:
    """A backend that looks once a second, and at uneven tenths where it integrates."""

    def __init__(
        self, driver: Driver, *, start_s: float = 0.5, include: Sequence[str | int] = (), seed: int = 1
    ) -> None:
        self.readings: list[Reading] = []
        self.refusals: list[str] = []
        self._driver = driver
        self._uneven = _uneven(seed)
        self._now_s = start_s
        self._state: Path = driver.folder
        self._include = include
        self.open()

    def open(self) -> None:
        """Begin a process, so to say."""
        self._driver.set_time(self._now_s)
        self.backend = GpuBackend(
            lambda devices: included(devices, self._include),
            self._state,
            now=lambda: T0 + timedelta(seconds=self._now_s),
            clock=lambda: self._now_s,
            boot_clock=lambda: self._now_s,
        )

    def run(self, end_s: float, every_s: float = 1.0) -> None:
        """Look until then; the last look is at that very second."""
        self._sample()
        while self._now_s < end_s:
            self.look(min(end_s, self._now_s + every_s))

    def look(self, at_s: float) -> None:
        """Integrate until then, and look."""
        for fast_s in fast(self._now_s, at_s, self._uneven):
            self._move(fast_s)
            self.backend.integrate()
        self._move(at_s)
        self._sample()

    @property
    def second(self) -> float:
        """The present second."""
        return self._now_s

    def skip(self, end_s: float) -> None:
        """Let time pass without a look."""
        self._move(end_s)

    def of(self, index: int) -> list[Reading]:
        """Return a board's readings."""
        return [reading for reading in self.readings if reading.device == uuid(index)]

    def used_j(self, index: int = 0) -> float:
        """Return what a board was told to use from the first to the last look."""
        readings = self.of(index)
        assert len({reading.counter for reading in readings}) == 1
        return readings[-1].energy_j - readings[0].energy_j

    def troubles(self, index: int = 0) -> dict[str, int]:
        """Return what was wrong with a board."""
        return {cause: count for cause, count in self.backend.troubles()[uuid(index)].items() if count}

    def _move(self, at_s: float) -> None:
        self._now_s = at_s
        self._driver.set_time(at_s)

    def _sample(self) -> None:
        try:
            self.readings += self.backend.sample()
        except MeterError as exc:
            self.refusals.append(str(exc))


def _uneven(seed: int) -> Iterator[float]:
    random = Random(seed)
    while True:
        yield FAST_S + random.uniform(-JITTER_S, JITTER_S)
