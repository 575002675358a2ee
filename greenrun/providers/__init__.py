"""Where carbon intensity comes from: one file per source, and one table that lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from greenrun.core.errors import ConfigError
from greenrun.ports import ForecastProvider, HistoryProvider
from greenrun.providers.file import Anchor, FileProvider
from greenrun.providers.settings import FileSettings, ProviderSettings

SETTLE_AFTER = timedelta(hours=24)


class Provider(ForecastProvider, HistoryProvider, Protocol):
    """Both ports: a source that has no forecasts, or no history, raises ProviderRefused there and says so.

    `label` is shown beside its numbers ("synthetic"); `attribution` is what its licence asks to be shown.
    """

    name: str
    label: str
    attribution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of provider: what it can be told, and how it is opened (name, settings, anchor, settle_after)."""

    settings: type[ProviderSettings]
    open: Callable[[str, Any, Anchor, timedelta], Provider]


SOURCES: dict[str, Source] = {
    "file": Source(settings=FileSettings, open=FileProvider),
}


def open_provider(
    name: str, settings: ProviderSettings, anchor: Anchor, settle_after: timedelta = SETTLE_AFTER
) -> Provider:
    """Open the provider called `name`; raise ConfigError for an unknown kind, ProviderError when it is no use.

    `anchor(key)` returns the instant first given for a key (`Store.anchor`); a value measured by a live source counts
    as final `settle_after` past its slot's end.
    """
    source = SOURCES.get(settings.kind)
    if source is None:
        raise ConfigError(f"provider.{name}.kind: unknown kind {settings.kind!r}; known are {', '.join(SOURCES)}")
    return source.open(name, settings, anchor, settle_after)
