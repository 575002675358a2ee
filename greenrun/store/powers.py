"""What the slices tell of power, and which of a period still wait for a price: small questions that reports ask."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select

from greenrun.core.energy.model import Component, Quality
from greenrun.store.columns import days
from greenrun.store.database import Database
from greenrun.store.tables import RUNS, SLICES, UNSETTLED

MINUTE_S = 55.0  # a slice this long is a minute, or more
FEWEST = 10  # minutes, so that one odd one does not tell
TOLD_S = 10.0  # the shortest slice whose mean power counts as a peak
_STEP_W = 0.1  # powers are told apart by this much

_LENGTH_S = 86_400 * (days(SLICES.c.ended_at) - days(SLICES.c.started_at))


class Powers(Database):
    """The part of the store that knows what devices draw."""

    def idle_powers_w(self, since: datetime, until: datetime) -> Mapping[str, float]:
        """Return the median power of each GPU over the minutes in `[since, until)` that nobody held it.

        Only minutes that a counter or power samples tell of count; a GPU with fewer than FEWEST is left out.
        """
        watts = func.round(SLICES.c.energy_j / _LENGTH_S / _STEP_W)
        query = (
            select(SLICES.c.device, watts, func.count())
            .where(
                SLICES.c.started_at >= since,
                SLICES.c.started_at < until,
                SLICES.c.run_id.is_(None),
                SLICES.c.share == 1.0,
                SLICES.c.component == Component.GPU,
                SLICES.c.quality.in_([Quality.MEASURED, Quality.INTEGRATED]),
                _LENGTH_S >= MINUTE_S,
            )
            .group_by(SLICES.c.device, watts)
            .order_by(SLICES.c.device, watts)
        )
        counts: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        with self._read() as connection:
            for device, step, count in connection.execute(query):
                counts[device].append((step * _STEP_W, count))
        known = {device: rows for device, rows in counts.items() if sum(count for _, count in rows) >= FEWEST}
        return {device: _median(rows) for device, rows in known.items()}

    def peak_powers_w(self, start: datetime, end: datetime) -> Mapping[int, float]:
        """Return the highest mean power of a slice of each run in `[start, end)`, of one GPU."""
        query = (
            select(SLICES.c.run_id, func.max(SLICES.c.energy_j / _LENGTH_S))
            .where(
                SLICES.c.started_at >= start,
                SLICES.c.started_at < end,
                SLICES.c.run_id.is_not(None),
                SLICES.c.component == Component.GPU,
                SLICES.c.energy_j.is_not(None),
                SLICES.c.quality != Quality.BRIDGED,
                _LENGTH_S >= TOLD_S,
            )
            .group_by(SLICES.c.run_id)
        )
        with self._read() as connection:
            return {run_id: peak for run_id, peak in connection.execute(query) if run_id is not None}

    def waits(self, start: datetime, end: datetime, *, settles: bool) -> bool:
        """Whether a run that began before the end goes on, or (`settles`) a slice of then waits for its price."""
        unpriced = (
            select(UNSETTLED.c.slice_id)
            .join(SLICES, SLICES.c.id == UNSETTLED.c.slice_id)
            .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
            .where(UNSETTLED.c.ended_at > start)  # few wait, and these are found by their end
        )
        going_on = select(RUNS.c.id).where(RUNS.c.started_at < end, RUNS.c.ended_at.is_(None))
        with self._read() as connection:
            asked = (unpriced, going_on) if settles else (going_on,)
            return any(connection.execute(query.limit(1)).first() for query in asked)


def _median(rows: list[tuple[float, int]]) -> float:
    """Return the lower median of values, each with how often it came, in their order."""
    left = (sum(count for _, count in rows) + 1) // 2
    for value, count in rows:
        left -= count
        if left <= 0:
            return value
    raise ValueError("there is no median of nothing")
