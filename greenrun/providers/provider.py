"""What a source is to greenrun: both ports, and what is shown beside its numbers."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.errors import ProviderRefused
from greenrun.providers.web import Web

Anchor = Callable[[str], datetime]


class Provider(Protocol):
    """A source of forecasts and of measured values; what it has not raises ProviderRefused and says so.

    `label` is shown beside its numbers ("synthetic"); `attribution` is what its licence asks to be shown.
    """

    name: str
    label: str
    attribution: str
    refresh_every: timedelta
    settle_after: timedelta

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones it is known to serve, with their names; empty where that depends on the file or the key."""

    @property
    def web(self) -> Web | None:
        """What it is asked through, where that is HTTP."""

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast known at `now`, its slots in time order; raise ProviderError."""

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots inside `[start, end)` that are published at `now`; raise ProviderError."""


def refuse_other(name: str, own: str | None, zone: str, served: Collection[str] = ()) -> None:
    """Raise ProviderRefused unless `zone` is the provider's `own`, where it has one, and among `served`, if any."""
    if own not in (None, zone) or (served and zone not in served):
        serves = repr(own) if own else ", ".join(served)
        raise ProviderRefused(
            f"provider {name!r} serves {serves}, not {zone!r}; set grid.zone, or name another provider"
        )
