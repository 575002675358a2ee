"""What there is of each series: how far its forecasts and its measured values reach, and when they were last got."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from greenrun.core.carbon.intensity import SeriesId
from greenrun.store.database import Database
from greenrun.store.grid import latest_of_series, series_ids
from greenrun.store.tables import INTENSITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a series reaches, and when its source last said so; None where nothing of that sort is known."""

    id: SeriesId
    forecast_at: datetime | None = None
    forecast_issued_at: datetime | None = None
    forecast_end: datetime | None = None
    measured_from: datetime | None = None
    measured_until: datetime | None = None
    measured_at: datetime | None = None


class Reaches(Database):
    """The part of the store that tells of series by themselves."""

    def reaches(self) -> list[Reach]:
        """Return how far every known series reaches, in the order in which they became known."""
        with self._read() as connection:
            return [_reach(connection, key, series) for key, series in sorted(series_ids(connection).items())]


def _reach(connection: Connection, key: int, series: SeriesId) -> Reach:
    forecast = latest_of_series(connection, key)
    first, last = (_edge(connection, key, newest=newest) for newest in (False, True))
    return Reach(
        id=series,
        forecast_at=forecast.fetched_at if forecast else None,
        forecast_issued_at=forecast.issued_at if forecast else None,
        forecast_end=forecast.series.end if forecast else None,
        measured_from=first.started_at if first else None,
        measured_until=last.ended_at if last else None,
        measured_at=last.confirmed_at if last else None,
    )


def _edge(connection: Connection, key: int, *, newest: bool) -> Row[Any] | None:
    ended_at = INTENSITIES.c.ended_at
    query = select(INTENSITIES).where(INTENSITIES.c.series_id == key)
    return connection.execute(query.order_by(ended_at.desc() if newest else ended_at).limit(1)).first()
