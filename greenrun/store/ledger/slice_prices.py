"""The prices of slices: columns of their rows, four stages alike; a price is put in once and never changed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row

from greenrun.core.carbon.intensity import Kind, SeriesId
from greenrun.core.energy.ledger import Priced, Stage
from greenrun.store.tables import SLICES


class PriceColumns(NamedTuple):
    """The columns of one price. `at` is NULL where a slice has none; the others are where it tells nothing."""

    at: ColumnElement[datetime]
    intensity_g_per_kwh: ColumnElement[Any]
    emissions_g: ColumnElement[Any]
    intensity_kind: ColumnElement[Any]
    series_id: ColumnElement[Any]

    @property
    def names(self) -> list[str]:
        """The names that they have in the table."""
        return [column.key or "" for column in self]


PRICES = {
    stage: PriceColumns(*(SLICES.c[f"{stage.value}_{name}"] for name in ("at", "g_per_kwh", "g", "kind", "series_id")))
    for stage in Stage
}
BOOKED, SETTLED, MARGINAL, BASELINE = (PRICES[stage] for stage in Stage)
_NAMES = {stage: columns.names for stage, columns in PRICES.items()}


def price_values(stage: Stage, at: datetime, price: Priced, series: int | None) -> dict[str, Any]:
    """Return the values of a price's columns."""
    values = (at, price.intensity_g_per_kwh, price.emissions_g, price.kind, series)
    return dict(zip(_NAMES[stage], values, strict=True))


def price_of(row: Row[Any], stage: Stage, series: Mapping[int, SeriesId]) -> Priced | None:
    """Return one price of a slice as its row has it; None where it has none."""
    at, intensity, grams, kind, key = (getattr(row, name) for name in _NAMES[stage])
    if at is None:
        return None
    return Priced(
        intensity_g_per_kwh=intensity,
        emissions_g=grams,
        kind=Kind(kind) if kind else None,
        series=None if key is None else series[key],
    )
