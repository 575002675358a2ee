"""Keep from everybody what a source says where it cannot be carbon intensity."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.carbon.plausibility import LONGEST_ZERO, ZEROS, believable, is_all_zero, is_garbage, unit_doubt
from greenrun.core.errors import ProviderGarbage
from greenrun.providers.provider import Provider
from greenrun.providers.static import usual_g_per_kwh

if TYPE_CHECKING:
    from greenrun.providers.web import Web

log = structlog.get_logger("greenrun.providers")


class Plausible:
    """A provider around another: values that cannot be intensities become holes, counted in `dropped` by cause.

    An answer that ends in zeros, or of which less than half remains, is none: ProviderGarbage. While the hours to come
    are said to be all zeros, measured zeros of the same source are not believed either, however few.
    """

    def __init__(self, source: Provider, *, trusts_zeros: bool = False) -> None:
        self.source, self._trusts_zeros = source, trusts_zeros
        self.name, self.label, self.attribution = source.name, source.label, source.attribution
        self.refresh_every, self.settle_after = source.refresh_every, source.settle_after
        self.dropped = source.web.dropped if source.web else Counter[str]()
        self.zeros: dict[str, int] = {}  # values of 0 g/kWh in the last answer to each question, believed or not
        self._says_nothing: set[str] = set()  # zones of which it forecasts zeros
        self._told: set[tuple[str, str]] = set()

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones that the source is known to serve, with their names."""
        return self.source.zones

    @property
    def web(self) -> "Web | None":
        """The HTTP client of the source."""
        return self.source.web

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the source's forecast without what cannot be intensities; raise ProviderError."""
        told = self.source.forecast(zone, now)
        self.zeros["forecast"] = int((told.series.values == 0).sum())
        try:
            kept = self._kept(told.series, "the hours to come")
        except ProviderGarbage:
            self._says_nothing.add(zone)
            raise
        self._says_nothing.discard(zone)
        return told if kept is told.series else replace(told, series=kept)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the source's measured slots without what cannot be intensities; raise ProviderError."""
        measured = self.source.history(zone, start, end, now)
        self.zeros["history"] = int((measured.values == 0).sum())
        if zone in self._says_nothing and is_all_zero(measured):
            raise _garbage(measured, "what was measured", len(measured), "zeros, as it says of the hours to come too")
        return self._kept(measured, "what was measured")

    def _kept(self, series: Series, of: str) -> Series:
        kept, dropped = believable(series, trusts_zeros=self._trusts_zeros)
        self.dropped.update(dropped)
        if is_garbage(series, dropped):
            raise _garbage(series, of, dropped.total(), _what(series, dropped))
        for cause, count in dropped.items():
            if (of, cause) not in self._told:
                self._told.add((of, cause))
                log.warning(
                    "values that cannot be intensities are left out", provider=self.name, zone=series.id.zone,
                    asked=of, values=count, of=len(series), why=cause,
                )  # fmt: skip
        return kept


def _what(series: Series, dropped: Mapping[str, int]) -> str:
    """Return what the values are that were left out, and why they are not believed."""
    if ZEROS in dropped:
        zeros_s = float((series.ends_s - series.starts_s)[-dropped[ZEROS] :].sum())
        for_long = zeros_s >= LONGEST_ZERO.total_seconds()
        return f"zeros, {'which no grid has for so long' if for_long else 'and it says nothing else of them'}"
    if is_all_zero(series):
        return "zeros, where no power is free of emissions over its life cycle"
    return "no intensities in g/kWh"


def _garbage(series: Series, of: str, count: int, what: str) -> ProviderGarbage:
    doubt = unit_doubt(series, usual_g_per_kwh(series.id.zone))
    return ProviderGarbage(
        f"greenrun does not use what {series.id.provider} answered of {of} for {series.id.zone}: {count} of"
        f" {len(series)} values are {what}{f'; {doubt}' if doubt else ''}"
    )
