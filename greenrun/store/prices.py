"""What a kWh of electricity cost, as sources told, kept so that reports of the past need nobody's answer."""

from datetime import datetime

from sqlalchemy import delete, insert, select

from greenrun.core.steps import Span, Steps
from greenrun.store.database import Database
from greenrun.store.tables import ELECTRICITY_PRICES

_PRICES = ELECTRICITY_PRICES.c


class ElectricityPrices(Database):
    """The part of the store that keeps prices of electricity."""

    def save_electricity_prices(self, source: str, prices: Steps, currency: str, *, fetched_at: datetime) -> None:
        """Keep these prices per kWh in place of what the source said of the same time before; raise StoreError."""
        with self._write() as connection:
            for span in prices.spans():
                same_time = (_PRICES.ended_at > span.start) & (_PRICES.started_at < span.end)
                connection.execute(delete(ELECTRICITY_PRICES).where(_PRICES.source == source, same_time))
                connection.execute(insert(ELECTRICITY_PRICES).values(**_row(source, span, currency, fetched_at)))

    def electricity_prices(self, source: str, start: datetime, end: datetime) -> Steps:
        """Return the prices per kWh that touch `[start, end)`, in the source's currency; raise StoreError."""
        query = (
            select(_PRICES.started_at, _PRICES.ended_at, _PRICES.price_per_kwh)
            .where(_PRICES.source == source, _PRICES.ended_at > start, _PRICES.started_at < end)
            .order_by(_PRICES.started_at)
        )
        with self._read() as connection:
            return Steps.of(Span(*row) for row in connection.execute(query))


def _row(source: str, span: Span, currency: str, fetched_at: datetime) -> dict[str, object]:
    return {
        "source": source,
        "started_at": span.start,
        "ended_at": span.end,
        "price_per_kwh": span.value,
        "currency": currency,
        "fetched_at": fetched_at,
    }
