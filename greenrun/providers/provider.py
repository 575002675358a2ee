"""What a source of carbon intensity implements, and how a kind of such sources is declared."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.errors import ProviderRefused
from greenrun.providers.settings import KEY_FILE, ProviderSettings

if TYPE_CHECKING:
    from greenrun.providers.web import Web

Anchor = Callable[[str], datetime]

OWN = "greenrun"


class Provider(Protocol):
    """A source of forecasts and of measured values; for what it does not offer, it raises ProviderRefused.

    `label` is shown with its values ("synthetic"); `attribution` is the credit that its licence requires.
    """

    name: str
    label: str
    attribution: str
    refresh_every: timedelta
    settle_after: timedelta

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones it is known to serve, with their names; empty if that depends on the file or the key."""

    @property
    def web(self) -> "Web | None":
        """Its HTTP client, None without one."""

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast known at `now`, its slots in time order; raise ProviderError."""

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots inside `[start, end)` that are published at `now`; raise ProviderError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """A kind of provider: the model of its settings, how one is opened, and the zones that each of them serves.

    `open` takes the provider's name, its settings, `anchor(key)`, which returns the instant first stored for a key, and
    how long past its slot's end a measured value is final. `package` is the installed package that declares the kind;
    `problem` says why it cannot be used, None if it can. One that `computes` intensities makes them of what was
    generated, so that its zeros are no missing values.
    """

    settings: type[ProviderSettings]
    open: Callable[[str, Any, Anchor, timedelta], Provider]
    zones: Mapping[str, str] = field(default_factory=dict)
    package: str = OWN
    problem: str | None = None
    computes: bool = False

    @property
    def needs_key(self) -> bool:
        """Whether it requires a key, in a file that its settings must name."""
        fields = self.settings.model_fields
        return any(name.endswith(KEY_FILE) and field.is_required() for name, field in fields.items())


def refuse_other(name: str, own: str | None, zone: str, served: Collection[str] = ()) -> None:
    """Raise ProviderRefused unless `zone` is the provider's `own` zone, if it has one, and among `served`, if any."""
    if own not in (None, zone) or (served and zone not in served):
        serves = repr(own) if own else ", ".join(served)
        raise ProviderRefused(
            f"provider {name!r} serves {serves}, not {zone!r}; set grid.zone, or name another provider"
        )
