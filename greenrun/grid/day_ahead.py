"""Day-ahead prices of a bidding zone, from Energy-Charts of Fraunhofer ISE."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, StrictInt, StrictStr, model_validator

from greenrun.core.accounting.step_function import Steps
from greenrun.core.errors import ProviderGarbage, ProviderUnavailable
from greenrun.providers.energy_charts import PACE
from greenrun.providers.payload import Number, from_epoch
from greenrun.providers.settings import WebSettings
from greenrun.providers.web import Web

CURRENCY = "EUR"
UNIT = "EUR / MWh"
KWH_PER_MWH = 1000.0
HIGHEST_PER_MWH = 20_000.0  # beyond the market's limits (-500 to 5000 EUR/MWh): a wrong unit or corrupt data
LONGEST = timedelta(hours=1)  # longest slot: the market moved from hours to quarter hours
AROUND = timedelta(hours=2)  # margin of the request, so that there are two values to infer the step from
ATTRIBUTION = "Electricity prices: Energy-Charts.info (Fraunhofer ISE)"


class DayAheadAnswer(BaseModel):
    """Parallel lists: the start of each slot, and its price per MWh, which may be negative."""

    unix_seconds: list[StrictInt]
    price: list[Number]
    unit: StrictStr

    @model_validator(mode="after")
    def _are_parallel(self) -> Self:
        if len(self.unix_seconds) != len(self.price):
            raise ValueError("its lists, which belong together, are of different lengths")
        if self.unit.replace(" ", "") != UNIT.replace(" ", ""):
            raise ValueError("its unit is not EUR / MWh")
        return self


class DayAhead:
    """The wholesale price of one bidding zone, such as "DE-LU", without taxes and grid fees."""

    currency = CURRENCY
    attribution = ATTRIBUTION

    def __init__(self, bidding_zone: str, *, url: str, timeout: timedelta) -> None:
        self.source = f"energy_charts {bidding_zone}"
        self._zone = bidding_zone
        settings = WebSettings(kind="energy_charts", url=url, timeout=timeout)
        self.web = Web("day-ahead prices", settings, every=PACE, section="[electricity]")

    def prices(self, start: datetime, end: datetime) -> Steps:
        """Return the EUR per kWh of the slots that overlap `[start, end)`, as far as published; raise ProviderError."""
        between = {"start": f"{(start - AROUND).timestamp():.0f}", "end": f"{(end + AROUND).timestamp():.0f}"}
        said = self.web.get("/price", {"bzn": self._zone, **between}).read(DayAheadAnswer)
        if all(price is None for price in said.price):
            raise ProviderUnavailable(f"{self.web.name} has no price for then; what is known stays in use")
        return _steps(said, self.web.name).between(start, end)


def _steps(said: DayAheadAnswer, source: str) -> Steps:
    rows = sorted(dict(zip(said.unix_seconds, said.price, strict=True)).items())
    absurd = next((price for _, price in rows if price is not None and abs(price) > HIGHEST_PER_MWH), None)
    if absurd is not None:
        raise ProviderGarbage(f"greenrun does not use what {source} answered: {absurd:g} EUR/MWh is no price")
    told = [(from_epoch(s, source), None if price is None else price / KWH_PER_MWH) for s, price in rows]
    try:
        return Steps.from_starts(told, LONGEST)
    except ValueError as exc:
        raise ProviderGarbage(f"greenrun does not use what {source} answered: {exc}") from exc
