"""Where carbon intensity comes from: one module per source, declared as a kind of provider and opened by its name."""

from datetime import timedelta

from greenrun.providers.cached import Cached, at_source
from greenrun.providers.kinds import find_kind, kind_names, name_clashes
from greenrun.providers.provider import Anchor, Provider, ProviderKind
from greenrun.providers.settings import ProviderSettings

__all__ = [
    "Anchor",
    "Provider",
    "ProviderKind",
    "at_source",
    "find_kind",
    "kind_names",
    "name_clashes",
    "open_provider",
]

SETTLE_AFTER = timedelta(hours=24)


def open_provider(
    name: str, settings: ProviderSettings, anchor: Anchor, settle_after: timedelta = SETTLE_AFTER
) -> Provider:
    """Open the provider called `name`; raise ConfigError for an unknown kind, ProviderError if it cannot be used.

    `anchor(key)` returns the instant first stored for a key (`Store.anchor`); a value measured by a live source counts
    as final `settle_after` past its slot's end. What cannot be intensities is left out. Answers over HTTP are cached
    for as long as there can be no news.
    """
    from greenrun.providers.plausible import Plausible  # it logs, and reading settings must not cost that

    kind = find_kind(settings.kind)
    opened = Plausible(kind.open(name, settings, anchor, settle_after), trusts_zeros=kind.computes)
    return Cached(opened) if opened.web is not None else opened
