"""What the runs of a job drew, and how clean the grid was meanwhile, from the books."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from greenrun.core.energy.ledger import Entry
from greenrun.core.formatting import iso_text

MOST_POINTS = 300


@dataclass(slots=True)
class PowerStep:
    """The mean power of all devices of a job over a stretch of time, and the intensity that was booked with it."""

    start: datetime
    end: datetime
    energy_j: float = 0.0
    weighted: float = 0.0
    priced_j: float = 0.0

    @property
    def power_w(self) -> float:
        """The mean power."""
        return self.energy_j / max((self.end - self.start).total_seconds(), 1e-9)

    @property
    def g_per_kwh(self) -> float | None:
        """The mean intensity, by energy; None where none of it is priced."""
        return self.weighted / self.priced_j if self.priced_j else None


def power_steps(entries: Sequence[Entry]) -> list[PowerStep]:
    """Return steps in order of time, at most about MOST_POINTS; slices whose energy is not known are holes."""
    steps: dict[tuple[datetime, datetime], PowerStep] = {}
    for entry in entries:
        part = entry.slice
        if part.energy_j is None:
            continue
        step = steps.setdefault((part.start, part.end), PowerStep(part.start, part.end))
        step.energy_j += part.energy_j
        prices = [priced.intensity_g_per_kwh for priced in (entry.settled, entry.booked) if priced]
        price = next((value for value in prices if value is not None), None)
        if price is not None:
            step.weighted += price * part.energy_j
            step.priced_j += part.energy_j
    return _thinned([steps[key] for key in sorted(steps)])


def _thinned(steps: list[PowerStep]) -> list[PowerStep]:
    """Put neighbours together until there are few; across a hole none are."""
    while len(steps) > MOST_POINTS:
        merged: list[PowerStep] = []
        for place in range(0, len(steps), 2):
            pair = steps[place : place + 2]
            if len(pair) == 2 and pair[0].end == pair[1].start:
                first, second = pair
                merged.append(
                    PowerStep(
                        first.start, second.end, first.energy_j + second.energy_j, first.weighted + second.weighted,
                        first.priced_j + second.priced_j,
                    )
                )  # fmt: skip
            else:
                merged += pair
        if len(merged) == len(steps):
            return steps[-MOST_POINTS:]
        steps = merged
    return steps


def power_chart(steps: Sequence[PowerStep]) -> dict[str, Any]:
    """Return what the chart of a job's power draws, as JSON has it."""
    spans = [(iso_text(step.start), iso_text(step.end), step) for step in steps]
    power = [[start, end, round(step.power_w, 1)] for start, end, step in spans]
    clean = [[start, end, round(step.g_per_kwh, 1)] for start, end, step in spans if step.g_per_kwh is not None]
    return {
        "unit": "W", "unit2": "g/kWh",
        "series": [{"name": "power", "steps": power}, {"name": "carbon intensity", "steps": clean, "axis": 2}],
    }  # fmt: skip
