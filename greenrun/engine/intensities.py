"""Hold what one zone's carbon intensity is known to be: the one place that energy is priced from."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Forecast, Series, SeriesId
from greenrun.core.energy.ledger import Stage
from greenrun.engine.ports import IntensityReader

KEPT_FOR = timedelta(days=2)  # how long the slots of past forecasts are kept for energy that is not booked yet


class ReportedIntensities:
    """The series that sources have reported for one stage of pricing; their values are read back from the store.

    A value is final `settle_after` past its slot's end; None where no source reports any. `reports` counts reports, so
    that one who found nothing before can tell whether it is worth looking again.
    """

    def __init__(self, grid: IntensityReader, stage: Stage, settle_after: timedelta | None) -> None:
        self.stage = stage
        self.settle_after = settle_after
        self.reports = 0
        self._grid = grid
        self._series_ids: list[SeriesId] = []  # the one reported last at the end

    def add(self, series_id: SeriesId) -> None:
        """Note that values of this series came into the store; it is preferred to those reported before."""
        self._series_ids = [*(known for known in self._series_ids if known != series_id), series_id]
        self.reports += 1

    def between(self, start: datetime, end: datetime, *, final_after: timedelta | None = None) -> list[Series]:
        """Return the slots of every series that touch `[start, end)`, the series reported last first.

        With `final_after` only those fetched at least that long past their end.
        """
        latest_first = reversed(self._series_ids)
        return [self._grid.intensities(each, start, end, final_after=final_after) for each in latest_first]


class CarbonIntensities:
    """Measured and marginal intensities, and the forecasts that were in use, for as long as energy waits for them."""

    def __init__(
        self,
        grid: IntensityReader,
        settle_after: timedelta | None = None,
        marginal_settle_after: timedelta | None = None,
    ) -> None:
        self.measured = ReportedIntensities(grid, Stage.SETTLED, settle_after)
        self.marginal = ReportedIntensities(grid, Stage.MARGINAL, marginal_settle_after)
        self._forecasts: dict[SeriesId, Series] = {}  # the one taken up last at the end

    def add_forecast(self, forecast: Forecast) -> None:
        """Take up a forecast: from its first slot on it replaces what its series said, earlier slots stay."""
        series = forecast.series
        known = self._forecasts.pop(series.id, None)
        self._forecasts[series.id] = known.followed_by(series) if known else series
        self.forget(forecast.fetched_at - KEPT_FOR)

    def forecasts(self) -> Sequence[Series]:
        """Return the forecasts that were in use, one for each series, the one taken up last first."""
        return list(reversed(self._forecasts.values()))

    def forget(self, before: datetime) -> None:
        """Drop the forecast slots that ended by then, since no energy from before is left to be priced."""
        kept = {each: series.between(before, series.end or before) for each, series in self._forecasts.items()}
        self._forecasts = {each: series for each, series in kept.items() if len(series)}
