"""Compare runs that are wholly settled with an earlier start, in small batches, each run once."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.energy.baseline import Comparable, compare
from greenrun.engine.ports import BaselineStore, IntensityReader

AGAIN_AFTER = timedelta(minutes=1)
LOOK_AT_ONCE = 500  # runs
SLICES_AT_ONCE = 5000  # of runs that are compared together; one run's are never parted


class BaselineComparison:
    """Looks in turn at the runs that wait to be compared; which those are is the store's to tell after a restart."""

    def __init__(self, baselines: BaselineStore, grid: IntensityReader) -> None:
        self._baselines, self._grid = baselines, grid
        self._looked_at = 0
        self._found = False
        self._in_vain_at: datetime | None = None

    def compare(self, settle_after: timedelta, now: datetime, *, is_news: bool = False) -> None:
        """Book the baseline of runs that ended and have settled.

        A round that finds none is not soon made again, unless there `is_news`: something was settled meanwhile.
        """
        is_soon = self._in_vain_at is not None and self._in_vain_at <= now < self._in_vain_at + AGAIN_AFTER
        if is_soon and not is_news:
            return
        waiting = self._baselines.uncompared(now - settle_after, after=self._looked_at, limit=LOOK_AT_ONCE)
        ready = self._baselines.comparable(waiting, now, most_slices=SLICES_AT_ONCE) if waiting else ()
        if ready:
            measured = self._measured(ready, settle_after)
            self._baselines.book_baselines([compare(run, measured) for run in ready], now=now)
            self._found = True
        is_round_over = not ready and len(waiting) < LOOK_AT_ONCE
        self._in_vain_at = now if is_round_over and not self._found else None
        self._found = self._found and not is_round_over
        # Runs that cannot be settled must not keep those behind them from being compared: look past them in turn.
        self._looked_at = 0 if is_round_over else ready[-1].run_id if ready else waiting[-1]

    def _measured(self, runs: Sequence[Comparable], settle_after: timedelta) -> Mapping[SeriesId, Series]:
        """Return what was measured, and is final, of when these runs would have been, by each series that settled."""
        spans = [(*run.span, run.slices.used) for run in runs if len(run.slices.ids)]
        found = {}
        for series_id in frozenset[SeriesId]().union(*(used for _, _, used in spans)):
            start = min(start for start, _, used in spans if series_id in used)
            end = max(end for _, end, used in spans if series_id in used)
            found[series_id] = self._grid.intensities(series_id, start, end, final_after=settle_after)
        return found
