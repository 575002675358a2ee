"""What a kWh of electricity cost, as sources told, kept so that reports of the past need nobody's answer."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from greenrun.core.accounting.step_function import Span, Steps
from greenrun.store.columns import Instant
from greenrun.store.database import Database
from greenrun.store.tables import ELECTRICITY_PRICES

LONGEST = timedelta(days=1)  # of a price; what touches an instant began no earlier, which an index can tell

_PRICES = ELECTRICITY_PRICES.c


class PriceRepository:
    """Keeps prices of electricity."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save_electricity_prices(self, source: str, prices: Steps, currency: str, *, fetched_at: datetime) -> None:
        """Keep these prices per kWh in place of earlier ones of the same time; raise StoreError."""
        rows = [_row(source, span, currency, fetched_at) for span in prices.spans()]
        if not rows:
            return
        times = [{"from": row["started_at"], "to": row["ended_at"], "since": _since(row["started_at"])} for row in rows]
        same_time = (
            _PRICES.source == source,
            _PRICES.started_at > bindparam("since", type_=Instant),
            _PRICES.started_at < bindparam("to", type_=Instant),
            _PRICES.ended_at > bindparam("from", type_=Instant),
        )
        with self._database.write() as session:
            session.execute(delete(ELECTRICITY_PRICES).where(*same_time), times)
            session.execute(insert(ELECTRICITY_PRICES), rows)

    def electricity_prices(self, source: str, start: datetime, end: datetime) -> Steps:
        """Return the prices per kWh that touch `[start, end)`, in the source's currency; raise StoreError."""
        query = (
            select(_PRICES.started_at, _PRICES.ended_at, _PRICES.price_per_kwh)
            .where(_PRICES.source == source, _PRICES.started_at > _since(start), _PRICES.started_at < end)
            .where(_PRICES.ended_at > start)
            .order_by(_PRICES.started_at)
        )
        with self._database.read() as session:
            return Steps.of(Span(*row) for row in session.execute(query))


def _since(instant: datetime) -> datetime:
    return instant - LONGEST


def _row(source: str, span: Span, currency: str, fetched_at: datetime) -> dict[str, Any]:
    return {
        "source": source,
        "started_at": span.start,
        "ended_at": span.end,
        "price_per_kwh": span.value,
        "currency": currency,
        "fetched_at": fetched_at,
    }
