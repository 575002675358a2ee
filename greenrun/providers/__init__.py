"""Where carbon intensity comes from: one file per source, and one table that lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from greenrun.core.errors import ConfigError
from greenrun.providers.cached import Cached
from greenrun.providers.energinet import Energinet, EnerginetSettings
from greenrun.providers.file import FileProvider
from greenrun.providers.provider import Anchor, Provider
from greenrun.providers.settings import FileSettings, ProviderSettings

__all__ = ["SOURCES", "Anchor", "Provider", "Source", "open_provider"]

SETTLE_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of provider: what it can be told, and how it is opened (name, settings, anchor, settle_after)."""

    settings: type[ProviderSettings]
    open: Callable[[str, Any, Anchor, timedelta], Provider]


SOURCES: dict[str, Source] = {
    "file": Source(settings=FileSettings, open=FileProvider),
    "energinet": Source(settings=EnerginetSettings, open=Energinet),
}


def open_provider(
    name: str, settings: ProviderSettings, anchor: Anchor, settle_after: timedelta = SETTLE_AFTER
) -> Provider:
    """Open the provider called `name`; raise ConfigError for an unknown kind, ProviderError when it is no use.

    `anchor(key)` returns the instant first given for a key (`Store.anchor`); a value measured by a live source counts
    as final `settle_after` past its slot's end. What is asked over HTTP is cached for as long as it can have no news.
    """
    source = SOURCES.get(settings.kind)
    if source is None:
        raise ConfigError(f"provider.{name}.kind: unknown kind {settings.kind!r}; known are {', '.join(SOURCES)}")
    opened = source.open(name, settings, anchor, settle_after)
    return Cached(opened) if opened.web is not None else opened
