"""Cache a provider's answers for as long as there can be no news, and its refusals for a while."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.errors import ProviderRefused
from greenrun.providers.provider import Provider

if TYPE_CHECKING:
    from greenrun.providers.web import Web

EARLY = 0.9  # fraction of `refresh_every` that must have passed: polls are not exact to the second
REFUSED_FOR = timedelta(hours=1)
REFUSED_ROUNDS = 4  # ... or as many polls, of a source that is polled more often
FAR = timedelta(days=400)


def at_source(provider: Provider) -> Provider:
    """Return the provider without its cache."""
    return provider.source if isinstance(provider, Cached) else provider


class Cached:
    """A caching provider around another: within `refresh_every`, equal requests get the first one's answer.

    The age of a forecast follows from its `fetched_at`. `source` is the provider itself, for uncached requests.
    """

    def __init__(self, source: Provider) -> None:
        self.source = source
        self.name, self.label, self.attribution = source.name, source.label, source.attribution
        self.refresh_every, self.settle_after = source.refresh_every, source.settle_after
        self._turn = threading.RLock()
        self._forecasts: dict[str, Forecast] = {}
        self._history: tuple[tuple[str, datetime, datetime], datetime, Series] | None = None
        self._refused: dict[str, tuple[datetime, ProviderRefused]] = {}

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones that the source is known to serve, with their names."""
        return self.source.zones

    @property
    def web(self) -> "Web | None":
        """The HTTP client of the source."""
        return self.source.web

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the last fetched forecast, from now on, or a new one if there may be news."""
        with self._turn:
            known = self._forecasts.get(zone)
            ahead = known.series.between(now, now + FAR) if known and self._holds(known.fetched_at, now) else ()
            if known and isinstance(ahead, Series) and len(ahead):
                return replace(known, series=ahead)
            self._raise_refusal(f"forecast {zone}", now)
            try:
                self._forecasts[zone] = self.source.forecast(zone, now)
            except ProviderRefused as exc:
                self._refused[f"forecast {zone}"] = now, exc
                raise
            return self._forecasts[zone]

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots in `[start, end)`; only the last request is cached."""
        request = zone, start, end
        with self._turn:
            if self._history and self._history[0] == request and self._holds(self._history[1], now):
                return self._history[2]
            asked = (
                f"history {zone}" if end >= now else f"earlier history {zone}"
            )  # the refusal of an old interval says nothing about the newest one
            self._raise_refusal(asked, now)
            try:
                self._history = request, now, self.source.history(zone, start, end, now)
            except ProviderRefused as exc:
                self._refused[asked] = now, exc
                raise
            return self._history[2]

    def _holds(self, fetched_at: datetime, now: datetime) -> bool:
        return fetched_at <= now < fetched_at + EARLY * self.refresh_every

    def _raise_refusal(self, request: str, now: datetime) -> None:
        at, refusal = self._refused.get(request, (now, None))
        if refusal is not None and at <= now < at + min(REFUSED_FOR, REFUSED_ROUNDS * self.refresh_every):
            raise refusal
