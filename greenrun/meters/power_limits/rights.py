"""Whether power limits can be set at all, asked of the drivers without changing anything."""

from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic

from greenrun.core.energy.model import Device
from greenrun.core.energy.power_limit import LimitChange, LimitFault, LimitReading
from greenrun.meters.power_limits.gpu_power_limits import GpuPowerLimits

KNOWN_FOR_S = 600.0


class PowerLimitRights:
    """What keeps the power limits of this host's GPUs from being set, asked at most every ten minutes. Thread-safe."""

    def __init__(self, limits: GpuPowerLimits, devices: Callable[[], Sequence[Device]]) -> None:
        self._limits, self._devices = limits, devices
        self._known: tuple[float, str | None] | None = None
        self._one_at_a_time = Lock()

    def trouble(self) -> str | None:
        """Return why the limit of no GPU can be set, in a sentence without a full stop; None if some can.

        A limit is set to what it is already, which takes the same rights as another one would.
        """
        with self._one_at_a_time:
            if self._known is None or monotonic() - self._known[0] > KNOWN_FOR_S:
                self._known = monotonic(), self._asked()
            return self._known[1]

    def _asked(self) -> str | None:
        devices = self._devices()
        if not devices:
            return "this machine has no GPU"
        found = self._limits.change([LimitChange(device=row.id, source=row.source) for row in devices])
        same = [
            LimitChange(device=row.id, source=row.source, limit_w=now.limit_w, expected_w=now.limit_w)
            for row in devices
            if isinstance(now := found[row.id], LimitReading)
        ]
        answers = {**found, **self._limits.change(same)}
        faults = [answer.why for answer in answers.values() if isinstance(answer, LimitFault)]
        return faults[0] if len(faults) == len(devices) else None
