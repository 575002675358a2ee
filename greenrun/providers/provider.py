"""What a source is to greenrun: both ports, and what is shown beside its numbers."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from greenrun.ports import ForecastProvider, HistoryProvider
from greenrun.providers.web import Web

Anchor = Callable[[str], datetime]


class Provider(ForecastProvider, HistoryProvider, Protocol):
    """Both ports: a source that has no forecasts, or no history, raises ProviderRefused there and says so.

    `label` is shown beside its numbers ("synthetic"); `attribution` is what its licence asks to be shown.
    """

    name: str
    label: str
    attribution: str

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones it is known to serve, with their names; empty where that depends on the file or the key."""

    @property
    def web(self) -> Web | None:
        """What it is asked through, where that is HTTP."""
