"""Energinet's CO2 emission prognosis and its measured counterpart, for both halves of Denmark; open, without a key."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId
from greenrun.providers.payload import Instant, Number, Point, forecast_of, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import Url, WebSettings
from greenrun.providers.web import Web

ZONES = {"DK-DK1": "Western Denmark", "DK-DK2": "Eastern Denmark"}
ATTRIBUTION = "Source: Energinet (www.energidataservice.dk), CC BY 4.0"
STEP = timedelta(minutes=5)
EARLIEST, LATEST = timedelta(hours=1), timedelta(hours=2)  # how far Danish time, used in requests, is ahead of UTC
PACE = timedelta(minutes=1)  # one request a minute per dataset, since 2025-08-26


class EnerginetSettings(WebSettings):
    """[provider.NAME] with kind "energinet"."""

    kind: Literal["energinet"] = "energinet"
    url: Url = "https://api.energidataservice.dk"


class EnerginetRow(BaseModel):
    """One slot; that its start is in UTC follows only from the field's name."""

    Minutes5UTC: Annotated[Instant, BeforeValidator(lambda text: f"{text}Z")]
    PriceArea: str
    CO2Emission: Number = None


class Records(BaseModel):
    """The response of a dataset."""

    records: list[EnerginetRow]


class Energinet:
    """Forecast (CO2EmisProg) and measured values (CO2Emis) of DK-DK1 and DK-DK2, in g CO2/kWh of consumption."""

    zones: Mapping[str, str] = ZONES
    refresh_every = timedelta(minutes=15)

    def __init__(self, name: str, settings: EnerginetSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.settle_after = name, settings.label, settle_after
        self.attribution, self._own = settings.attribution or ATTRIBUTION, settings.zone
        self.web = Web(name, settings, every=PACE, per_path=True)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the prognosis from now on; raise ProviderError."""
        points = self._points("CO2EmisProg", zone, now - STEP, now + timedelta(days=3), Kind.FORECAST)
        return forecast_of(self._id(zone), points, now, dropped=self.web.dropped, step=STEP)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots in `[start, end)`; raise ProviderError."""
        points = self._points("CO2Emis", zone, start - STEP, min(end, now) + STEP, Kind.MEASURED)
        return history_of(self._id(zone), points, start, end, now, dropped=self.web.dropped, step=STEP)

    def _points(self, dataset: str, zone: str, start: datetime, end: datetime, kind: Kind) -> list[Point]:
        """Fetch all rows in order: the default is only the hundred latest."""
        refuse_other(self.name, self._own, zone, ZONES)
        area = zone.removeprefix("DK-")
        between = {"start": _written(start + EARLIEST), "end": _written(end + LATEST)}
        asked = {**between, "filter": json.dumps({"PriceArea": [area]}), "sort": "Minutes5UTC ASC", "limit": "0"}
        rows = self.web.get(f"/dataset/{dataset}", asked).read(Records).records
        return [Point(row.Minutes5UTC, row.CO2Emission, kind) for row in rows if row.PriceArea == area]

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider=self.name, zone=zone, accounting=Accounting.CONSUMPTION, basis=Basis.DIRECT)


PROVIDER = ProviderKind(settings=EnerginetSettings, open=Energinet, zones=ZONES)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")
