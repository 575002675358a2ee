"""What a meter outside of this host's drivers counted: told beside the books, since what they hold is part of it."""

from collections.abc import Sequence
from datetime import timedelta

from greenrun.core.energy.model import Mark, Reading

SET_BACK = timedelta(minutes=1)  # a reading that much before the mark tells that the clock was set back


def added(mark: Mark | None, readings: Sequence[Reading]) -> tuple[float, Mark | None]:
    """Return the joules that one meter counted from its mark to the last of its readings, and the mark there.

    Readings are in time order. A step to another base, or back, is of unknown size, and no part of it is told.
    """
    energy_j = 0.0
    for reading in readings:
        if mark is not None and mark.at - SET_BACK < reading.at <= mark.at:
            continue
        if mark is not None and reading.counter == mark.counter and reading.energy_j > mark.energy_j:
            energy_j += reading.energy_j - mark.energy_j
        mark = _at(reading)
    return energy_j, mark


def _at(reading: Reading) -> Mark:
    return Mark(
        device=reading.device,
        at=reading.at,
        energy_j=reading.energy_j,
        counter=reading.counter,
        session=reading.session,
    )
