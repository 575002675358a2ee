"""Make up a grid for the demo, labelled as synthetic, and convert between its time and the wall clock's."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, pi, sin

from greenrun.charts.terminal import Step

STEP = timedelta(minutes=30)
CLEAN_G_PER_KWH, FOSSIL_G_PER_KWH = 12.0, 430.0  # the mix lies between wind and sun alone and gas alone


def synthetic_trace(start: datetime, days: int, seed: int) -> list[Step]:
    """Return `days` of half-hourly intensity in g/kWh from `start` on; the same for the same seed, in any process.

    Demand has a morning and a higher evening peak; nuclear, wind (an AR(1) process) and sun come first, gas the rest.
    """
    chance = random.Random(seed)
    wind_gw, sunshine, steps = 0.0, 1.0, []
    for index in range(days * 48):
        at = start + index * STEP
        hour = at.hour + at.minute / 60 + 0.25  # the middle of the slot
        if at.hour == 0 and at.minute == 0:
            sunshine = chance.uniform(0.75, 1)
        wind_gw = 0.96 * wind_gw + chance.gauss(0, 0.6)
        demand_gw = 23 + 7 * _hump(hour, 8, 2) + 4 * _hump(hour, 13, 4) + 12 * _hump(hour, 19, 2.5)
        solar_gw = 14 * sunshine * max(0.0, sin(pi * (hour - 6.5) / 13)) ** 1.5
        clean = min(1 - 1.5 / demand_gw, (5 + max(1.0, 7 + wind_gw) + solar_gw) / demand_gw)
        mix = clean * CLEAN_G_PER_KWH + (1 - clean) * FOSSIL_G_PER_KWH
        steps.append(Step(at, at + STEP, round(mix, 1)))
    return steps


def csv_text(trace: Sequence[Step]) -> str:
    """Return a trace as the file that the provider `file` reads."""
    return "start,g_per_kwh\n" + "".join(f"{step.start.isoformat()},{step.g_per_kwh}\n" for step in trace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A trace on the wall clock: its beginning is at `began`, and it runs `speed` times as fast."""

    trace: Sequence[Step]
    began: datetime
    speed: float

    def time_there(self, at: datetime) -> datetime:
        """Return the trace's own time at an instant of the wall clock."""
        return self.trace[0].start + (at - self.began) * self.speed

    def on_the_wall(self) -> list[Step]:
        """Return the trace's steps at the instants of the wall clock at which they come true."""
        return [Step(self._wall(step.start), self._wall(step.end), step.g_per_kwh) for step in self.trace]

    def _wall(self, there: datetime) -> datetime:
        return self.began + (there - self.trace[0].start) / self.speed


def replay_of(trace: Sequence[Step], seen: Sequence[Step], speed: float) -> Replay | None:
    """Find where in the trace a forecast of consecutive steps stands; None when it does not come from this trace."""
    values = [step.g_per_kwh for step in trace]
    wanted = [step.g_per_kwh for step in seen]
    for index in range(len(values) - len(wanted) + 1):
        if wanted and values[index : index + len(wanted)] == wanted:
            into = (trace[index].start - trace[0].start) / speed
            return Replay(trace=trace, began=seen[0].start - into, speed=speed)
    return None


def _hump(hour: float, at: float, width: float) -> float:
    distance = min(abs(hour - at), 24 - abs(hour - at))
    return exp(-((distance / width) ** 2))
