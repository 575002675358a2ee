"""What the runs of a job drew, and how clean the grid was meanwhile, from the books."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from greenrun.core.carbon.intensity import Measure, Signal
from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.job import Run

MOST_POINTS = 300
_SHORTEST = timedelta(seconds=1)  # devices are read one after another: what lies between is no step of its own
_UNSTATED: Measure = (Signal.AVERAGE, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerStep:
    """The mean power of all devices of a run over a stretch of time, and the average intensity of its energy.

    `weighted` is the intensity times the energy; None where a part of it has no average, or they count different
    things (`counted`).
    """

    start: datetime
    end: datetime
    energy_j: float
    weighted: float | None
    counted: Measure | None

    @property
    def power_w(self) -> float:
        """The mean power."""
        return self.energy_j / (self.end - self.start).total_seconds()

    @property
    def g_per_kwh(self) -> float | None:
        """The mean intensity, by energy; None where that of any part is not known."""
        return self.weighted / self.energy_j if self.weighted is not None and self.energy_j else None


def power_steps(entries: Sequence[Entry], runs: Sequence[Run]) -> list[PowerStep]:
    """Return steps in order of time, at most about MOST_POINTS; a hole where any of a run's devices is not known.

    Slices of several devices may be cut at different instants: a step is what lies between two cuts of any of them.
    """
    # What a run holds must be in its slices all the time, a part in those of its board. Processors need not: a run that
    # used none of one for a while has no slice of it.
    held: dict[int | None, set[str]] = {run.id: set(map(board_of, run.devices)) for run in runs}
    return _thinned(_joined(_pieces(entries, held)))


def _pieces(entries: Sequence[Entry], held: Mapping[int | None, set[str]]) -> Iterator[PowerStep]:
    """Yield what lies between two neighbouring cuts, where the energy of all devices is known."""
    waiting = sorted(
        (entry for entry in entries if entry.slice.end > entry.slice.start), key=lambda row: row.slice.start
    )
    edges = sorted({edge for entry in waiting for edge in (entry.slice.start, entry.slice.end)})
    waiting.reverse()
    active: list[Entry] = []
    for start, end in pairwise(edges):
        active = [entry for entry in active if entry.slice.end > start]
        while waiting and waiting[-1].slice.start <= start:
            active.append(waiting.pop())
        told: defaultdict[int | None, set[str]] = defaultdict(set)
        for entry in active:
            told[entry.slice.run_id].add(entry.slice.device)
        if active and all(told[run] >= held.get(run, set()) for run in told):
            piece = _piece(active, start, end)
            if piece is not None:
                yield piece


def _piece(active: Sequence[Entry], start: datetime, end: datetime) -> PowerStep | None:
    """Return a step of these slices' shares of the time; None where the energy of one is not known."""
    energy_j, weighted, counted = 0.0, 0.0, set[Measure | None]()
    for entry in active:
        part = entry.slice
        if part.energy_j is None:
            return None
        share_j = part.energy_j * ((end - start) / (part.end - part.start))
        intensity, measure = _average(entry)
        energy_j += share_j
        weighted += (intensity or 0.0) * share_j
        counted.add(measure)
    measure = counted.pop() if len(counted) == 1 else None
    return PowerStep(
        start=start, end=end, energy_j=energy_j, weighted=None if measure is None else weighted, counted=measure
    )


def _average(entry: Entry) -> tuple[float | None, Measure | None]:
    """Return the average intensity as settled, else as booked, and what it counts; None for both without one."""
    for priced in (entry.settled, entry.booked):
        counted = _counted(priced)
        if priced is not None and priced.intensity_g_per_kwh is not None and counted[0] is Signal.AVERAGE:
            return priced.intensity_g_per_kwh, counted
    return None, None


def _counted(priced: Priced | None) -> Measure:
    return priced.series.measure if priced is not None and priced.series is not None else _UNSTATED


def _joined(pieces: Iterator[PowerStep]) -> list[PowerStep]:
    """Put what is too short for a step to its neighbour."""
    steps: list[PowerStep] = []
    for piece in pieces:
        before = steps[-1] if steps else None
        is_short = before is not None and min(piece.end - piece.start, before.end - before.start) < _SHORTEST
        if before is not None and is_short and before.end == piece.start:
            steps[-1] = _merged(before, piece)
        else:
            steps.append(piece)
    return steps


def _merged(first: PowerStep, second: PowerStep) -> PowerStep:
    counted = first.counted if first.counted == second.counted else None
    weighted = None
    if counted is not None and first.weighted is not None and second.weighted is not None:
        weighted = first.weighted + second.weighted
    return PowerStep(
        start=first.start, end=second.end, energy_j=first.energy_j + second.energy_j, weighted=weighted, counted=counted
    )


def _thinned(steps: list[PowerStep]) -> list[PowerStep]:
    """Put neighbours together until there are few; across a hole none are."""
    while len(steps) > MOST_POINTS:
        merged: list[PowerStep] = []
        for place in range(0, len(steps), 2):
            pair = steps[place : place + 2]
            if len(pair) == 2 and pair[0].end == pair[1].start:
                merged.append(_merged(*pair))
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
