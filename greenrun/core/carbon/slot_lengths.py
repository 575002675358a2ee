"""Tell how long each value of a series holds where a source states only its start: sources change their step."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Micros = NDArray[np.int64]

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
LONGEST_US = 3_600_000_000  # the longest step that a source changes to; further apart than that, values are missing
IN_A_ROW = 3  # so many equal distances are a step: fewer are holes, or a value too many
AT_THE_END = 2  # ... of which a series may show no more at its end, and of hours at its beginning just one


def usual_step_us(distances: Micros) -> int:
    """Return the usual distance between starts (the lower median, so that it is one that occurs)."""
    return int(np.sort(distances)[(len(distances) - 1) // 2])


def slot_lengths(starts: Sequence[datetime]) -> list[timedelta]:
    """Return the length of each slot by two or more starts, in order."""
    starts_us = np.array([(start - _EPOCH) // _MICROSECOND for start in starts], dtype=np.int64)
    lengths_us = slot_lengths_us(starts_us, usual_step_us(np.diff(starts_us)))
    return [length_us * _MICROSECOND for length_us in lengths_us.tolist()]


def slot_lengths_us(starts_us: Micros, usual_us: int) -> Micros:
    """Return the length of each slot, in microseconds; `starts_us` are in order, `usual_us` is the usual step.

    Hours may become quarters within a series, and quarters hours: a distance that is repeated is a step. Another one is
    no step: a longer one has a hole in it, a shorter one an overlap, and that slot is as long as those before it.
    """
    distances = np.diff(starts_us)
    if not len(distances):
        return np.full(len(starts_us), usual_us, dtype=np.int64)
    index = np.flatnonzero(_is_step(distances, usual_us))
    if not len(index):
        return np.full(len(starts_us), usual_us, dtype=np.int64)
    every = np.arange(len(starts_us))
    before = index[np.maximum(np.searchsorted(index, every, side="right") - 1, 0)]
    after = index[np.minimum(np.searchsorted(index, every), len(index) - 1)]
    lengths = distances[before]
    is_too_long = lengths[:-1] > distances
    lengths[:-1][is_too_long] = distances[after][:-1][is_too_long]
    return np.asarray(lengths, dtype=np.int64)


def _is_step(distances: Micros, usual_us: int) -> NDArray[np.bool_]:
    """Return which distances are steps: the usual one, and those that fit it and are repeated."""
    cuts = np.flatnonzero(np.diff(distances)) + 1
    firsts, lasts = np.concatenate([[0], cuts]), np.concatenate([cuts, [len(distances)]])
    lengths, counts = distances[firsts], lasts - firsts
    longer, shorter = np.maximum(lengths, usual_us), np.maximum(1, np.minimum(lengths, usual_us))
    is_fitting = (lengths > 0) & (longer % shorter == 0)
    least = np.where(lasts == len(distances), AT_THE_END, IN_A_ROW)
    least = np.where((lengths > usual_us) & (firsts == 0), 1, least)
    is_step = (lengths == usual_us) | (is_fitting & (lengths <= LONGEST_US) & (counts >= least))
    return np.repeat(is_step, counts)
