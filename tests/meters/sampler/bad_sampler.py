"""A sampler process with a fault, for the tests of its parent: `bad_sampler.py FAULT REQUEST`."""

import sys
import threading

from greenrun.clock import utc_now
from greenrun.core.energy.model import Device, GpuUse, Quality, Reading, Telemetry
from greenrun.core.errors import MeterEnded, MeterError
from greenrun.meters.sampler.process import Pokes, serve


class FaultyBackend:
    """One device; from its second sample on it has the fault."""

    devices = (Device(id="GPU", index=0, model="faulty", source="test"),)

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.samples = 0

    def sample(self) -> list[Reading] | None:
        self.samples += 1
        if self.samples > 1:
            self.fail()
        return None if self.fault == "unsure" and self.samples > 1 else [reading()]

    def troubles(self) -> dict[str, dict[str, int]]:
        return {"GPU": {"silly": self.samples}}

    def gpu_uses(self, *, is_urgent: bool) -> dict[str, GpuUse]:
        return {}

    def telemetry(self) -> dict[str, Telemetry]:
        return {"GPU": Telemetry(power_w=float(self.samples))}

    def fail(self) -> None:
        if self.fault == "hang":
            threading.Event().wait(60)
        if self.fault == "trouble":
            raise MeterError("the driver does not answer")
        if self.fault == "end":
            raise MeterEnded("the driver has to be opened anew")


def reading() -> Reading:
    return Reading(device="GPU", at=utc_now(), energy_j=1.0, quality=Quality.MEASURED, counter="c", session="s")


if __name__ == "__main__":
    wanted = sys.argv[1]
    if wanted == "nonsense":
        print("hello?", flush=True)
    elif wanted == "silence":
        threading.Event().wait(60)
    elif wanted != "death":
        serve(FaultyBackend(wanted), Pokes(), period_s=0.1)
