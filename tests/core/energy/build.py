"""Builders for energy tests: readings and holds at seconds after an instant, slices drawn as text, random worlds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import strategies as st

from greenrun.core.energy.model import Hold, Mark, Quality, Reading, Slice
from greenrun.core.energy.slicing import ABSURD_W, LATE_S

T0 = datetime(2024, 1, 1, tzinfo=UTC)
GPU = "GPU-1"


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def reading(second: float, energy_j: float, *, session: str = "a", counter: str = "boot", **changes: object) -> Reading:
    values = {"device": GPU, "quality": Quality.MEASURED} | changes
    return Reading(at=at(second), energy_j=energy_j, counter=counter, session=session, **values)  # type: ignore[arg-type]


def hold(run_id: int, start: float, end: float | None = None, device: str = GPU) -> Hold:
    return Hold(run_id=run_id, device=device, start=at(start), end=None if end is None else at(end))


def mark(energy_j: float = 0.0, **changes: object) -> Mark:
    values = {"device": GPU, "at": T0, "energy_j": energy_j, "counter": "boot", "session": "a"} | changes
    return Mark(**values)  # type: ignore[arg-type]


def drawn(slices: Sequence[Slice]) -> str:
    """Draw slices as `START-END run joules quality, ...`, in seconds after T0; a free slice's run is `-`."""
    rows = []
    for piece in slices:
        start, end = ((instant - T0).total_seconds() for instant in (piece.start, piece.end))
        energy = "?" if piece.energy_j is None else f"{piece.energy_j:g}"
        rows.append(f"{start:g}-{end:g} {piece.run_id or '-'} {energy} {piece.quality}")
    return ", ".join(rows)


seconds = st.integers(0, 900).map(lambda tenth: tenth / 10)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Reading], list[Hold], list[float]]:
    """Draw readings with gaps, new sessions and new bases, holds that do not overlap, and edges."""
    readings, energy_j, session, base = [], draw(st.floats(0, 1e9)), 0, 0
    for second in sorted(draw(st.sets(seconds.filter(bool), min_size=1, max_size=25))):
        what = draw(st.sampled_from(["on", "on", "on", "on", "session", "base", "back"]))
        session += what == "session"
        base += what == "base"
        energy_j = energy_j / 2 if what == "back" else energy_j + draw(st.floats(0, 5000))
        quality = draw(st.sampled_from([Quality.MEASURED, Quality.MEASURED, Quality.ESTIMATED]))
        readings.append(reading(second, energy_j, session=f"s{session}", counter=f"c{base}", quality=quality))
    bounds = sorted(draw(st.sets(seconds, max_size=8)))
    holds = [hold(n + 1, start, end) for n, (start, end) in enumerate(pairwise(bounds)) if draw(st.booleans())]
    return readings, holds, sorted(draw(st.sets(seconds, max_size=8)))


def most_j(start: datetime, end: datetime) -> float:
    """The most joules that are believed to have been used between two instants."""
    return ABSURD_W * ((end - start).total_seconds() + LATE_S)


def as_approx(slices: list[Slice]) -> list[Slice]:
    """Return slices as others must be, up to the rounding of floats."""
    return [
        replace(
            piece,
            energy_j=None if piece.energy_j is None else pytest.approx(piece.energy_j, rel=1e-6, abs=1e-5),
            split_j=pytest.approx(piece.split_j, rel=1e-6, abs=1e-5),
        )
        for piece in slices
    ]
